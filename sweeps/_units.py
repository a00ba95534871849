"""The pieces of work on one checkpoint: what each asks, so that what is finished is known without loading anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_probe.model_adapters import Checkpoint, tokenizer_digest
from lm_probe.probes import ForwardProbe, GeometryProbe, Probe
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._controls import Control
from lm_probe.sweeps._probe_step import ProbeStep
from lm_probe.sweeps._records import TASK_PROBE


@dataclass(frozen=True)
class Unit:
    """One probe or one task on one checkpoint."""

    name: str
    """The probe's or the task's name, for messages."""
    probe: str
    """The name that its values carry."""
    config: dict[str, Any]
    """What makes it the same measurement, with the checkpoint and the versions."""


def needs_text(probe: Probe) -> bool:
    """Whether a probe reads the token sample."""
    return isinstance(probe, ForwardProbe) or "token_counts" in probe.needs


def probe_units(
    checkpoint: Checkpoint,
    probes: Sequence[Probe],
    config: SweepConfig,
    step: ProbeStep,
    source: str,
) -> list[Unit]:
    """A unit for each probe; what it compares with is part of what it asks."""
    tokenizer = _local_tokenizer(checkpoint)
    units = []
    for probe in probes:
        asked: dict[str, Any] = {"version": probe.version, "tokenizer": tokenizer}
        if needs_text(probe):
            assert step.text is not None
            asked |= {
                "text": step.text.sha256,
                "tokens": config.tokens,
                "context": config.context,
                "seed": config.seed,
            }
        if isinstance(probe, ForwardProbe):
            asked["dtype"] = config.dtype
        if "first" in probe.needs:
            asked["first"] = _identity(step.first(source))
        if isinstance(probe, GeometryProbe) and config.reference is not None:
            asked["reference"] = _identity(step.reference(source))
        units.append(Unit(probe.name, probe.name, asked))
    return units


def control_units(asked: Sequence[Unit], controls: Mapping[str, tuple[ForwardProbe, Control]]) -> list[Unit]:
    """A unit for each control of a probe: what the probe is asked, and which control."""
    # What the probe compares with has no part in its controls.
    configs = {unit.name: {key: value for key, value in unit.config.items() if key != "reference"} for unit in asked}
    return [Unit(name, name, {**configs[probe.name], "control": name}) for name, (probe, _) in controls.items()]


def _identity(checkpoint: Checkpoint | None) -> str | None:
    return None if checkpoint is None else checkpoint.identity


def task_units(checkpoint: Checkpoint, tasks: Sequence[str], config: SweepConfig) -> list[Unit]:
    """A unit for each lm-eval task."""
    from lm_probe.sweeps._lm_eval_names import is_ours
    from lm_probe.sweeps.lm_eval_bridge import task_config_hash

    tokenizer = _local_tokenizer(checkpoint)
    return [
        Unit(
            task,
            TASK_PROBE,
            {
                "task": task,
                "asks": task_config_hash(task, config.task_documents, config.seed, config.metadata),
                "tokenizer": tokenizer,
                "dtype": config.dtype,
            }
            | ({"options": dict(config.metadata)} if config.metadata and is_ours(task) else {}),
        )
        for task in tasks
    ]


def _local_tokenizer(checkpoint: Checkpoint) -> str | None:
    """A local identity covers config and weights; on the Hub the commit covers the tokenizer too."""
    if checkpoint.folder is None or not checkpoint.identity.startswith("sha256:"):
        return None
    return tokenizer_digest(checkpoint.folder)
