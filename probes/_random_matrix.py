"""What a matrix of independent Gaussian numbers looks like: the null model beside which spectra are read."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.integrate import quad
from scipy.linalg import eigvalsh_tridiagonal
from scipy.optimize import brentq
from scipy.special import betainc, gammaln

# 99 % quantile of the Tracy-Widom law of order 1 (Johnstone 2001, table 1 gives 2.02).
_TRACY_WIDOM_99 = 2.0234


def gaussian_singular_values(rows: int, columns: int, generator: np.random.Generator) -> Float[np.ndarray, " k"]:
    """Singular values of a rows x columns matrix of independent N(0, 1) numbers, descending, drawn exactly.

    The matrix itself is never made: its singular values have the law of those of a bidiagonal matrix of
    independent chi numbers (Dumitriu and Edelman 2002, J. Math. Phys. 43, 5830), which takes O(k) random numbers and
    O(k^2) time for k = min(rows, columns). Values below about 1e-8 of the largest are rounding noise.
    """
    n, k = max(rows, columns), min(rows, columns)
    diagonal = np.sqrt(generator.chisquare(n - np.arange(k)))
    beside = np.sqrt(generator.chisquare(k - 1 - np.arange(k - 1)))
    squares = np.square(diagonal)
    squares[1:] += np.square(beside)
    found = eigvalsh_tridiagonal(squares, diagonal[:-1] * beside)[::-1]
    return np.asarray(np.sqrt(found.clip(min=0.0)))


class Bulk(NamedTuple):
    """A spectrum against the Marchenko-Pastur law."""

    noise: float
    """Standard deviation of the entries that would give the spectrum's median."""
    edge: float
    """Largest singular value of such noise in the limit of large matrices."""
    outliers: int
    """Singular values beyond what noise of this size reaches in 99 of 100 matrices."""
    outlier_share: float
    r"""Their share of $\sum\sigma^2$, in [0, 1]."""


def marchenko_pastur(sigma: Float[np.ndarray, " k"], rows: int, columns: int) -> Bulk:
    r"""Which singular values stand out of noise, and where noise ends.

    A rows x columns matrix of independent entries with standard deviation s has singular values up to the edge
    $s(\sqrt{n} + \sqrt{k})$, n >= k (Marchenko and Pastur 1967). s is taken from the median of the spectrum, which up
    to half of it being signal does not move far (Gavish and Donoho 2014, arXiv 1305.5870). The largest value of noise
    fluctuates about the edge by the Tracy-Widom law; an outlier lies beyond its 99 % quantile (Johnstone 2001, theorem
    1.1). Of matrices of pure noise one in a hundred shows one, and more where the median itself scatters: two in a
    hundred of square ones with 512 rows, five with 32. The edge is > 0, outliers number 0 to k, their share is in
    [0, 1]. Noise scales with the matrix; the counts do not. O(k) time.

    It does not show structure inside the bulk, and it takes rows to be alike: rows of very different length (of rare
    and frequent tokens) push values over the edge without any shared direction.

    Args:
        sigma: all min(rows, columns) singular values, in any order.
        rows: of the matrix.
        columns: of the matrix.

    Raises:
        ValueError: sigma has another length, or its median is zero, so that nothing is left to call noise.
    """
    n, k = max(rows, columns), min(rows, columns)
    if sigma.size != k:
        raise ValueError(f"a {rows} x {columns} matrix has {k} singular values, got {sigma.size}")
    median = float(np.median(np.square(sigma)))
    if median == 0:
        raise ValueError("half of the singular values are zero: there is no bulk to compare with noise")
    noise = math.sqrt(median / (n * _median_of_law(k / n)))
    a, b = math.sqrt(max(n - 1, 1)), math.sqrt(k)
    reach = (a + b) ** 2 + _TRACY_WIDOM_99 * (a + b) * (1 / a + 1 / b) ** (1 / 3)
    beyond = np.square(sigma)[np.square(sigma) > noise**2 * reach]
    return Bulk(noise, noise * (math.sqrt(n) + b), int(beyond.size), float(beyond.sum() / np.square(sigma).sum()))


@lru_cache(maxsize=256)
def _median_of_law(ratio: float) -> float:
    """Median of the Marchenko-Pastur law of eigenvalues, for unit variance and aspect ratio in (0, 1]."""
    root = math.sqrt(ratio)

    def eigenvalue(angle: float) -> float:
        return (1 - root) ** 2 + 4 * root * math.sin(angle / 2) ** 2

    def density(angle: float) -> float:
        # By the angle rather than the eigenvalue: the square roots at both edges are gone.
        return 2 * math.sin(angle) ** 2 / (math.pi * eigenvalue(angle))

    return eigenvalue(brentq(lambda angle: quad(density, 0, angle)[0] - 0.5, 0.01, math.pi))


def abs_cosine_of_gaussians(dimensions: int) -> tuple[float, float]:
    r"""Mean and standard deviation of $|\cos|$ between two independent Gaussian vectors.

    The mean is $\Gamma(d/2) / (\sqrt\pi\,\Gamma((d+1)/2))$, close to $\sqrt{2/(\pi d)}$, and the mean square 1/d: exact
    for every d, because the directions are uniform on the sphere (Cai, Fan and Jiang 2013, arXiv 1306.0256). O(1) time.
    """
    half = dimensions / 2
    mean = math.exp(gammaln(half) - gammaln(half + 0.5)) / math.sqrt(math.pi)
    return mean, math.sqrt(max(0.0, 1 / dimensions - mean**2))


def share_above_of_gaussians(dimensions: int, threshold: float) -> float:
    r"""Probability that $|\cos|$ between two independent Gaussian vectors exceeds a threshold in [0, 1].

    $I_{1-\tau^2}((d-1)/2, 1/2)$, the regularised incomplete beta function: $\cos^2$ is Beta(1/2, (d-1)/2).
    Source: Li 2011 (Asian Journal of Mathematics and Statistics 4). O(1) time.
    """
    if dimensions == 1:
        return 1.0
    return float(betainc((dimensions - 1) / 2, 0.5, 1 - threshold**2))
