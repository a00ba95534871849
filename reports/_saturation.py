"""Whether a model got worse again before its training ended, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from lm_probe.reports._best_step import best_and_final, mcnemar
from lm_probe.reports._change_point import SMALLEST, ChangePoint, find_change_point
from lm_probe.reports._noise import Noise, checked, late_from, noise_of, root

Verdict = Literal["saturated", "not worse", "cannot tell"]

FEWEST = 5
"""Checkpoints that show their own scatter; whatever the number of documents, fewer do not."""

LEVEL = 3
"""Checkpoints in the running mean in which the size of a fall is bounded."""

FIRST, DOUBTLESS = 99, 4
"""Draws after which a p value above four times alpha is taken as it is."""

EARLY = 0.1
"""Part of training in which a score may be luck: a level there is none to fall from."""

SHARE = 0.1
"""Part of the gain of the last nine tenths of training below which a fall is called none."""


@dataclass(frozen=True)
class Saturation:
    """What one series says about a late fall. Values are in the metric's own unit and direction."""

    verdict: Verdict
    reason: str
    p_value: float
    """Of no fall at the end, corrected for having looked at every earlier checkpoint."""
    best_step: float
    best_value: float
    best_corrected: float | None
    """The best value without what picking the best of many adds; None where fewer than `FEWEST` checkpoints do not
    show what that is."""
    best_steps: tuple[float, float] | None
    """The best step lies in this range in 95 % of redrawn series; None likewise."""
    final_step: float
    final_value: float
    final_minus_best: float
    """As observed."""
    difference: float | None
    """Final minus best, without what picking adds; 0 at most in the direction of the metric. None likewise."""
    interval: tuple[float, float] | None
    """95 % interval of `difference`; over documents, paired, where outcomes are given. None likewise, where the
    last checkpoint is the best or as good, and where nothing scatters."""
    mcnemar_p: float | None
    """Exact McNemar test of final against best, times the number of earlier checkpoints; for outcomes of 0 and 1."""
    largest_fall: float
    """A fall from one level of three checkpoints to the last larger than this is excluded (95 %)."""
    largest_later_fall: float
    """The same from levels after the part `early` of training."""
    margin: float
    """The fall that counts as none."""
    jitter: float
    """Standard deviation of a checkpoint about the trend that the documents do not explain."""
    change_point: ChangePoint | None


def detect_saturation(
    steps: Sequence[float] | Float[np.ndarray, " t"],
    values: Sequence[float] | Float[np.ndarray, " t"] | None,
    stderr: Sequence[float] | Float[np.ndarray, " t"] | None = None,
    *,
    lower_is_better: bool,
    outcomes: Float[np.ndarray, "t n"] | None = None,
    margin: float | None = None,
    early: float = 0.0,
    alpha: float = 0.05,
    draws: int = 999,
    seed: int = 0,
) -> Saturation:
    r"""Saturation in the sense of arXiv 2404.07647: the last checkpoints are worse than earlier ones.

    Statistic: the largest $(\bar y_w - \bar y_e) / \mathrm{se}$ over end windows e (the last 1, 2, 4, ... checkpoints)
    and all earlier windows w of 2, 4, ... checkpoints, up to a quarter of the series, that begin after the part
    `early` of training. The variance has two parts:
    documents (`outcomes`: their covariance over checkpoints, paired; `stderr`: its square) and jitter of the
    checkpoints themselves, which is the roughness of the series beyond that. p: share of flat series with the same
    scatter whose own statistic, jitter estimated anew, is as large; so picking the best checkpoint is paid for. With
    `stderr` alone the least favourable correlation of neighbours from 0 to 0.85 counts; with neither, the correlation
    is estimated from the series, which is weak evidence.

    Verdict: `saturated` where p <= alpha. Else `not worse` where no mean of three earlier checkpoints, early ones
    among them, can lie above the mean of the last three by `margin` (each at one-sided alpha; default: a tenth of what
    the series gained over the last nine tenths of training). Else `cannot tell`.

    Invariances: shift of the values; scale, together with `stderr`. Cost O(draws t log² t + t² n). Does not show a
    cause, a fall outside this metric and these documents, or whether another seed would fall. Nor does `not worse` show
    progress: a series that slows down or has gone flat is no worse than before, as one that still improves is not.

    Args:
        steps: Rising training steps.
        values: Score of each checkpoint; None where `outcomes` is given, whose means they are.
        stderr: Standard error of each score over documents.
        lower_is_better: True for losses and perplexities.
        outcomes: Score of each checkpoint on each document, the same documents in the same order.
        margin: Size of a fall that does not matter, in the unit of the values.
        early: Part of training, from 0 to 1, whose levels may be luck: a fall from them shows nothing.
        alpha: Rate of false `saturated` on series that do not fall.
        draws: Simulated series.
        seed: Of the private generator; same input and seed, same result.
    """
    at = checked("steps", steps, (-1,))
    if len(at) < 2 or (np.diff(at) <= 0).any():
        raise ValueError(f"{len(at)} steps that do not rise: give two or more, sorted, each once")
    sign = -1.0 if lower_is_better else 1.0
    scores = None if outcomes is None else sign * checked("outcomes", outcomes, (len(at), -1))
    if scores is not None and scores.shape[1] < 2:
        raise ValueError(f"outcomes hold {scores.shape[1]} document: give two or more, or leave them out")
    if values is not None:
        y = sign * checked("values", values, at.shape)
    elif scores is not None:
        y = scores.mean(axis=1)
    else:
        raise ValueError("neither values nor outcomes: give one of them")
    if scores is not None and not np.allclose(scores.mean(axis=1), y, rtol=1e-4, atol=1e-9):
        raise ValueError("values are not the means of outcomes: leave values out (None), or give matching outcomes")
    errors = None if stderr is None else checked("stderr", stderr, at.shape)
    if errors is not None and (errors < 0).any():
        raise ValueError("stderr holds negative entries: give standard errors, not differences")
    noise = noise_of(at, y, errors, scores)
    generator = np.random.default_rng(seed)
    start = int(np.searchsorted(at, early * at[-1]))
    unseen, blind = too_few(at, early) or _unchanging(noise, scores), len(at) < FEWEST
    p_value = 1.0 if unseen else _p_value(noise, start, draws, alpha, generator)
    gain, largest, later = _gain(noise), _largest_fall(noise, 0, alpha), _largest_fall(noise, start, alpha)
    allowed = max(gain, 0.0) * SHARE if margin is None else margin
    best = best_and_final(noise, scores, draws, generator)
    late = late_from(at)
    turn = find_change_point(at[late:], sign * y[late:], seed=seed) if len(at) - late >= SMALLEST else None
    verdict: Verdict
    if unseen:
        verdict, reason = "cannot tell", unseen
    elif p_value <= alpha:
        said = "the end is worse than an earlier stretch by more than scatter and picking the best explain"
        verdict, reason = "saturated", f"{said} (p {p_value:.2g})"
    else:
        verdict, reason = unshown(largest, later, allowed, f"no worsening at the end is detected (p {p_value:.2g})")
    if not unseen and verdict != "not worse" and not noise.known.any():
        reason += "; without standard errors, so that scatter is known from the curve's roughness alone"
    return Saturation(
        verdict=verdict,
        reason=reason,
        p_value=p_value,
        best_step=float(at[best.place]),
        best_value=float(sign * y[best.place]),
        best_corrected=None if blind else sign * best.value,
        best_steps=None if blind else (float(at[best.candidates[0]]), float(at[best.candidates[1]])),
        final_step=float(at[-1]),
        final_value=float(sign * y[-1]),
        final_minus_best=float(sign * (y[-1] - y[best.place])),
        difference=None if blind else sign * best.difference + 0.0,
        interval=None if unseen or best.interval is None else _ends(sign, best.interval),
        mcnemar_p=None if scores is None else mcnemar(scores, best.place),
        largest_fall=max(0.0, largest),
        largest_later_fall=max(0.0, later),
        margin=float(allowed),
        jitter=float(np.sqrt(noise.jitter)),
        change_point=turn,
    )


def _ends(sign: float, interval: tuple[float, float]) -> tuple[float, float]:
    low, high = sorted(sign * end + 0.0 for end in interval)
    return low, high


def too_few(steps: Float[np.ndarray, " t"], early: float) -> str:
    """Why so few checkpoints show no fall; '' where they are enough."""
    if len(steps) < FEWEST:
        return f"{len(steps)} checkpoints do not show how far a checkpoint scatters; {FEWEST} would"
    if not len(_end_contrasts(len(steps), int(np.searchsorted(steps, early * steps[-1])))):
        return f"all but the last checkpoints lie in the first {100 * early:g} % of training, where a score may be luck"
    return ""


def _unchanging(noise: Noise, scores: Float[np.ndarray, "t n"] | None) -> str:
    """That no score shows any scatter, and none of its size either; '' where one does."""
    known = noise.known.any() if scores is None else np.ptp(scores, axis=0).any()
    return "" if np.ptp(noise.values) or known else "every checkpoint has the same score"


def unshown(largest: float, later: float, margin: float, said: str) -> tuple[Verdict, str]:
    """Verdict and reason where no fall is shown: what size of one is ruled out.

    Args:
        largest: Fall of level that is not ruled out.
        later: The same from levels that cannot be luck.
        margin: Fall that counts as none.
        said: That none is detected; a worsening is its subject.
    """
    if largest < margin:
        return "not worse", f"{said}; one by {margin:.3g} or more is ruled out (95 % confidence)"
    if largest <= later:
        return "cannot tell", f"{said}, but one by up to {later:.3g} is not ruled out (95 % confidence)"
    open_ = f"by {margin:.3g} or more is" if later < margin else f"by up to {later:.3g} is not"
    luck = f"counted from early checkpoints, whose scores may be luck, up to {largest:.3g} is not"
    return "cannot tell", f"{said}; one {open_} ruled out (95 % confidence), but {luck}"


def _p_value(noise: Noise, start: int, draws: int, alpha: float, generator: np.random.Generator) -> float:
    """The largest over the correlations of neighbours that the data leave open.

    Ends with the first 99 draws that leave no doubt, far above alpha: most series do not fall.
    """
    contrasts = _end_contrasts(len(noise.steps), start)
    seen = _scan(noise, contrasts, noise.values[:, None])[0]
    largest = 0.0
    for flat in noise.trendless(draws, generator):
        for count in (min(FIRST, draws), draws):
            p_value = float(1 + (_scan(noise, contrasts, flat[:, :count]) >= seen).sum()) / (1 + count)
            if p_value > DOUBTLESS * alpha:
                return p_value
        largest = max(largest, p_value)
    return largest


def _scan(
    noise: Noise, contrasts: Float[np.ndarray, "c t"], series: Float[np.ndarray, "t b"]
) -> Float[np.ndarray, " b"]:
    documents = np.square(contrasts @ root(noise.known)).sum(axis=1)
    lengths = np.square(contrasts).sum(axis=1)
    variance = documents[:, None] + lengths[:, None] * noise.jitter_of(series)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = contrasts @ series / np.sqrt(variance)
    # A score that never varied (0 / 0) neither rose nor fell.
    return np.asarray(np.where(np.isnan(scores), 0.0, scores).max(axis=0))


@lru_cache(maxsize=32)
def _end_contrasts(count: int, first: int) -> Float[np.ndarray, "c t"]:
    """Mean of an earlier window less mean of the last checkpoints, for all lengths 1, 2, 4, ... up to a quarter.

    Windows begin at the place `first` or after.

    From eight checkpoints on an earlier window has two or more: one lucky checkpoint is no level.
    """
    lengths = [1 << power for power in range(max(1, count // 4).bit_length())]
    rows = []
    for end in lengths:
        for window in lengths[1:] or lengths:
            for start in range(first, count - end - window + 1):
                row = np.zeros(count)
                row[start : start + window] = 1 / window
                row[-end:] -= 1 / end
                rows.append(row)
    return np.array(rows).reshape(-1, count)


def _levels(noise: Noise) -> Float[np.ndarray, "w t"]:
    """Running means of three; shorter where the series is."""
    count = len(noise.steps)
    width = min(LEVEL, count // 2)
    return np.array(
        [np.r_[np.zeros(i), np.full(width, 1 / width), np.zeros(count - i - width)] for i in range(count - width + 1)]
    )


def _gain(noise: Noise) -> float:
    """What the best level lies above the first late checkpoint."""
    return float((_levels(noise) @ noise.values).max() - noise.values[late_from(noise.steps)])


def _largest_fall(noise: Noise, start: int, alpha: float) -> float:
    """Upper bound of the fall from any earlier level to the last, of those that begin at the place `start` or after.

    A fall of f exists if one level lies f above the last, so it is excluded when it is excluded for each alone: no
    correction for their number (an intersection-union test).
    """
    levels = _levels(noise)
    width = int(np.count_nonzero(levels[-1]))
    earlier = max(1, len(levels) - width)  # where there are few, one that overlaps the last
    contrasts = levels[min(start, earlier - 1) : earlier] - levels[-1]
    if not len(noise.contrasts):
        return float("inf")
    freedom = noise.degrees_of_freedom
    errors = np.sqrt(np.einsum("ct,tu,cu->c", contrasts, noise.covariance, contrasts))
    return float((contrasts @ noise.values + student.ppf(1 - alpha, freedom) * errors).max())
