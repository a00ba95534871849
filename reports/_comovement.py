"""Whether two measures of one series change at the same checkpoints: association, never cause."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from lm_probe.reports._noise import checked

FEWEST = 8


class Comovement(NamedTuple):
    """The strongest lagged rank correlation of two series' changes."""

    lag: int
    """Checkpoints by which the second follows the first; negative: it comes before."""
    correlation: float
    p_value: float
    """Of no association at any of the lags."""
    correlations: dict[int, float]
    changes: int
    block: int

    def __str__(self) -> str:
        """One sentence that claims no more than an association."""
        when = (
            "at the same checkpoints"
            if not self.lag
            else f"{abs(self.lag)} checkpoints {'after' if self.lag > 0 else 'before'}"
        )
        found = "are associated with" if self.p_value <= 0.05 else "show no clear association with"
        return (
            f"Changes of the second measure {found} changes of the first {when} "
            f"(rank correlation {self.correlation:+.2f}, p {self.p_value:.2g}, {self.changes} changes); "
            "an association says nothing about a cause."
        )


def measure_comovement(
    first: Sequence[float] | Float[np.ndarray, " t"],
    second: Sequence[float] | Float[np.ndarray, " t"],
    *,
    lags: int = 2,
    block: int | None = None,
    draws: int = 999,
    seed: int = 0,
) -> Comovement:
    r"""Lagged Spearman correlation of checkpoint-to-checkpoint changes, with a block-permutation p value.

    $\rho_k = \mathrm{corr}(\mathrm{rank}\,\Delta x_i, \mathrm{rank}\,\Delta y_{i+k})$ for |k| <= `lags`; changes,
    because two series that only drift correlate at any level. p: the largest correlation over the lags against the same
    after the blocks of Δx are put in random order: the choice of the lag is paid for, and what is correlated inside a
    block stays together. Block length: cube root of the number of changes, rounded up.

    Range [-1, 1]. Invariant to monotone maps of the changes. Cost O(draws lags t). Does not show a cause: in training
    almost everything changes while the learning rate does, and low rank goes with late degradation without bringing it
    about (arXiv 2602.20433).
    """
    x = checked("first", first, (-1,))
    y = checked("second", second, x.shape)
    if len(x) < FEWEST + 1:
        raise ValueError(f"{len(x)} checkpoints are too few for a correlation of changes: give at least {FEWEST + 1}")
    if not 0 <= lags <= len(x) - 1 - FEWEST // 2:
        raise ValueError(f"lags {lags} leave too few pairs of {len(x)} checkpoints: ask for fewer")
    before, after = np.diff(x), np.diff(y)
    count = len(before)
    size = block or int(np.ceil(count ** (1 / 3)))
    generator = np.random.default_rng(seed)
    seen = {lag: float(found[0]) for lag, found in _by_lag(before[None], after, lags).items()}
    starts = [*range(0, count, size), count]
    blocks = [before[start:end] for start, end in pairwise(starts)]
    strongest = max(map(abs, seen.values()))
    shuffled = np.empty((draws, count))
    for row in shuffled:
        ordered = np.concatenate([blocks[i] for i in generator.permutation(len(blocks))])
        row[:] = np.roll(ordered, generator.integers(size))
    largest = np.max([np.abs(found) for found in _by_lag(shuffled, after, lags).values()], axis=0)
    reached = int((largest >= strongest - 1e-12).sum())
    lag = max(seen, key=lambda k: (abs(seen[k]), -abs(k)))
    return Comovement(lag, seen[lag], (1 + reached) / (1 + draws), seen, count, size)


def _by_lag(
    before: Float[np.ndarray, "b c"], after: Float[np.ndarray, " c"], lags: int
) -> dict[int, Float[np.ndarray, " b"]]:
    count = len(after)
    return {
        lag: _spearman(before[:, max(0, -lag) : count - max(0, lag)], after[max(0, lag) : count - max(0, -lag)])
        for lag in range(-lags, lags + 1)
    }


def _spearman(ones: Float[np.ndarray, "b c"], other: Float[np.ndarray, " c"]) -> Float[np.ndarray, " b"]:
    first, second = rankdata(ones, axis=1), rankdata(other)
    first, second = first - first.mean(axis=1, keepdims=True), second - second.mean()
    scale = np.sqrt(np.square(first).sum(axis=1) * (second @ second))
    return np.asarray(np.divide(first @ second, scale, out=np.zeros(len(first)), where=scale > 0))
