"""Single dimensions that rule the cosine: pure functions."""

import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._cosine import mean_cosine
from lm_probe.probes._covariance import identical, varies


def cosine_contributions(vectors: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    r"""What each dimension adds to the mean cosine over all ordered pairs; the contributions sum to it.

    With unit vectors $u_i$: $c_j = ((\sum_i u_{ij})^2 - \sum_i u_{ij}^2) / (n (n - 1))$, in [-1/(n-1), 1]. Exact
    over all pairs, where the source samples pairs; O(n d). Invariant to a positive scale of each vector; not to
    rotation, since it is about the basis that the network computes in. A dimension that adds much need not matter to
    prediction.
    Source: Timkey and van Schijndel 2021 (arXiv 2109.04404), eq. 3.

    Raises:
        ValueError: fewer than two vectors are not zero.
    """
    rows = vectors.double()
    norms = torch.linalg.vector_norm(rows, dim=1)
    rows, norms = rows[norms != 0], norms[norms != 0]
    n = len(rows)
    if n < 2:
        raise ValueError(f"a mean cosine needs two vectors that are not zero: found {n}")
    units = rows / norms[:, None]
    contributions: Tensor = (units.sum(0).square() - units.square().sum(0)) / (n * (n - 1))
    return contributions


def rogue_share(contributions: Float[Tensor, " d"], k: int) -> float:
    """Share of the mean cosine that its k largest contributions carry.

    Near k/d when all dimensions add alike, near 1 when k of them make the anisotropy, above 1 when the others pull the
    other way. A ratio by the mean cosine: where that is close to 0 it says nothing, and its error is large. Invariant
    to a positive scale of each vector and to the order of dimensions, not to rotation or shift; it does not say whether
    the model needs those dimensions. O(d log k) time.
    Source: Timkey and van Schijndel 2021 (arXiv 2109.04404), table 1.

    Raises:
        ValueError: the contributions do not sum to more than 0, so there is nothing to share out.
    """
    total = float(contributions.sum())
    if not total > 0:
        raise ValueError(f"shares need a positive mean cosine: found {total:.3g}")
    return float(contributions.topk(min(k, len(contributions))).values.sum()) / total


def centred(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The vectors less their mean, in float64; 0 in a dimension that never varies, and where all are `identical`."""
    rows = vectors.double()
    if identical(vectors):
        return torch.zeros_like(rows)
    mean = rows.mean(0)
    rows = rows - mean
    return torch.where(varies(mean, rows.square().mean(0)), rows, 0.0)


def standardised(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Each dimension less its mean and divided by its standard deviation. One that never varies becomes 0."""
    rows = centred(vectors)
    return rows * inverse_spread(rows.square().mean(0))


def inverse_spread(variance: Float[Tensor, "*r d"]) -> Float[Tensor, "*r d"]:
    """1 over the standard deviation; 0 where nothing varies."""
    return torch.where(variance > 0, variance.rsqrt(), 0.0)


def mean_cosine_centred(vectors: Float[Tensor, "n d"]) -> float:
    r"""`mean_cosine` after the mean vector is subtracted.

    Range [-1/(n-1), 1]; near 0 whenever the vectors lie about evenly around their mean, so it tells how much of the
    anisotropy is *not* a common shift. Invariant to shift, rotation and one scale for all; O(n d). Two clusters of
    unequal size also give a value above 0: it does not say why. Source: Cai et al. 2021 (ICLR), section 3.

    Raises:
        ValueError: fewer than two vectors differ from the mean; all are one vector but for rounding.
    """
    return mean_cosine(centred(vectors))


def mean_cosine_standardised(vectors: Float[Tensor, "n d"]) -> float:
    """`mean_cosine` after each dimension is brought to mean 0 and variance 1.

    Range [-1/(n-1), 1]. Invariant to shift and to a scale of each dimension, not to rotation; O(n d). What is left of
    the anisotropy when no dimension has more weight than another; it does not tell shift from scale.
    Source: Timkey and van Schijndel 2021 (arXiv 2109.04404), section 5.

    Raises:
        ValueError: as in `mean_cosine_centred`.
    """
    return mean_cosine(standardised(vectors))


def mean_cosine_without(vectors: Float[Tensor, "n d"], k: int) -> float:
    """`mean_cosine` after the k dimensions with the largest contribution are dropped.

    Range [-1/(n-1), 1]. Invariant to a positive scale of all vectors, not to rotation or shift; O(n d). A fall tells
    that few dimensions made the anisotropy; dropping them from the *measure* is no ablation of the model.
    Source: Timkey and van Schijndel 2021 (arXiv 2109.04404), section 3.
    """
    top = cosine_contributions(vectors).topk(min(k, vectors.shape[1] - 1)).indices
    keep = torch.ones(vectors.shape[1], dtype=torch.bool)
    keep[top] = False
    return mean_cosine(vectors[:, keep])
