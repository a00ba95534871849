"""95 % intervals: Wilson for a share, Agresti and Min for a paired difference of shares, normal for other means."""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

from lm_probe.reports._data import Score

Z = 1.959963984540054


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def normal(score: Score) -> Interval | None:
    """Mean ± 1.96 standard errors; None where there is none, or where it is 0.

    Documents that all gave the same number leave no trace of how far others would lie from it: of n documents that
    agree, 3 in n of all others may not (95 %), by any amount.
    """
    if not score.stderr:
        return None
    return Interval(score.value - Z * score.stderr, score.value + Z * score.stderr)


def share(score: Score) -> Interval | None:
    """Wilson's interval (1927) of a share of n: unlike the normal one it has a width where all or none are right.

    A standard error larger than that of n independent documents (several questions about one list) counts as fewer
    documents: n becomes p (1 - p) / stderr^2, Kish's effective sample size. What is no share (an imported accuracy in
    per cent) gets the normal interval.
    """
    if not score.n or not 0 <= score.value <= 1:
        return normal(score)
    p, n = score.value, float(score.n)
    if score.stderr and 0 < p < 1:
        n = min(n, p * (1 - p) / score.stderr**2 + 1)
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Interval(min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)))


def paired_share(score: Score) -> Interval | None:
    r"""Interval of the difference of two shares over the same n documents (Agresti and Min 2005, section 4).

    Half a document is added to each of the four cells of the paired table, so that no interval has width 0. The
    discordant cells b and c come back from the mean and its standard error: $b - c = n\bar d$ and
    $b + c = n(s^2(n - 1) + \bar d^2)$ with s the standard error of the mean.
    """
    if not score.n or score.stderr is None:
        return normal(score)
    n, mean = score.n, score.value
    discordant = n * (score.stderr**2 * (n - 1) + mean**2)
    size, surplus, sum_of_both = n + 2, n * mean, discordant + 1
    middle = surplus / size
    half = Z * sqrt(max(0.0, sum_of_both - surplus**2 / size)) / size
    return Interval(middle - half, middle + half)


def interval(metric: str, score: Score) -> Interval | None:
    """The interval that suits a metric of the counting tasks."""
    return interval_of(metric)(score)


def interval_of(metric: str) -> Callable[[Score], Interval | None]:
    """Which of the three a metric of the counting tasks has."""
    arm = metric.removesuffix("_binary")
    if arm in ("acc", "off_by_one"):
        return share
    return paired_share if arm == "acc_gap" else normal
