"""The series that findings are about: a measure of one model over its training steps, with its errors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lm_probe.reports._counting import MEASURES, TASKS, counting_task, never_counts, task_metrics
from lm_probe.reports._data import Checkpoint, RunData, Score, Scores
from lm_probe.reports._directions import PERPLEXITIES, has_no_direction, is_twin, lower_is_better, may_be_luck
from lm_probe.reports._outcomes import shared
from lm_probe.reports._statistics import same_documents

MOST_FILES = 500
"""Samples files that are read for the sake of pairs; beyond, standard errors have to do, or a report takes minutes."""
_GENERATED = re.compile(r"(count_query|most_frequent_word|most_frequent_count)_m\d+_gen")
_OF_GENERATED = ("acc", "mae_imputed")


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
    """Whether no checkpoint of a counting task is seen to be better than an answer without counting, that being
    known."""

    @property
    def steps(self) -> Float[np.ndarray, " t"]:
        """Training steps."""
        return np.array([one.step for one in self.checkpoints], dtype=float)

    @property
    def is_loss(self) -> bool:
        """Whether it is a loss: of the text, or as the perplexity of a task."""
        return self.measure.task is None or self.measure.metric.partition(",")[0] in PERPLEXITIES

    @property
    def may_be_luck(self) -> bool:
        """Whether an early level of it may be luck and no skill, so that it is none to fall from."""
        return may_be_luck(self.measure.metric)


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
    for model in data.models:
        own = stepped(data.scores("loss", "loss"), data.curve(model))
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


def _is_read(task: str, metric: str) -> bool:
    """Whether a score is looked at as better or worse: of the counting tasks those of the full list."""
    if counting := counting_task(task):
        return (counting[0], metric) in MEASURES
    return metric in _OF_GENERATED if _GENERATED.match(task) else not is_twin(metric)


def measures(data: RunData) -> list[Measure]:
    """Every score of a task that is known to be better where it is low, or where it is high."""
    return [
        Measure(f"{task} {metric}", task, metric, direction)
        for task, metric in task_metrics(data)
        if _is_read(task, metric)
        and (direction := lower_is_better(metric, data.declared_lower(task, metric))) is not None
    ]


def undirected(data: RunData) -> list[str]:
    """Metrics of which nobody says which way is better, with the first task that has them."""
    found: dict[str, str] = {}
    for task, metric in task_metrics(data):
        unknown = lower_is_better(metric, data.declared_lower(task, metric)) is None and not has_no_direction(metric)
        if unknown and _is_read(task, metric):
            found.setdefault(metric, task)
    return [f"{metric} ({task})" for metric, task in found.items()]


def task_series(data: RunData) -> list[Series]:
    """Those measures over steps, for each model; by document where every checkpoint's sample log is there."""
    found = []
    for measure in measures(data):
        assert measure.task is not None
        scores = data.scores(TASKS, measure.metric, measure.task)
        for model in data.models:
            known = data.curve(model)
            own = stepped(scores, known)
            if len(own) > 1:
                blind = counting_task(measure.task) is not None and never_counts(data, measure.task, known)
                found.append(_series(model, measure, own, _by_document(data, measure, list(own)), blind=blind))
    return found


def unpaired(data: RunData) -> int:
    """How many samples files there are, where they are too many to be read for the sake of pairs; else 0."""
    return len(data.samples) if len(data.samples) > MOST_FILES else 0


def _by_document(data: RunData, measure: Measure, own: Sequence[Checkpoint]) -> Float[np.ndarray, "t n"] | None:
    assert measure.task is not None
    if unpaired(data) or any((one, measure.task) not in data.samples for one in own):
        return None
    rows = [data.by_document(one, measure.task, measure.metric) for one in own]
    found = [row for row in rows if row is not None]
    if len(found) < len(own) or not shared([data.samples[one, measure.task] for one in own]):
        return None
    return np.array(found)


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
