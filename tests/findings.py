"""Runs made of numbers, for what the report finds in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lm_probe.probes import Reading
from lm_probe.reports._analysis import Analysis, analyse
from lm_probe.reports._load import load
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore

LATE = tuple(range(1000, 17_000, 1000))


def write(
    run: Path,
    model: str,
    scores: Mapping[str, Sequence[float]],
    *,
    steps: Sequence[int] = LATE,
    error: float = 0.01,
    parameters: int | None = None,
    sample: str = "same",
) -> None:
    """A series of task scores (by "task metric") or losses (by "loss")."""
    made = Conditions(details={"sample": sample} | ({} if parameters is None else {"parameters": parameters}))
    with RunStore.create(run) as store:
        for place, step in enumerate(steps):
            measured = []
            readings: dict[str, list[Reading]] = {}
            for name, values in scores.items():
                task, _, metric = name.partition(" ")
                if name == "loss":
                    measured.append(
                        Measurement("loss", {}, [Reading("loss", values[place], stderr=error, n=999)], made)
                    )
                else:
                    reading = Reading(metric, values[place], component=task, stderr=error, n=2000)
                    readings.setdefault(task, []).append(reading)
            measured += [Measurement("lm_eval", {"task": task}, own, made) for task, own in readings.items()]
            store.record(CheckpointKey(model, f"step{step}", step, f"sha256:{model}{step}", model), measured)


def analysed(run: Path) -> Analysis:
    return analyse(load([run]))


def rise_and_fall(fall: float, seed: int = 0, noise: float = 0.003) -> np.ndarray:
    """A score that rises to 0.6 and loses `fall` over the second half."""
    time = np.arange(len(LATE)) / (len(LATE) - 1)
    trend = 0.3 + 0.3 * np.minimum(1, 2 * time) - fall * np.maximum(0, 2 * time - 1)
    return trend + noise * np.random.default_rng(seed).standard_normal(len(LATE))
