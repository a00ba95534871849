"""How alike the neurons of a projection are: cosines between rows, and the groups that they form."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

THRESHOLD = 0.7
_BLOCK_ROWS = 512


class Likeness(NamedTuple):
    """Cosines between the rows of a matrix, summed up."""

    mean_cosine: float
    """Mean over pairs, in [-1/(n-1), 1]."""
    mean_abs_cosine: float
    r"""Mean of $|\cos|$ over pairs, in [0, 1]."""
    share_above: float
    r"""Share of pairs with $|\cos|$ above the threshold, in [0, 1]."""
    groups: int
    """Greedy groups by cosine, 1..n."""
    abs_groups: int
    r"""Greedy groups by $|\cos|$, which puts opposite directions together, 1..n."""
    largest_group: float
    """Share of the rows in the largest group by cosine, in [1/n, 1]."""
    order: Int[np.ndarray, " n"]
    """Rows sorted by group: what puts a heat map of cosines into blocks."""
    n: int
    """Rows that counted: those that are not zero."""


def likeness(weight: Float[Tensor, "n d"], threshold: float = THRESHOLD) -> Likeness:
    r"""Cosines between all pairs of rows of a projection: how far its neurons condense onto few directions.

    A row holds the input weights of one output neuron. Groups are made greedily: the first row that is in none takes
    along every row in none whose cosine with it exceeds the threshold, and so on. Exact over all pairs, in float64.
    O(n^2 d) time, n^2 numbers of one byte.

    Invariant to a positive scale of each row and to a rotation of the inputs; the means, the share and nothing else to
    the order of rows: groups depend on which row comes first. A mean direction that all rows share makes every cosine
    large; subtract the mean row first to see beyond it. In rotary models query and key are defined only up to
    rotations within pairs of rows, so their cosines are too.

    It does not show what the network infers: strongly condensed networks were seen to memorise as well.
    Source: Zhang et al. 2024 (arXiv 2405.05409), section 5.3; threshold 0.7 as in its figures, which use the signed
    cosine. Zero rows have no direction and are left out.

    Raises:
        ValueError: fewer than two rows are not zero, or the threshold is not in (0, 1).
    """
    if not 0 < threshold < 1:
        raise ValueError(f"a threshold of {threshold} splits no cosines: give one between 0 and 1")
    rows = weight.detach().double()
    lengths = torch.linalg.vector_norm(rows, dim=1)
    kept = torch.nonzero(lengths > 0).flatten()
    n = len(kept)
    if n < 2:
        raise ValueError(f"cosines need two rows that are not zero: found {n}")
    unit = rows[kept] / lengths[kept, None]
    near, near_or_opposite = (torch.zeros(n, n, dtype=torch.bool, device=unit.device) for _ in range(2))
    absolute, above = 0.0, 0
    for start in range(0, n, _BLOCK_ROWS):
        cosines = (unit[start : start + _BLOCK_ROWS] @ unit[start:].T).triu(1)
        size = cosines.abs()
        absolute += float(size.sum())
        above += int((size > threshold).sum())
        stop = start + len(cosines)
        near[start:stop, start:] = cosines > threshold
        near_or_opposite[start:stop, start:] = size > threshold
    pairs = n * (n - 1) / 2
    signed = (float(unit.sum(0).square().sum()) - n) / (2 * pairs)
    groups = greedy_groups(near.cpu().numpy())
    return Likeness(
        signed,
        absolute / pairs,
        above / pairs,
        len(groups),
        len(greedy_groups(near_or_opposite.cpu().numpy())),
        max(map(len, groups)) / n,
        kept.cpu().numpy()[np.concatenate(groups)],
        n,
    )


def greedy_groups(near: Bool[np.ndarray, "n n"]) -> list[Int[np.ndarray, " k"]]:
    """Groups of items: the first that is in none leads, and takes along all in none that are near to it.

    Args:
        near: which pairs are near; only the part above the diagonal is read.

    Returns:
        The members of each group, its leader first.
    """
    free = np.ones(len(near), dtype=bool)
    groups = []
    for leader in range(len(near)):
        # All before the leader are in groups, so what is near to it lies above the diagonal.
        if free[leader]:
            members = near[leader] & free
            members[: leader + 1] = False
            members[leader] = True
            free &= ~members
            groups.append(np.flatnonzero(members))
    return groups
