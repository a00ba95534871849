"""How evenly variance is spread over directions: pure functions of eigenvalues, covariances and vectors."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._eigen import eigh
from lm_probe.probes._spectrum import Spectrum


def participation_ratio(eigenvalues: Tensor | Spectrum) -> float:
    r"""$(\sum\lambda)^2 / \sum\lambda^2$ of a covariance's eigenvalues.

    Range [1, d]: the number of directions if all shared the variance alike. Invariant to scale and rotation, and to
    shift as far as the covariance is. Follows the few largest eigenvalues; with n vectors it is at most n - 1 and too
    small for n near d. O(d) time. Source: Gao et al. 2017 (bioRxiv 214262).

    Raises:
        ValueError: eigenvalues are negative beyond rounding, not finite, or all zero.
    """
    values = _non_negative(eigenvalues)
    return float(values.sum() ** 2 / np.square(values).sum())


def isoscore(eigenvalues: Tensor | Spectrum) -> float:
    r"""IsoScore of a covariance with these eigenvalues.

    The source rotates to principal axes, scales the vector of variances to length $\sqrt d$, takes its distance from
    $(1, \ldots, 1)$, the defect, and rescales. Worked through, that is $(P - 1)/(d - 1)$ with P the
    `participation_ratio`: one number under two names. Range [0, 1]: 0 for one direction, 1 for all alike. Invariant
    to scale, rotation and shift. It does not see a common mean at all, so vectors in a narrow cone can score 1. O(d).
    Source: Rudman et al. 2022 (arXiv 2108.07344), algorithm 1.

    Raises:
        ValueError: fewer than two eigenvalues, or as in `participation_ratio`.
    """
    d = len(eigenvalues)
    if d < 2:
        raise ValueError(f"IsoScore needs two dimensions or more: found {d}")
    return (participation_ratio(eigenvalues) - 1) / (d - 1)


def isoscore_star(covariance: Float[Tensor, "d d"], reference: Float[Tensor, "d d"], weight: float) -> float:
    r"""IsoScore* : IsoScore of $(1 - z)\,\Sigma + z\,\Sigma_\mathrm{ref}$, for covariances of few vectors.

    Range [0, 1]; invariances of `isoscore`, if both matrices are transformed together. The eigenvalues of a small
    sample are spread too far, and z pulls them to a reference: a covariance of more vectors, or a multiple of the
    identity (`shrinkage_weight`). What it says is as much about the reference as about the sample.
    O(d^3) time.
    Source: Rudman and Eickhoff 2024 (arXiv 2305.19358).

    Raises:
        ValueError: the weight is not in [0, 1], or as in `isoscore`.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"a shrinkage weight is from 0 to 1: found {weight}")
    mixed = (1 - weight) * covariance.double() + weight * reference.double()
    return isoscore(torch.linalg.eigvalsh(mixed).clamp_min(0.0))


def shrink(eigenvalues: Spectrum, weight: float) -> Spectrum:
    """Eigenvalues of the covariance that is shrunk towards the identity times their mean."""
    return np.asarray((1 - weight) * eigenvalues + weight * eigenvalues.mean())


def shrinkage_weight(eigenvalues: Tensor | Spectrum, mean_fourth_power: float, n: int) -> float:
    r"""Weight of the scaled identity in the best shrunk covariance, by Ledoit and Wolf.

    $z = \min(1, \frac1n (\overline{\|x\|^4} - \operatorname{tr} C^2) / (\operatorname{tr} C^2 -
    (\operatorname{tr} C)^2/d))$, x centred, C divided by n. Range [0, 1], near 0 for n far above d. Invariant to a
    common scale, rotation and shift of the vectors; O(d) time. It takes vectors as independent: tokens of one document
    are not, so the weight is too small rather than too large.
    Source: Ledoit and Wolf 2004 (J. Multivariate Analysis 88), section 3.

    Args:
        eigenvalues: of the covariance.
        mean_fourth_power: mean of the fourth power of the centred vectors' lengths.
        n: vectors behind the covariance.
    """
    values = _non_negative(eigenvalues)
    square = float(np.square(values).sum())
    distance = square - float(values.sum()) ** 2 / len(values)
    if distance <= 0:
        return 0.0
    return min(1.0, max(0.0, (mean_fourth_power - square) / n / distance))


def log_partition_isotropy(vectors: Float[Tensor, "m d"], directions: Float[Tensor, "d k"] | None = None) -> float:
    r"""Natural logarithm of $\min_c Z(c) / \max_c Z(c)$ with $Z(c) = \sum_i e^{c \cdot x_i}$.

    c runs over plus and minus the eigenvectors of $X^\top X$ (uncentred), or the given unit columns. Range (-inf, 0]:
    0 for vectors that look alike from every side. Invariant to rotation only: **not** to scale, since exponents are
    lengths. It was made for word vectors of length near 1; hidden states of length 100 give -100 or so, and the ratio
    itself underflows to 0, hence the logarithm. It follows the mean vector and single outliers, not the bulk.
    O(m d^2). Source: Mu and Viswanath 2018 (arXiv 1702.01417), eq. 4; Arora et al. 2016 (arXiv 1502.03520).
    """
    rows = vectors.double()
    projections = own_projections(rows) if directions is None else rows @ directions.double()
    log_partition = torch.logsumexp(torch.cat([projections, -projections], 1), 0)
    return float(log_partition.min() - log_partition.max())


def own_projections(rows: Float[Tensor, "m d"], products: Float[Tensor, "m m"] | None = None) -> Float[Tensor, "m k"]:
    """The vectors along the eigenvectors of their own second moment, from the smaller side of the matrix.

    Of the directions in which none of them has a part there is one at the most: they are all alike.

    Args:
        rows: the vectors, in float64.
        products: their inner products, where they are known.
    """
    m, d = rows.shape
    if m >= d:
        axes: Tensor = eigh(rows.T @ rows)[1]
        return rows @ axes
    # X v = sigma u, with u the eigenvectors of the Gram matrix.
    squares, left = eigh(rows @ rows.T if products is None else products)
    projections = left * squares.clamp_min(0.0).sqrt()
    return torch.cat([projections, torch.zeros(m, 1, dtype=torch.float64)], 1)


def partition_isotropy(vectors: Float[Tensor, "m d"], directions: Float[Tensor, "d k"] | None = None) -> float:
    """The ratio itself, in [0, 1]: formula, cost, source and what it does not show at `log_partition_isotropy`.

    Invariant to rotation only. It underflows to 0 for long vectors, where the logarithm still tells.
    """
    return math.exp(log_partition_isotropy(vectors, directions))


def _non_negative(eigenvalues: Tensor | Spectrum) -> Spectrum:
    values = np.asarray(eigenvalues, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected a vector of eigenvalues, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("eigenvalues must be finite")
    if values.max() <= 0:
        raise ValueError("all eigenvalues are zero: vectors that are all the same have no covariance")
    if values.min() < -1e-9 * values.max():
        raise ValueError(f"a covariance has no negative eigenvalue: found {values.min():.3g}")
    return np.maximum(values, 0.0)
