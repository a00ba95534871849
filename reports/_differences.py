"""Two measurements of one model at one step, in two runs: their differences, paired where the documents match."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from lm_probe.reports._counting import TASKS
from lm_probe.reports._data import Checkpoint, RunData, Score
from lm_probe.reports._intervals import Z, paired_share
from lm_probe.reports._many import holm
from lm_probe.reports._outcomes import shared
from lm_probe.reports._series import measures
from lm_probe.reports._statistics import loss_difference

_DRAWS = 2000


@dataclass(frozen=True)
class Difference:
    """Second less first."""

    first: Checkpoint
    second: Checkpoint
    measure: str
    values: tuple[float, float]
    difference: float
    interval: tuple[float, float] | None
    """95 %; None where no error is known."""
    p_value: float | None
    """Of no difference: exact McNemar for right and wrong, else paired sign flips or the normal distribution."""
    p_adjusted: float | None
    """Holm, over all differences of the report."""
    documents: int
    """Pairs behind it; 0 where the two are taken as independent."""


def differences(data: RunData) -> list[Difference]:
    """Loss and task scores of each model at the last step that two runs share."""
    last: dict[tuple[str, str], tuple[Checkpoint, Checkpoint]] = {}
    for pair in data.twins:
        last[pair[0].model, pair[1].model] = pair
    found = [one for pair in last.values() for one in (*_losses(data, *pair), *_tasks(data, *pair))]
    adjusted = iter(holm([one.p_value for one in found if one.p_value is not None]))
    return [_with(one, None if one.p_value is None else next(adjusted)) for one in found]


def _with(one: Difference, p_adjusted: float | None) -> Difference:
    return Difference(**{**one.__dict__, "p_adjusted": p_adjusted})


def _losses(data: RunData, first: Checkpoint, second: Checkpoint) -> Iterator[Difference]:
    losses = data.scores("loss", "loss")
    if first not in losses or second not in losses:
        return
    gap = loss_difference(data, second, first)
    values = losses[first].value, losses[second].value
    interval, p = None, None
    if gap.stderr:
        freedom = gap.clusters - 1 if gap.paired else np.inf
        half = float(student.ppf(0.975, freedom)) * gap.stderr
        interval = gap.value - half, gap.value + half
        p = float(2 * student.sf(abs(gap.value) / gap.stderr, freedom))
    yield Difference(first, second, "loss", values, gap.value, interval, p, None, gap.clusters)


def _tasks(data: RunData, first: Checkpoint, second: Checkpoint) -> Iterator[Difference]:
    for measure in measures(data):
        assert measure.task is not None
        scores = data.scores(TASKS, measure.metric, measure.task)
        if first not in scores or second not in scores:
            continue
        values = scores[first].value, scores[second].value
        one, other = (data.by_document(at, measure.task, measure.metric) for at in (first, second))
        logs = [data.samples[at, measure.task] for at in (first, second) if (at, measure.task) in data.samples]
        pairs = 0
        if one is not None and other is not None and shared(logs):
            interval, p = paired(other - one)
            pairs = len(one)
        else:
            interval, p = _unpaired(scores[first], scores[second])
        yield Difference(first, second, measure.name, values, values[1] - values[0], interval, p, None, pairs)


def paired(change: Float[np.ndarray, " n"]) -> tuple[tuple[float, float] | None, float | None]:
    """Interval and p value of a mean of differences inside documents.

    Where each is -1, 0 or 1: Agresti and Min's interval, exact McNemar. Else a percentile bootstrap over documents, and
    the share of random sign flips whose mean lies as far from 0. No interval where no document differs.
    """
    if np.isin(change, (-1, 0, 1)).all():
        lost, won = int((change < 0).sum()), int((change > 0).sum())
        error = float(change.std(ddof=1) / np.sqrt(len(change)))
        ends = paired_share(Score(float(change.mean()), error, len(change)))
        p = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
        return (None if ends is None else (float(ends.low), float(ends.high))), p
    generator = np.random.default_rng(0)
    weights = generator.multinomial(len(change), np.full(len(change), 1 / len(change)), _DRAWS)
    low, high = np.quantile(weights @ change / len(change), [0.025, 0.975])
    signs = generator.choice([-1.0, 1.0], (_DRAWS, len(change)))
    reached = (np.abs(signs @ change) >= abs(change.sum()) - 1e-12).sum()
    return (float(low), float(high)), float((1 + reached) / (1 + _DRAWS))


def _unpaired(first: Score, second: Score) -> tuple[tuple[float, float] | None, float | None]:
    if not first.stderr or not second.stderr:
        return None, None
    error = hypot(first.stderr, second.stderr)
    value = second.value - first.value
    return (value - Z * error, value + Z * error), float(2 * norm.sf(abs(value) / error))
