"""Standard errors of means over clusters of vectors, from a sample of the vectors and what is known of the clusters."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Proxies(NamedTuple):
    """A quantity much like the influences, of which each group's total is known."""

    values: Float[Tensor, "m k"]
    """Of the sampled vectors."""
    totals: Float[Tensor, "g k"]
    """Of each group, over all its vectors."""


def clustered_error(
    influences: Float[Tensor, "m k"],
    groups: Int[Tensor, " m"],
    strata: Int[Tensor, " m"],
    sizes: Float[Tensor, "g s"],
    proxies: Proxies,
) -> list[float | None]:
    """Standard errors of means over everything, where vectors of one group are dependent.

    With every vector in the sample this is the ordinary cluster error. A part of them tells how much vectors vary, but
    hardly how alike those of a group are: a few dozen vectors of a group that has thousands leave the total of the
    group unknown. So the variance of independent vectors, from the sample, is multiplied by the design effect (Kish
    1965) of the proxies: the variance of their known totals over that of independent vectors. None with fewer than two
    groups.

    Args:
        influences: of each sampled vector, on each of k values.
        groups: of the sampled vectors.
        strata: of the sampled vectors. How many vectors each has is known, so that a stratum of few vectors that are
            unlike all others (first positions) is not taken for chance.
        sizes: vectors of each group and stratum in all.
        proxies: one for each influence.
    """
    used = sizes.sum(1) > 0
    if int(used.sum()) < 2:
        return [None] * influences.shape[1]
    if len(influences) >= sizes.sum():
        totals = torch.zeros(len(sizes), influences.shape[1], dtype=torch.float64).index_add_(0, groups, influences)
        variance = _of_totals(totals[used], sizes[used].sum(1))
    else:
        together = torch.cat([influences, proxies.values], 1)
        independent, known = _of_independent(together, strata, sizes.sum(0)).chunk(2)
        effect = _of_totals(proxies.totals[used], sizes[used].sum(1)) / known
        variance = independent * torch.where(known > 0, effect, 1.0)
    return [float(error) for error in variance.sqrt() / sizes.sum()]


def _of_totals(totals: Float[Tensor, "g k"], sizes: Float[Tensor, " g"]) -> Float[Tensor, " k"]:
    """Variance of a sum over groups, each taken beside its share of the whole."""
    beside = totals - sizes[:, None] * (totals.sum(0) / sizes.sum())
    return len(totals) / (len(totals) - 1) * beside.square().sum(0)


def _of_independent(values: Float[Tensor, "m k"], strata: Int[Tensor, " m"], sizes: Float[Tensor, " s"]) -> Tensor:
    """Variance of a sum over strata of known sizes, by the sample's variance in each."""
    variance = torch.zeros(values.shape[1], dtype=torch.float64)
    for stratum, size in enumerate(sizes):
        own = values[strata == stratum]
        if len(own) > 1:
            variance += size * own.var(0)
    return variance
