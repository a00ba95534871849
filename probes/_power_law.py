"""A power law fitted to the tail of a sample."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class PowerLawTail(NamedTuple):
    """A fitted tail."""

    exponent: float
    """alpha of the density x^-alpha."""
    start: float
    """The value from which on the law is fitted."""
    distance: float
    """Kolmogorov-Smirnov distance between the tail and the law, in [0, 1]."""
    n: int
    """Values in the tail."""


def power_law_tail(values: Float[np.ndarray, " n"]) -> PowerLawTail:
    r"""Exponent of the power law that fits the tail of the values best.

    For each start x the exponent is the maximum-likelihood one, $1 + n / \sum_i \ln(x_i/x)$ over the n values from x
    on; the start is chosen whose tail lies closest to its law by Kolmogorov-Smirnov distance (Clauset, Shalizi and
    Newman 2009, arXiv 0706.1062, sections 3.1 and 3.3). Range (1, inf); invariant to scale. Of a spectrum the
    eigenvalues $\sigma^2$ are fitted, as Martin and Mahoney 2021 (arXiv 1810.01075) do. O(n^2) time, O(n) memory.

    It does not show that there is a power law: something is always fitted. Noise gives a large exponent over a short
    tail; read it with `distance` and `n`.

    This is the estimator of the package `powerlaw`, whose release 2 keeps the exponent below 3 unless told otherwise
    and takes a hundred times as long.

    Raises:
        ValueError: there are not two different positive values.
    """
    ordered = np.sort(values[values > 0])
    if not ordered.size or ordered[0] == ordered[-1]:
        raise ValueError("a tail needs two different positive values")
    logarithms = np.log(ordered)
    counts = np.arange(ordered.size, 0, -1)
    above = np.cumsum(logarithms[::-1])[::-1] - counts * logarithms
    starts = np.flatnonzero(np.diff(ordered, prepend=0.0) > 0)[:-1]  # of equal values the first
    best = PowerLawTail(np.inf, 0.0, np.inf, 0)
    for start in starts:
        n = int(counts[start])
        exponent = 1 + n / above[start]
        expected = -np.expm1((1 - exponent) * (logarithms[start:] - logarithms[start]))
        distance = float(np.abs(expected - np.arange(n) / n).max())
        if distance < best.distance:
            best = PowerLawTail(float(exponent), float(ordered[start]), distance, n)
    return best
