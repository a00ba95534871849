"""Whether two measures of one series change at the same checkpoints: association, never cause."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from lm_probe.reports._noise import checked

FEWEST = 8
MOST_ORDER = 3
"""Of the autoregression that is taken out, and no more than a fifth of the changes."""
TRENDING = 0.6
"""Share of the ranks from which on trends, where they make up as much of both series, leave mostly their own misfit."""
REPEATING = 0.4
"""Share of a series' changes that are one same value from which on drawn signs give p values that are too small."""


class Comovement(NamedTuple):
    """The strongest lagged rank correlation of two series' changes."""

    lag: int
    """Checkpoints by which the second follows the first; negative: it comes before."""
    correlation: float
    p_value: float
    """Of no association at any of the lags; 1 where trends make up both series, or one same change much of either."""
    correlations: dict[int, float]
    changes: int
    orders: tuple[int, int]
    """Of the autoregressions that were taken out of the changes of the first and of the second."""
    trend: float
    """Share of the ranks' variance that trends explain: in the series of which they explain less."""
    repeated: float
    """Share of the changes that are one same value: in the series of which it is larger."""

    @property
    def trending(self) -> bool:
        """Whether both series are mostly trend, so that nothing can be told from the rest."""
        return self.trend > TRENDING

    @property
    def repeating(self) -> bool:
        """Whether too few changes of either series differ, as in one that stands still but for a step."""
        return self.repeated > REPEATING

    @property
    def untested(self) -> str:
        """Why nothing was tested, so that the p value says nothing; '' where it was."""
        if self.repeating:
            return f"{self.repeated:.0%} of the changes of one are the same: too few differ to compare"
        if self.trending:
            return f"trends explain {self.trend:.0%} or more of the changes of both: too little is left to compare"
        return ""

    def __str__(self) -> str:
        """One sentence that claims no more than an association."""
        when = (
            "at the same checkpoints"
            if not self.lag
            else f"{abs(self.lag)} checkpoints {'after' if self.lag > 0 else 'before'}"
        )
        found = "are associated with" if self.p_value <= 0.05 else "show no clear association with"
        if self.untested:
            return f"{self.untested[0].upper()}{self.untested[1:]}."
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
    draws: int = 999,
    seed: int = 0,
) -> Comovement:
    r"""Lagged rank correlation of checkpoint-to-checkpoint changes beyond what each shows by itself, with a p value.

    $\rho_k = \mathrm{corr}(r_i, s_{i+k})$ for |k| <= `lags`. Of the ranks of Δx are taken out a parabola over their
    order and the rank of the spacing of log(1 + step) between checkpoints, and from what is left an autoregression
    (prewhitening: Haugh, J. Am. Stat. Assoc. 71, 378, 1976; its order, up to 3, by Akaike's criterion corrected for few
    points). r is what remains, s the same of Δy. Changes, because two series that only drift correlate at any level;
    without trends, because a change grows with the spacing, and two curves that flatten change ever less, both without
    anything that happens at one checkpoint in particular; without autoregression, because two slow series correlate by
    few effective changes. p: the largest $|\rho_k|$ over the lags against the same with the signs of r drawn at random,
    and the trends taken out once more. So the choice of the lag is paid for, and each change keeps its place and size:
    where a trend ends, both series go over from steps that noise does not reach to noise alone, and in another order
    the large would no longer stand beside the large. Where the trends explain more than `TRENDING` of both series, what
    is left is mostly how the parabola misses them, in both alike, and p is 1. So it is where more than `REPEATING` of
    the changes of either are one same value: equal ranks less a parabola are many small remainders of one sign beside
    few large ones, and what remains must be as often above 0 as below. Changes that differ by rounding alone are the
    same, and where no more than rounding is left of a series, r is 0.

    Range [-1, 1]. Invariant to monotone maps of the changes. Cost O(draws lags t). Does not show that two series rise
    or fall together as a whole, nor a cause: in training almost everything changes while the learning rate does, and
    low rank goes with late degradation without bringing it about (arXiv 2602.20433).

    Args:
        first: One measure, by checkpoint.
        second: The other, at the same checkpoints.
        steps: Training steps of the checkpoints; without them they are taken to be evenly spaced.
        lags: Checkpoints by which one may follow the other.
        draws: Of signs.
        seed: Of the private generator.

    Raises:
        ValueError: Too few checkpoints, other lengths, or steps that do not rise.
    """
    x = checked("first", first, (-1,))
    y = checked("second", second, x.shape)
    if len(x) < FEWEST + 1:
        raise ValueError(f"{len(x)} checkpoints are too few for a correlation of changes: give at least {FEWEST + 1}")
    changes = len(x) - 1
    most = min(MOST_ORDER, changes // 5)
    if not 0 <= lags <= changes - most - FEWEST // 2:
        raise ValueError(f"lags {lags} leave too few pairs of {len(x)} checkpoints: ask for fewer")
    trend = _trend(np.zeros(0) if steps is None else checked("steps", steps, x.shape), changes)
    ranks = np.array([_ranks(series) for series in (x, y)])
    left = _without(trend, ranks)
    before, after = (_whitened(series, most) for series in left)
    rest = _basis(trend[most:])
    generator = np.random.default_rng(seed)
    signs = generator.choice([-1.0, 1.0], size=(draws, changes - most))
    seen = {lag: float(found[0]) for lag, found in _by_lag(before.rest[None], after.rest, lags).items()}
    drawn = _by_lag(_without(rest, signs * before.rest), after.rest, lags)
    lag = max(seen, key=lambda k: (abs(seen[k]), -abs(k)))
    largest = np.max([np.abs(found) for found in drawn.values()], axis=0)
    reached = int((largest >= abs(seen[lag]) - 1e-12).sum())
    explained = 1 - float((left.var(axis=1) / np.maximum(ranks.var(axis=1), 1e-12)).max())
    repeated = max(float(np.unique(own, return_counts=True)[1].max()) / changes for own in ranks)
    found = Comovement(
        lag, seen[lag], (1 + reached) / (1 + draws), seen, changes, (before.order, after.order), explained, repeated
    )
    return found._replace(p_value=1.0) if found.trending or found.repeating else found


def _ranks(series: Float[np.ndarray, " t"]) -> Float[np.ndarray, " c"]:
    """Of the changes; equal are those that differ by rounding alone, as 0.3 - 0.2 and 0.2 - 0.1 do."""
    changes = np.diff(series)
    moved = np.abs(changes[changes != 0])
    return np.asarray(rankdata((changes / np.median(moved)).round(9) if len(moved) else changes))


def _trend(steps: Float[np.ndarray, " t"], count: int) -> Float[np.ndarray, "c k"]:
    """Orthonormal columns: a parabola over the changes' order, and their spacing where that differs."""
    order = np.linspace(-1, 1, count)
    columns = [np.ones(count), order, order**2]
    if len(steps):
        if steps[0] < 0 or (np.diff(steps) <= 0).any():
            raise ValueError("steps must rise from 0 or later: sort the checkpoints by step, one each")
        columns.append(rankdata(np.diff(np.log1p(steps)).round(9)))
    table = np.column_stack(columns)
    return _basis(table / np.linalg.norm(table, axis=0))


def _basis(columns: Float[np.ndarray, "c k"]) -> Float[np.ndarray, "c j"]:
    """Orthonormal columns that span the same."""
    basis, scale, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(basis[:, scale > 1e-6])


class _White(NamedTuple):
    rest: Float[np.ndarray, " c"]
    order: int


def _whitened(ranks: Float[np.ndarray, " c"], most: int) -> _White:
    """What an autoregression by least squares leaves of all but the first `most`; its order has the least AICc."""
    own = ranks[most:]
    count = len(own)
    found = []
    for order in range(most + 1):
        earlier = np.column_stack([ranks[most - back : len(ranks) - back] for back in range(order + 1)])[:, 1:]
        rest = own - earlier @ np.linalg.lstsq(earlier, own)[0]
        terms = order + 1
        score = count * np.log(rest @ rest / count + 1e-12) + 2 * terms + 2 * terms * (terms + 1) / (count - terms - 1)
        found.append((score, order, rest))
    _, order, rest = min(found, key=lambda one: one[:2])
    # Ranks all different have a variance of c² / 12: what is left of equal ones is rounding, not to be correlated.
    return _White(rest if rest.var() > 1e-9 * len(ranks) ** 2 / 12 else np.zeros(count), order)


def _without(trend: Float[np.ndarray, "c k"], ranks: Float[np.ndarray, "*b c"]) -> Float[np.ndarray, "*b c"]:
    return np.asarray(ranks - (ranks @ trend) @ trend.T)


def _by_lag(
    before: Float[np.ndarray, "b c"], after: Float[np.ndarray, " c"], lags: int
) -> dict[int, Float[np.ndarray, " b"]]:
    count = len(after)
    return {
        lag: _correlations(before[:, max(0, -lag) : count - max(0, lag)], after[max(0, lag) : count - max(0, -lag)])
        for lag in range(-lags, lags + 1)
    }


def _correlations(ones: Float[np.ndarray, "b c"], other: Float[np.ndarray, " c"]) -> Float[np.ndarray, " b"]:
    first, second = ones - ones.mean(axis=1, keepdims=True), other - other.mean()
    scale = np.sqrt(np.square(first).sum(axis=1) * (second @ second))
    return np.asarray(np.divide(first @ second, scale, out=np.zeros(len(first)), where=scale > 0))
