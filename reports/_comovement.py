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
    steps: Sequence[float] | Float[np.ndarray, " t"] | None = None,
    lags: int = 2,
    block: int | None = None,
    draws: int = 999,
    seed: int = 0,
) -> Comovement:
    r"""Lagged Spearman correlation of checkpoint-to-checkpoint changes beyond their trends, with a permutation p value.

    $\rho_k = \mathrm{corr}(\mathrm{rank}\,r_i, \mathrm{rank}\,s_{i+k})$ for |k| <= `lags`; r and s are what remains of
    the ranks of Δx and Δy after a parabola over their order, and the rank of the spacing of log(1 + step) between
    checkpoints, are taken out of them. Changes, because two series that only drift correlate at any level; without
    their trends, because a change grows with the spacing, and two curves that flatten change ever less, both without
    anything that happens at one checkpoint in particular. p: the largest correlation over the lags against the same
    after the blocks of r are put in random order and the trends taken out once more: the choice of the lag is paid for,
    and what is correlated inside a block stays together. Block length: cube root of the number of changes, rounded up.

    Range [-1, 1]. Invariant to monotone maps of the changes. Cost O(draws lags t). Does not show that two series rise
    or fall together as a whole, nor a cause: in training almost everything changes while the learning rate does, and
    low rank goes with late degradation without bringing it about (arXiv 2602.20433).

    Args:
        first: One measure, by checkpoint.
        second: The other, at the same checkpoints.
        steps: Training steps of the checkpoints; without them they are taken to be evenly spaced.
        lags: Checkpoints by which one may follow the other.
        block: Changes that stay together in a permutation.
        draws: Permutations.
        seed: Of the private generator.

    Raises:
        ValueError: Too few checkpoints, other lengths, or steps that do not rise.
    """
    x = checked("first", first, (-1,))
    y = checked("second", second, x.shape)
    if len(x) < FEWEST + 1:
        raise ValueError(f"{len(x)} checkpoints are too few for a correlation of changes: give at least {FEWEST + 1}")
    if not 0 <= lags <= len(x) - 1 - FEWEST // 2:
        raise ValueError(f"lags {lags} leave too few pairs of {len(x)} checkpoints: ask for fewer")
    count = len(x) - 1
    trend = _trend(np.zeros(0) if steps is None else checked("steps", steps, x.shape), count)
    before, after = (_without(trend, rankdata(np.diff(series))) for series in (x, y))
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
    shuffled = _without(trend, shuffled)
    largest = np.max([np.abs(found) for found in _by_lag(shuffled, after, lags).values()], axis=0)
    reached = int((largest >= strongest - 1e-12).sum())
    lag = max(seen, key=lambda k: (abs(seen[k]), -abs(k)))
    return Comovement(lag, seen[lag], (1 + reached) / (1 + draws), seen, count, size)


def _trend(steps: Float[np.ndarray, " t"], count: int) -> Float[np.ndarray, "c k"]:
    """Orthonormal columns: a parabola over the changes' order, and their spacing where that differs."""
    order = np.linspace(-1, 1, count)
    columns = [np.ones(count), order, order**2]
    if len(steps):
        if steps[0] < 0 or (np.diff(steps) <= 0).any():
            raise ValueError("steps must rise from 0 or later: sort the checkpoints by step, one each")
        columns.append(rankdata(np.diff(np.log1p(steps)).round(9)))
    table = np.column_stack(columns)
    basis, scale, _ = np.linalg.svd(table / np.linalg.norm(table, axis=0), full_matrices=False)
    return np.asarray(basis[:, scale > 1e-6])


def _without(trend: Float[np.ndarray, "c k"], ranks: Float[np.ndarray, "*b c"]) -> Float[np.ndarray, "*b c"]:
    return np.asarray(ranks - (ranks @ trend) @ trend.T)


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
