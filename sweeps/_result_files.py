"""lm-eval's result files in a run: each beside the numbers that were stored with it, whenever a sweep is killed.

A file is written aside, its name is stored in the transaction of its numbers, and only then does it get its place. What
a kill leaves aside is put there by the next sweep where the store knows its name, and thrown away where it does not.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._records import CheckpointKey, Measurement
from lm_probe.sweeps._store import RunStore

if TYPE_CHECKING:
    from lm_probe.sweeps.lm_eval_bridge import TaskRun

_ASIDE = ".unfinished"


def folder_of(visit: Visit) -> Path:
    """Where a run keeps what lm-eval said of a checkpoint, below the run's folder."""
    return Path("lm_eval", visit.model.replace("/", "__"), visit.revision or "checkpoint")


def record_with_results(
    store: RunStore, folder: Path, key: CheckpointKey, measurements: Sequence[Measurement], run: "TaskRun"
) -> None:
    """Stores what tasks measured, and lm-eval's result file with it, in the `folder` that `folder_of` gives.

    Raises:
        UserError: a value is not finite, or one of the two cannot be written.
    """
    from lm_probe.sweeps.lm_eval_bridge import save_results

    aside = store.folder / folder / _ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    try:
        file = save_results(run, aside)
        name = (folder / file.name).as_posix()
        store.record(key, [_naming(measurement, name) for measurement in measurements])
    except Exception:  # not where somebody stops the sweep: the numbers may be stored already
        shutil.rmtree(aside, ignore_errors=True)
        raise
    os.replace(file, store.folder / folder / file.name)
    aside.rmdir()


def settle(store: RunStore) -> None:
    """Puts what a kill left aside in its place, or away."""
    for aside in sorted((store.folder / "lm_eval").rglob(_ASIDE)):  # a revision on the Hub may hold slashes
        for file in aside.iterdir():
            place = aside.parent / file.name
            if store.has_result_file(place.relative_to(store.folder).as_posix()):
                os.replace(file, place)
        shutil.rmtree(aside)


def _naming(measurement: Measurement, file: str) -> Measurement:
    made = measurement.conditions
    return replace(measurement, conditions=replace(made, details={**made.details, "result_file": file}))
