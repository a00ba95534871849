"""The series that findings are about: a measure of one model over its training steps, with its errors."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lm_probe.reports._counting import MEASURES, TASKS, counting_task, ever_counts, task_metrics
from lm_probe.reports._data import Checkpoint, RunData, Score, Scores
from lm_probe.reports._directions import PERPLEXITIES, has_direction, lower_is_better
from lm_probe.reports._outcomes import shared
from lm_probe.reports._statistics import same_documents

FEWEST_DOCUMENTS = 150
"""A task of fewer (WSC has 104) is noise in a mean over tasks."""
MOST_FILES = 500
"""Samples files that are read for the sake of pairs; beyond, standard errors have to do, or a report takes minutes."""
_GENERATED = re.compile(r"(count_query|most_frequent_word|most_frequent_count)_m\d+_gen")
_OF_GENERATED = ("acc", "mae_imputed")
_SUBTASKS = re.compile(r"(hendrycksTest|mmlu|blimp|bbh|agieval|arithmetic)[-_]")


class Measure(NamedTuple):
    """What is measured."""

    name: str
    """As a reader says it."""
    task: str | None
    """lm-eval's task, or the name of a mean over several; None for what is no task."""
    metric: str
    lower_is_better: bool


@dataclass(frozen=True)
class Series:
    """One measure of one model at its steps, rising, each once."""

    model: str
    measure: Measure
    checkpoints: tuple[Checkpoint, ...]
    values: Float[np.ndarray, " t"]
    stderr: Float[np.ndarray, " t"] | None = None
    outcomes: Float[np.ndarray, "t n"] | None = None
    """Scores by document, the same documents at every step."""
    tasks: tuple[str, ...] = ()
    """What a mean is over."""
    blind: bool = False
    """Whether no checkpoint of a counting task is seen to be better than an answer without counting."""

    @property
    def steps(self) -> Float[np.ndarray, " t"]:
        """Training steps."""
        return np.array([one.step for one in self.checkpoints], dtype=float)

    @property
    def is_loss(self) -> bool:
        """Whether it is a loss: of the text, or as the perplexity of a task."""
        return self.measure.task is None or self.measure.metric.partition(",")[0] in PERPLEXITIES


def stepped(scores: Scores, known: Sequence[Checkpoint]) -> dict[Checkpoint, Score]:
    """The scores of one model at its steps; of two revisions of one step the first."""
    found: dict[int, Checkpoint] = {}
    for one in known:
        if one.step is not None and one in scores:
            found.setdefault(one.step, one)
    return {one: scores[one] for one in found.values()}


def loss_series(data: RunData) -> list[Series]:
    """The loss of each model, paired by document where every checkpoint read the same tokens."""
    measure = Measure("loss", None, "loss", True)
    found = []
    for model, known in data.checkpoints.items():
        own = stepped(data.scores("loss", "loss"), known)
        if len(own) > 1:
            found.append(_series(model, measure, own, _loss_by_document(data, list(own))))
    return found


def _loss_by_document(data: RunData, own: Sequence[Checkpoint]) -> Float[np.ndarray, "t n"] | None:
    r"""What each document says of the ratio $R = \sum_c y_c / \sum_c x_c$: $R + C (y_c - R x_c) / \sum_c x_c$.

    Their mean is the loss, and their covariance that of a ratio, to first order.
    """
    if not same_documents(data, own):
        return None
    nats = np.array([data.vectors["nats_by_cluster"][one] for one in own])
    tokens = data.vectors["tokens_by_cluster"][own[0]]
    loss = nats.sum(axis=1, keepdims=True) / tokens.sum()
    return np.asarray(loss + (nats - loss * tokens) * len(tokens) / tokens.sum())


def _says_better(task: str, metric: str) -> bool:
    if counting := counting_task(task):
        return (counting[0], metric) in MEASURES
    return metric in _OF_GENERATED if _GENERATED.match(task) else has_direction(metric)


def measures(data: RunData) -> list[Measure]:
    """Every score of a task that says better or worse; of the counting tasks those of the full list."""
    return [
        Measure(f"{task} {metric}", task, metric, lower_is_better(metric))
        for task, metric in task_metrics(data)
        if _says_better(task, metric)
    ]


def task_series(data: RunData) -> list[Series]:
    """Those measures over steps, for each model; by document where every checkpoint's sample log is there."""
    found = []
    for measure in measures(data):
        assert measure.task is not None
        scores = data.scores(TASKS, measure.metric, measure.task)
        for model, known in data.checkpoints.items():
            own = stepped(scores, known)
            if len(own) > 1:
                blind = counting_task(measure.task) is not None and not ever_counts(data, measure.task, known)
                found.append(_series(model, measure, own, _by_document(data, measure, list(own)), blind=blind))
    return found


def _by_document(data: RunData, measure: Measure, own: Sequence[Checkpoint]) -> Float[np.ndarray, "t n"] | None:
    assert measure.task is not None
    if len(data.samples) > MOST_FILES or any((one, measure.task) not in data.samples for one in own):
        return None
    rows = [data.by_document(one, measure.task, measure.metric) for one in own]
    found = [row for row in rows if row is not None]
    if len(found) < len(own) or not shared([data.samples[one, measure.task] for one in own]):
        return None
    return np.array(found)


def mean_series(tasks: Sequence[Series]) -> Iterator[Series]:
    """The mean accuracy of each model over its tasks, at the steps that all of them have.

    Left out: counting tasks, tasks of fewer than `FEWEST_DOCUMENTS` documents, and tasks that fewer steps have than
    most. Parts of a suite (the 57 of MMLU) count as one task. Standard errors are taken as independent.
    """
    for model in dict.fromkeys(one.model for one in tasks):
        suitable = [
            one
            for one in tasks
            if one.model == model
            and one.measure.metric == "acc"
            and not counting_task(one.measure.task or "")
            and _documents(one) >= FEWEST_DOCUMENTS
        ]
        most = max((len(one.checkpoints) for one in suitable), default=0)
        chosen = [one for one in suitable if 2 * len(one.checkpoints) > most]
        suites: dict[str, list[Series]] = {}
        for one in chosen:
            named = _SUBTASKS.match(one.measure.task or "")
            suites.setdefault(named[1] if named else one.measure.task or "", []).append(one)
        shared = [at for at in chosen[0].checkpoints if all(at in one.checkpoints for one in chosen)] if chosen else []
        if len(suites) < 2 or len(shared) < 2:
            continue
        values, variances = zip(*(_suite(parts, shared) for parts in suites.values()), strict=True)
        name = f"mean of {len(suites)} tasks"
        yield Series(
            model,
            Measure(f"{name} acc", name, "acc", False),
            tuple(shared),
            np.mean(values, axis=0),
            None if any(one.stderr is None for one in chosen) else np.sqrt(np.sum(variances, axis=0)) / len(suites),
            tasks=tuple(suites),
        )


def _suite(
    parts: Sequence[Series], shared: Sequence[Checkpoint]
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


def _series(
    model: str,
    measure: Measure,
    own: Scores,
    outcomes: Float[np.ndarray, "t n"] | None = None,
    *,
    blind: bool = False,
) -> Series:
    errors = [score.stderr for score in own.values()]
    return Series(
        model,
        measure,
        tuple(own),
        np.array([score.value for score in own.values()]),
        None if None in errors else np.array(errors, dtype=float),
        outcomes,
        blind=blind,
    )
