"""Mean accuracy over tasks: one series for each model and number of shots."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lm_probe.reports._counting import counting_task
from lm_probe.reports._series import Measure, Series

FEWEST_DOCUMENTS = 150
"""A task of fewer (WSC has 104) is noise in a mean over tasks."""
_SUBTASKS = re.compile(r"(hendrycksTest|mmlu|blimp|bbh|agieval|arithmetic)[-_]")
_SHOTS = re.compile(r"(?P<task>.*) \((?P<shots>\d+)-shot\)")


class Named(NamedTuple):
    """What a stored task's name is made of."""

    task: str
    shots: int
    """Solved examples in the prompt, where the name says them; 0 where it does not."""
    suite: str
    """The suite that the task is a part of (the 57 of MMLU), or the task itself."""

    @property
    def is_part(self) -> bool:
        """Whether it is a part of a suite."""
        return self.suite != self.task


def taken_apart(name: str) -> Named:
    """Task, shots and suite of `hendrycksTest-law (5-shot)`."""
    found = _SHOTS.fullmatch(name)
    task = found["task"] if found else name
    part = _SUBTASKS.match(task)
    return Named(task, int(found["shots"]) if found else 0, part[1] if part else task)


def mean_series(tasks: Sequence[Series]) -> Iterator[Series]:
    """The mean accuracy of each model over its tasks, at the steps that all of them have, apart by shots.

    Left out: counting tasks, tasks and suites of fewer than `FEWEST_DOCUMENTS` documents, and tasks that fewer steps
    have than most. Parts of a suite (the 57 of MMLU) count as one task. Standard errors are taken as independent.
    Zero-shot and five-shot scores of a task are two settings and never two tasks of one mean.
    """
    settings: dict[tuple[str, int], dict[str, list[Series]]] = {}
    for one in tasks:
        name = one.measure.task or ""
        if one.measure.metric == "acc" and not counting_task(name):
            told = taken_apart(name)
            settings.setdefault((one.model, told.shots), {}).setdefault(told.suite, []).append(one)
    for (model, shots), suites in settings.items():
        large = {name: parts for name, parts in suites.items() if sum(map(_documents, parts)) >= FEWEST_DOCUMENTS}
        yield from _mean(model, shots, large)


def _mean(model: str, shots: int, suites: dict[str, list[Series]]) -> Iterator[Series]:
    most = max((len(one.checkpoints) for parts in suites.values() for one in parts), default=0)
    often = {
        name: [one for one in _whole(name, parts) if 2 * len(one.checkpoints) > most] for name, parts in suites.items()
    }
    chosen = {name: parts for name, parts in often.items() if parts}
    series = [one for parts in chosen.values() for one in parts]
    shared = [at for at in series[0].checkpoints if all(at in one.checkpoints for one in series)] if series else []
    if len(chosen) < 2 or len(shared) < 2:
        return
    values, variances = zip(*(_suite(parts, shared) for parts in chosen.values()), strict=True)
    name = f"mean of {len(chosen)} tasks" + (f" ({shots}-shot)" if shots else "")
    yield Series(
        model,
        Measure(f"{name} acc", name, "acc", False),
        tuple(shared),
        np.mean(values, axis=0),
        None if any(one.stderr is None for one in series) else np.sqrt(np.sum(variances, axis=0)) / len(chosen),
        tasks=tuple(chosen),
    )


def _whole(name: str, parts: Sequence[Series]) -> Sequence[Series]:
    """The score of the group itself, where it stands beside its parts."""
    return [one for one in parts if taken_apart(one.measure.task or "").task == name] or parts


def _suite(
    parts: Sequence[Series], shared: Sequence[object]
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    rows = [[one.checkpoints.index(at) for at in shared] for one in parts]
    values = np.mean([one.values[row] for one, row in zip(parts, rows, strict=True)], axis=0)
    errors = [np.zeros(len(shared)) if p.stderr is None else p.stderr[row] for p, row in zip(parts, rows, strict=True)]
    return values, np.sum(np.square(errors), axis=0) / len(parts) ** 2


def _documents(series: Series) -> float:
    """How many documents an accuracy is over, from its binomial error; infinite where that is not known."""
    if series.stderr is None or not series.stderr.any():
        return float("inf")
    p, error = series.values, np.where(series.stderr > 0, series.stderr, np.nan)
    return float(np.nanmedian(p * (1 - p) / error**2)) + 1
