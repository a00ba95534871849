"""How far a matrix has moved from an earlier one."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._gram import widened

# Numbers compared in one go: in float64 both blocks stay in a processor's cache, which halves the time.
_BLOCK = 1 << 16


class Movement(NamedTuple):
    """A matrix against an earlier one of the same shape."""

    distance: float | None
    r"""$\|W - W_0\|_F / \|W_0\|_F$: [0, inf); None where the earlier one is zero."""
    cosine: float | None
    r"""$\langle W, W_0\rangle / (\|W\|_F \|W_0\|_F)$: [-1, 1]; None where one of them is zero."""


def movement(weight: Float[Tensor, "m n"], first: Float[Tensor, "k l"]) -> Movement:
    """Relative distance and cosine between a matrix and an earlier one, entry by entry, in float64 by row blocks.

    Both are invariant to a common scale and to a common rotation; the cosine also to the scale of either. They are not
    invariant to a rotation of one alone: what two networks compute can be the same at any distance, so this compares
    checkpoints of one run, not runs. O(m n) time, one block of memory. Source: Nagarajan and Kolter 2019 (arXiv
    1901.01672), who measure training by its distance from the start.

    Raises:
        ValueError: the shapes differ.
    """
    if weight.shape != first.shape:
        raise ValueError(f"a matrix of shape {tuple(weight.shape)} has no distance from one of {tuple(first.shape)}")
    sums = torch.zeros(4, dtype=torch.float64, device=weight.device)
    rows = max(1, _BLOCK // max(1, weight.shape[1]))
    memory = torch.empty(2, rows * weight.shape[1], dtype=torch.float64, device=weight.device)
    for block, other in zip(weight.detach().split(rows), first.detach().split(rows), strict=True):
        now, then = memory[:, : block.numel()]
        now.view(block.shape).copy_(widened(block))
        then.view(block.shape).copy_(widened(other.to(block.device)))
        products = [now @ then, now @ now, then @ then]
        gap = now.sub_(then)
        sums += torch.stack([*products, gap @ gap])
    between, own, others, apart = sums.tolist()
    return Movement(
        math.sqrt(apart / others) if others else None,
        max(-1.0, min(1.0, between / math.sqrt(own * others))) if own and others else None,
    )
