"""The shape of a score over model size: flat, smooth, saturating, emergent, inverse, U-shaped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2, norm

from lm_probe.reports._noise import checked
from lm_probe.reports._unimodal import isotonic

Label = Literal["flat", "smooth", "saturating", "emergent", "inverse", "U-shaped", "inverted U", "undetermined"]

SIZES = 5
STABLE = 0.8
"""Share of bootstrap draws that must agree."""
JUMP, WITHIN = 0.6, 0.25
"""A rise is concentrated where 60 % of it lie in 25 % of the range of log size."""
PLATEAU, LAST = 0.1, 1 / 3
"""A curve is at its plateau where the last third of the range adds no more than 10 % of the rise."""


@dataclass(frozen=True)
class ScalingCurve:
    """A label and what it rests on."""

    label: Label
    reason: str
    stability: float
    """Share of bootstrap draws with the most frequent label."""
    labels: dict[Label, float]
    """Share of draws of every label that came up."""


def classify_scaling_curve(
    sizes: Sequence[float] | Float[np.ndarray, " k"],
    values: Sequence[float] | Float[np.ndarray, " k"],
    stderr: Sequence[float] | Float[np.ndarray, " k"],
    *,
    lower_is_better: bool = False,
    chance: float | None = None,
    alpha: float = 0.05,
    draws: int = 200,
    seed: int = 0,
) -> ScalingCurve:
    r"""Label of a score over model size (parameters or FLOPs), x the log of the size.

    In this order, "up" being better and every comparison of two models at the two-sided level `alpha`, Bonferroni over
    the other models. `flat`: chi-square of a constant has p > alpha. `U-shaped` (`inverted U`): an inner model is worse
    (better) than one on either side. `inverse`: the last is worse than the first, and nowhere up. `emergent`: the first
    two or more are within two errors of chance (without `chance`: of one another), the last is above the first, and
    60 % of the rise of the isotonic fit lie in 25 % of the range of x. `saturating`: the last third of the range adds
    at most 10 % of the rise, and no more than two errors. `smooth`: any other rise. Else `undetermined`, also where
    fewer than 80 % of bootstrap draws agree with the label, or there are fewer than five sizes.

    Draws add the errors once more, so that a draw scatters twice as far as a measurement; each is judged with errors
    larger by the square root of two. Invariances: shift and positive scale of the values with `stderr` and `chance`,
    scale of the sizes. Cost O(draws k²). Does not show why: a jump under accuracy may be the metric's
    (`compare_metrics`), and a smooth curve may jump between two sizes that were not trained.

    Args:
        sizes: Rising.
        values: Score of each model.
        stderr: Its standard error; a 0 is read as the smallest positive one.
        lower_is_better: Direction of the metric.
        chance: Score of guessing.
        alpha: Level; divide it by the number of tasks that are classified together.
        draws: Bootstrap draws.
        seed: Of the private generator.
    """
    at = checked("sizes", sizes, (-1,))
    sign = -1.0 if lower_is_better else 1.0
    y = sign * checked("values", values, at.shape)
    errors = checked("stderr", stderr, at.shape)
    if len(at) and (at[0] <= 0 or (np.diff(at) <= 0).any()):
        raise ValueError("sizes must be above 0 and rise: sort the models by size, one each")
    if (errors < 0).any() or (not errors.any() and np.ptp(y)):
        raise ValueError("stderr must hold positive entries: without errors no shape can be told from noise")
    if not np.ptp(y):
        return ScalingCurve("flat", "every model has the same score", 1.0, {"flat": 1.0})
    errors = filled(errors)
    floor = None if chance is None else sign * chance
    drawn = y + np.random.default_rng(seed).standard_normal((draws, len(at))) * errors
    return settled(np.log(at), y, errors, drawn, floor, alpha)


def filled(errors: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Errors with the smallest positive one for each 0: no document right is no proof that none ever is."""
    return np.where(errors > 0, errors, errors[errors > 0].min(initial=np.inf))


def settled(
    x: Float[np.ndarray, " k"],
    values: Float[np.ndarray, " k"],
    errors: Float[np.ndarray, " k"],
    drawn: Float[np.ndarray, "b k"],
    floor: float | None,
    alpha: float,
) -> ScalingCurve:
    """The label of the values if the draws agree with it."""
    if len(x) < SIZES:
        return ScalingCurve("undetermined", f"{len(x)} sizes, at least {SIZES} are needed", 0.0, {})
    label, reason = shape(x, values, errors, floor, alpha)
    counts = Counter(shape(x, draw, errors * np.sqrt(2), floor, alpha)[0] for draw in drawn)
    shares = {name: count / len(drawn) for name, count in counts.most_common()}
    stability = shares.get(label, 0.0)
    if stability < STABLE and label != "undetermined":
        reason = f"{label}, but in {stability:.0%} of bootstrap draws only"
        label = "undetermined"
    return ScalingCurve(label, reason, stability, shares)


def shape(
    x: Float[np.ndarray, " k"],
    y: Float[np.ndarray, " k"],
    errors: Float[np.ndarray, " k"],
    floor: float | None,
    alpha: float,
) -> tuple[Label, str]:
    """The label of one curve and its reason; higher is better."""
    weights = errors**-2
    chi_square = float(weights @ np.square(y - weights @ y / weights.sum()))
    p_flat = float(chi2.sf(chi_square, len(y) - 1))
    if p_flat > alpha:
        return "flat", f"a constant fits (p {p_flat:.2g})"
    z = norm.isf(alpha / 2 / (len(y) - 1))
    above = (y[:, None] - y) / np.hypot(errors[:, None], errors) > z  # [i, j]: model i is better than model j
    places = range(1, len(y) - 1)
    dips = [i for i in places if above[:i, i].any() and above[i + 1 :, i].any()]
    peaks = [i for i in places if above[i, :i].any() and above[i, i + 1 :].any()]
    if dips and peaks:
        return "undetermined", "it turns more than once"
    if dips or peaks:
        return ("U-shaped" if dips else "inverted U"), "both arms exceed their errors"
    up, down = bool(np.tril(above).any()), bool(np.triu(above).any())
    if above[0, -1] and not up:
        return "inverse", "the largest model is worse than the smallest"
    if not above[-1, 0] or down:
        return "undetermined", "not constant, but the largest and the smallest model do not differ clearly"
    fit = isotonic(y[:, None])[:, 0]
    if _from_chance(y, errors, floor) and _concentration(x, fit) >= JUMP:
        start = "the smallest are alike (chance is not known)" if floor is None else "at chance"
        return "emergent", f"{start}, then {100 * _concentration(x, fit):.0f} % of the rise in a quarter of the range"
    start = x[-1] - LAST * (x[-1] - x[0])
    late = y[x >= start]
    added = y[-1] - np.interp(start, x, y)
    error = np.hypot(errors[-1], errors[len(y) - len(late) - 1])
    if added <= PLATEAU * (fit[-1] - fit[0]) and added <= 2 * error:
        return "saturating", f"the last third of the range adds {max(0.0, added) / (fit[-1] - fit[0]):.0%} of the rise"
    return "smooth", "it rises throughout"


def _from_chance(y: Float[np.ndarray, " k"], errors: Float[np.ndarray, " k"], floor: float | None) -> bool:
    """Whether the two smallest models are at chance: within two errors of it, or of one another where it is unknown."""
    if floor is None:
        return bool(abs(y[1] - y[0]) < 2 * np.hypot(errors[0], errors[1]))
    return bool((np.abs(y[:2] - floor) < 2 * errors[:2]).all())


def _concentration(x: Float[np.ndarray, " k"], fit: Float[np.ndarray, " k"]) -> float:
    """Largest share of the rise inside any quarter of the range, between the models by straight lines."""
    width = WITHIN * (x[-1] - x[0])
    starts = np.concatenate([x, x - width])
    starts = starts[(starts >= x[0]) & (starts + width <= x[-1] + 1e-12)]
    gains = np.interp(starts + width, x, fit) - np.interp(starts, x, fit)
    return float(gains.max() / (fit[-1] - fit[0]))
