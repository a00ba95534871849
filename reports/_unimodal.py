"""Least-squares fit of a rise, or of a rise and then a fall (isotonic and unimodal regression)."""

import numpy as np
from jaxtyping import Float


def isotonic(series: Float[np.ndarray, "t b"]) -> Float[np.ndarray, "t b"]:
    r"""Nearest never-falling series, $\max_{s \le i} \min_{t \ge i} \mathrm{mean}(y_s..y_t)$, column by column.

    The min-max formula costs O(t²) a column and takes all columns at once; scipy's own routine is not in all releases
    that we allow and takes one.
    """
    count = len(series)
    sums = np.vstack([np.zeros(series.shape[1]), np.cumsum(series, axis=0)])
    fit = np.full(series.shape, -np.inf)
    for start in range(count):
        means = (sums[start + 1 :] - sums[start]) / np.arange(1, count - start + 1)[:, None]
        np.maximum(fit[start:], np.minimum.accumulate(means[::-1], axis=0)[::-1], out=fit[start:])
    return fit


def unimodal(series: Float[np.ndarray, "t b"]) -> Float[np.ndarray, "t b"]:
    """A rise up to each column's highest entry and a fall from there."""
    peaks = series.argmax(axis=0)
    fit = np.empty(series.shape)
    for peak in np.unique(peaks):
        here = peaks == peak
        fit[: peak + 1, here] = isotonic(series[: peak + 1, here])
        fit[peak:, here] = isotonic(series[peak:, here][::-1])[::-1]
    return fit
