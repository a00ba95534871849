"""What a sweep is refused for before anything is imported that takes seconds: torch, transformers, lm-eval."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_probe.eval_tasks import TaskError, fingerprint, members, refuse_unknown
from lm_probe.model_adapters import UserError, series_steps
from lm_probe.probes import refuse_unknown_probes
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._foreign import refuse_foreign
from lm_probe.sweeps._plan import refuse_local
from lm_probe.sweeps._ray import Spread
from lm_probe.sweeps.text import find_text


def refuse_early(config: SweepConfig, spread: Spread | None = None) -> None:
    """Refuses what can be told from the command line and the names of folders alone, and last of all a device.

    Raises:
        UserError: the settings exclude each other; the run's folder is a file, or holds checkpoints or files of
            somebody else's; there is no such probe; an option of our tasks does not exist or cannot have its value; a
            local source, a step of it or a local text is not there; this machine cannot compute on the device, for
            which torch alone is imported.
    """
    refuse_foreign(config.out)
    _refuse_among_checkpoints(config.out)
    if spread is not None and config.cache_gb is not None:
        raise UserError("--cache-gb bounds the Hub cache of this machine alone: leave it out, or --ray")
    if spread is not None and spread.gpus == 0 and config.on_gpu:
        raise UserError(f"--gpus-per-task 0 leaves a worker no GPU for --device {config.device}: leave out one of them")
    refuse_unknown_probes(config.chosen_probes)
    _refuse_options(config.chosen_tasks, config.metadata)
    refuse_local(config.sources, config.revisions)
    find_text(config.text)
    if spread is None:
        config.refuse_device()


def _refuse_among_checkpoints(out: Path) -> None:
    if not (out / "run.db").exists() and ((out / "config.json").is_file() or series_steps(out)):
        raise UserError(
            f"{out} holds checkpoints, and a run is written beside none: choose another --out, e.g. {out}-run"
        )


def _refuse_options(names: Sequence[str], metadata: Mapping[str, Any]) -> None:
    try:
        refuse_unknown(metadata)
        for task in (task for name in names for task in members(name)):
            fingerprint(task, metadata=metadata)
    except TaskError as error:
        raise UserError(str(error)) from error
