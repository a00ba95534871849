"""The best checkpoint of a series, and what choosing it among many added to its score."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest

from lm_probe.reports._noise import Noise, late_from, root
from lm_probe.reports._unimodal import unimodal

ROUNDING = 1e-7
"""Part of the scores within which they differ by float32's rounding."""


class Best(NamedTuple):
    """The best checkpoint, in the direction "higher is better"."""

    place: int
    value: float
    """Corrected for having been picked as the highest."""
    candidates: tuple[int, int]
    """First and last of the checkpoints that are the best in 95 % of redrawn series."""
    difference: float
    """Final less `value`: the observed fall or a smaller one, and none where all of it is what picking adds."""
    interval: tuple[float, float] | None
    """95 % interval of `difference`, which lies in it; None where the last is the best or as good, so that 0 is no
    estimate, and where nothing scatters, which does not say how other documents would: no width beyond rounding."""


def best_and_final(
    noise: Noise, outcomes: Float[np.ndarray, "t n"] | None, draws: int, generator: np.random.Generator
) -> Best:
    """Best and final, by redrawing series about the fitted rise and fall.

    In each redrawn series the highest checkpoint is picked anew: how far its score lies above its true level is what
    picking adds, on average over the draws, those beyond 95 % counted at its ends (with the few degrees of freedom of
    a short series a plain mean is not finite). On average picking takes nothing off a score, so that a mean below 0 is
    the draws' own error, and counts as 0. The same draws give the interval of the difference (basic bootstrap).
    Errors come from a bootstrap over documents, the same for all checkpoints, where outcomes are given; from a normal
    distribution else. Checkpoints before both the best and the last nine tenths of training are no candidates: the
    error of a perplexity of millions is no scatter.
    """
    index = int(noise.values.argmax())
    start = min(index, late_from(noise.steps))
    observed = noise.values[start:]
    level = unimodal(observed[:, None])
    if outcomes is None:
        errors = root(noise.known[start:, start:]) @ generator.standard_normal((len(level), draws))
    else:
        errors = _over_documents(outcomes[start:], draws, generator)
    drawn = level + errors + _jitter(noise, len(level), draws, generator)
    picked = drawn.argmax(axis=0)
    excess = drawn[picked, np.arange(draws)] - level[picked, 0]
    misses = drawn[-1] - level[-1] - excess
    raw = observed[-1] - observed[index - start]
    low, high = raw - np.quantile(misses, [0.975, 0.025])
    first, last = np.quantile(picked, [0.025, 0.975], method="nearest").astype(int)
    added = max(_mean(excess), 0.0)
    value = float(observed[index - start] - added)
    candidates = (start + first, start + last)
    if index == len(noise.values) - 1:
        return Best(index, value, candidates, 0.0, None)
    difference = min(float(raw + added), 0.0)
    low, high = min(float(low), difference), max(min(float(high), 0.0), difference)
    scattered = high - low > ROUNDING * np.abs(observed).max()
    return Best(index, value, candidates, difference, (low, high) if scattered else None)


def _mean(drawn: Float[np.ndarray, " b"]) -> float:
    """Mean of the draws, winsorised at the ends of their 95 % interval, in which it so lies."""
    return float(np.clip(drawn, *np.quantile(drawn, [0.025, 0.975])).mean())


def _over_documents(
    outcomes: Float[np.ndarray, "t n"], draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "t b"]:
    count = outcomes.shape[1]
    centred = outcomes - outcomes.mean(axis=1, keepdims=True)
    drawn = [centred @ generator.multinomial(count, np.full(count, 1 / count)) for _ in range(draws)]
    return np.asarray(np.stack(drawn, axis=1) / count)


def _jitter(noise: Noise, count: int, draws: int, generator: np.random.Generator) -> Float[np.ndarray, "t b"]:
    """Jitter whose variance is itself uncertain, as in Student's t."""
    if not noise.jitter:
        return np.zeros((count, draws))
    freedom = noise.degrees_of_freedom
    deviations = np.sqrt(noise.jitter * freedom / generator.chisquare(freedom, draws))
    return np.asarray(deviations * generator.standard_normal((count, draws)))


def mcnemar(outcomes: Float[np.ndarray, "t n"], best: int) -> float | None:
    """Exact test of the documents on which best and final disagree, times the number of earlier checkpoints.

    The factor (Bonferroni) pays for having picked the best among them. None where outcomes are not 0 and 1. Knows
    documents only: a checkpoint's own jitter makes it significant too.
    """
    if not np.isin(np.abs(outcomes), (0, 1)).all():
        return None
    change = outcomes[-1] - outcomes[best]
    lost, won = int((change < 0).sum()), int((change > 0).sum())
    if lost + won == 0:
        return 1.0
    return min(1.0, float(binomtest(lost, lost + won).pvalue) * (len(outcomes) - 1))
