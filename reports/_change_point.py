"""Where a series changes its slope or its level, with a test and a confidence set."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import f as f_distribution

from lm_probe.reports._noise import checked, time_axis

SMALLEST = 6


class ChangePoint(NamedTuple):
    """A change of slope or level."""

    step: float
    low: float
    """First and last step of the 95 % confidence set."""
    high: float
    p_value: float
    """Of no change at all; corrected for having searched every place."""
    before: float
    """Slope per unit of the time axis, or level, before and after."""
    after: float


def find_change_point(
    steps: Sequence[float] | Float[np.ndarray, " t"],
    values: Sequence[float] | Float[np.ndarray, " t"],
    *,
    kind: Literal["slope", "level"] = "slope",
    draws: int = 999,
    seed: int = 0,
) -> ChangePoint:
    r"""Least-squares change point of a series.

    `slope`: two lines that meet, $y = a + bx + c\max(0, x - \tau)$. `level`: one step, $y = a + c[x \ge \tau]$. x is
    the log of the step (the step itself where there is a step 0) and τ one of the steps. p value: the largest
    F statistic over all τ against its distribution under white noise without a change, by simulation. Confidence set:
    every τ whose residual sum of squares is below the smallest times 1 + F(1, t - p; 95 %) / (t - p).

    Invariant to shift and positive scale of the values. Cost O(t² + draws t²). Does not show that there is one change
    only, nor why; correlated noise makes p too small.
    """
    at = checked("steps", steps, (-1,))
    y = checked("values", values, at.shape)
    if len(at) < SMALLEST:
        raise ValueError(f"{len(at)} checkpoints cannot show a change point: give at least {SMALLEST}")
    if (np.diff(at) <= 0).any():
        raise ValueError("steps do not rise: sort the series by step and give each step once")
    x = time_axis(at)
    line = np.column_stack([np.ones_like(x), x]) if kind == "slope" else np.ones((len(x), 1))
    places = np.arange(2, len(x) - 2) if kind == "slope" else np.arange(2, len(x) - 1)
    bends = np.array([np.maximum(0, x - x[i]) if kind == "slope" else np.where(x >= x[i], 1.0, 0.0) for i in places])
    base, _ = np.linalg.qr(line)
    turns = bends - bends @ base @ base.T
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    parameters = line.shape[1] + 2
    freedom = len(x) - parameters

    def profile(series: Float[np.ndarray, "t b"]) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, "c b"]]:
        rest = series - base @ (base.T @ series)
        return np.square(rest).sum(axis=0), np.square(turns @ rest)

    def largest_f(total: Float[np.ndarray, " b"], gains: Float[np.ndarray, "c b"]) -> Float[np.ndarray, " b"]:
        best = gains.max(axis=0)
        return np.asarray(best / np.maximum(total - best, 1e-12 * np.maximum(total, 1e-300)) * freedom)

    total, gains = profile(y[:, None])
    chosen = int(gains[:, 0].argmax())
    null = largest_f(*profile(np.random.default_rng(seed).standard_normal((len(x), draws))))
    p_value = (1 + (null >= largest_f(total, gains)).sum()) / (1 + draws)
    rests = total[0] - gains[:, 0]
    allowed = at[places[rests <= rests.min() * (1 + f_distribution.ppf(0.95, 1, freedom) / freedom)]]
    first, *others, change = np.linalg.lstsq(np.column_stack([line, bends[chosen]]), y, rcond=None)[0]
    before = others[0] if kind == "slope" else first
    where = float(at[places[chosen]])
    return ChangePoint(
        where, float(allowed[0]), float(allowed[-1]), float(p_value), float(before), float(before + change)
    )
