"""The Gram matrix of a tall matrix, in float64, by row blocks."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._statistics_device import statistics_device
from lm_probe.probes._symmetric import block_of, operands, rows_at_once, strips_of


class Gram:
    r"""Streaming $W^\top W$ over the rows of W, accumulated in float64 whatever their dtype.

    Holds d x d numbers, where the rows are, and one block of them while it is updated: never a float64 copy of W. Of
    the symmetric product little more than half is computed. O(n d^2) time.
    """

    def __init__(self, columns: int, *, sums: bool = False) -> None:
        """Starts at zero, for rows of this many columns; with `sums` the rows are summed in the same pass."""
        self._matrix = torch.zeros(columns, columns, dtype=torch.float64)
        self._sum = torch.zeros(columns, dtype=torch.float64) if sums else None

    def update(self, rows: Float[Tensor, "n d"]) -> None:
        """Adds rows, of any floating dtype and from any device."""
        device = statistics_device(rows.device)
        self._matrix = self._matrix.to(device)
        if self._sum is not None:
            self._sum = self._sum.to(device)
        size = rows_at_once(device)
        buffer = block_of(min(size, len(rows)), rows.shape[1], device)
        products = operands(strips_of(self._matrix), buffer)
        for block in rows.detach().split(size):
            buffer[: len(block)].copy_(widened(block.to(device)))
            buffer[len(block) :].zero_()  # of the last one; rows of zeros add nothing
            for strip, left, right in products:
                strip.addmm_(left, right)
            if self._sum is not None:
                self._sum += buffer.sum(0)

    def lower(self) -> Float[np.ndarray, "d d"]:
        """The matrix in Fortran's order; only what is on and below the diagonal is filled. On the CPU not a copy."""
        found: np.ndarray = self._matrix.cpu().numpy().T
        return found

    def row_sum(self) -> Float[np.ndarray, " d"]:
        """The sum of all rows, where sums were asked for. A copy."""
        assert self._sum is not None
        return self._sum.cpu().numpy().copy()

    def is_finite(self) -> bool:
        """Whether every row was: a NaN or an infinity anywhere in a column stands on the diagonal."""
        return bool(torch.isfinite(self._matrix.diagonal()).all())


def widened(weight: Tensor) -> Tensor:
    """float16 as float32: torch takes half as long again to bring it to float64 at once."""
    return weight.float() if weight.dtype == torch.float16 else weight
