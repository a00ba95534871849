"""Whole windows of vectors, with what more than one statistic wants of them."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Scratch:
    """Memory that is written over again and again: on a CPU fresh memory takes longer than the arithmetic in it."""

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._held: dict[tuple[str, torch.device], Tensor] = {}

    def take(self, name: str, shape: torch.Size, device: torch.device) -> Tensor:
        """float64 memory, which holds what was last written there under this name."""
        size = math.prod(shape)
        held = self._held.get((name, device))
        if held is None or len(held) < size:
            held = self._held[name, device] = torch.empty(size, dtype=torch.float64, device=device)
        return held[:size].view(shape)


class Windows(NamedTuple):
    """Windows of a batch in float64, pads set to zero: each pass over them is taken once."""

    vectors: Float[Tensor, "b t d"]
    squares: Float[Tensor, "b t d"]
    """Of the vectors' numbers."""
    norms: Float[Tensor, "b t"]
    """The vectors' lengths."""
    totals: Float[Tensor, "b d"]
    """Sums over each window."""

    @classmethod
    def of(
        cls, vectors: Float[Tensor, "b t d"], counted: Bool[Tensor, "b t"] | None = None, scratch: Scratch | None = None
    ) -> "Windows":
        """Copies vectors of any floating dtype.

        Args:
            vectors: whole windows.
            counted: False at pads; None where there are none.
            scratch: where the copies go; they last until something else is written there.
        """
        memory = scratch or Scratch()
        rows = memory.take("vectors", vectors.shape, vectors.device).copy_(vectors)
        if counted is not None:
            rows.masked_fill_(~counted[..., None], 0.0)
        squares = torch.mul(rows, rows, out=memory.take("squares", rows.shape, rows.device))
        return cls(rows, squares, squares.sum(2).sqrt(), rows.sum(1))
