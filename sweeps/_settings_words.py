"""What a sweep measures, in words, and what its run holds that was measured otherwise."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_probe.model_adapters import counted
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._store import RunStore
from lm_probe.sweeps._tokens import DEFAULT_CONTEXT
from lm_probe.sweeps._units import Unit

_LISTED = 4
# How the command line says what a measurement's configuration holds; what a checkpoint says of itself is no setting.
_FLAGS = {
    "tokens": "--tokens {}",
    "context": "--context {}",
    "seed": "--seed {}",
    "dtype": "--dtype {}",
    "text": "another --text",
    "asks": "other documents, --metadata or versions of a task",
}


def asked_words(job: Job) -> list[str]:
    """The probes, controls and tasks of a sweep, and the settings that they are measured with."""
    config = job.config
    probes = [*(probe.name for probe in job.probes), *job.controls]
    lines = [f"probes: {_some(probes)}; tasks: {_some(job.tasks)}"]
    settings = []
    if (text := job.step.text) is not None:
        at_most = config.context or f"{DEFAULT_CONTEXT} or what the model takes"
        settings.append(f"{config.tokens:,} tokens of {text.name} in windows of at most {at_most}")
    if job.tasks:
        number = config.task_documents
        settings.append("each task's own documents" if number is None else f"{counted(number, 'document')} a task")
    if settings:
        lines.append(f"settings: {', '.join(settings)}, {config.dtype}, seed {config.seed}")
    return lines


def _some(names: Sequence[str]) -> str:
    if len(names) <= _LISTED:
        return ", ".join(names) or "none"
    return f"{', '.join(names[: _LISTED - 1])} and {len(names) - _LISTED + 1} more"


def held_otherwise(store: RunStore, asked: Iterable[tuple[str, Unit]]) -> list[str]:
    """A line where the run shows measurements of what is asked that were made with other settings.

    Args:
        store: the run.
        asked: units of work, each with its model.
    """
    wanted = {(model, unit.probe, unit.config.get("task")): unit.config for model, unit in asked}
    otherwise: Counter[str] = Counter()
    number = 0
    for row in store.measurements().to_dict("records"):
        config = row["config"]
        place = (row["model"], row["probe"], config.get("task"))
        if place in wanted and "imported" not in row["details"]:
            differs = _differences(config, wanted[place])
            otherwise.update(differs)
            number += bool(differs)
    if not number:
        return []
    how = ", ".join(said for said, _ in otherwise.most_common())
    return [
        f"{store.folder} holds {counted(number, 'measurement')} made with {how}: what is asked now is not compared "
        f"with them; ask for the same, or choose another --out"
    ]


def _differences(held: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    return [
        "the default --context" if key == "context" and held.get(key) is None else flag.format(held.get(key))
        for key, flag in _FLAGS.items()
        if key in held and key in asked and held[key] != asked[key]
    ]
