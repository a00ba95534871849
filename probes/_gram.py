"""The Gram matrix of a tall matrix, in float64, by row blocks."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg.blas import dsyrk
from torch import Tensor

# OpenBLAS is fastest between 176 and 224 rows at widths of 512 to 1024; it packs a copy of every block.
BLOCK_ROWS = 208


class Gram:
    r"""Streaming $W^\top W$ over the rows of W, accumulated in float64 whatever their dtype.

    Holds d x d numbers and, while it is updated, one block of 208 rows and the copy that BLAS packs of it: never a
    float64 copy of W. On the CPU each block is added in place by BLAS `syrk`, which computes half of a symmetric
    product; neither torch nor numpy adds to what is there. O(n d^2) time.
    """

    def __init__(self, columns: int, *, sums: bool = False) -> None:
        """Starts at zero, for rows of this many columns; with `sums` the rows are summed in the same pass."""
        self._upper = np.zeros((columns, columns), order="F")
        self._sum = torch.zeros(columns, dtype=torch.float64) if sums else None

    def update(self, rows: Float[Tensor, "n d"]) -> None:
        """Adds rows, of any floating dtype and from any device."""
        if rows.device.type != "cpu":
            self._upper += _on_device(rows)
            if self._sum is not None:
                self._sum += rows.detach().sum(0, dtype=torch.float64).cpu()
            return
        buffer = torch.empty(min(BLOCK_ROWS, len(rows)), rows.shape[1], dtype=torch.float64)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows.detach()[start : start + BLOCK_ROWS]
            part = buffer[: len(block)].copy_(widened(block))
            # `part.T` and `_upper` are in Fortran's order, so nothing is copied and the sum is made in place.
            self._upper = dsyrk(1.0, part.numpy().T, beta=1.0, c=self._upper, overwrite_c=1, lower=0)
            if self._sum is not None:
                self._sum += part.sum(0)

    def upper(self) -> Float[np.ndarray, "d d"]:
        """The matrix; only the triangle on and above the diagonal is filled. Not a copy."""
        return self._upper

    def row_sum(self) -> Float[np.ndarray, " d"]:
        """The sum of all rows, where sums were asked for. A copy."""
        assert self._sum is not None
        return self._sum.numpy().copy()

    def is_finite(self) -> bool:
        """Whether every row was: a NaN or an infinity anywhere in a column stands on the diagonal."""
        return bool(np.isfinite(self._upper.diagonal()).all())


def widened(weight: Tensor) -> Tensor:
    """float16 as float32: torch takes half as long again to bring it to float64 at once."""
    return weight.float() if weight.dtype == torch.float16 else weight


def _on_device(rows: Float[Tensor, "n d"]) -> Float[np.ndarray, "d d"]:
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for block in rows.detach().split(BLOCK_ROWS):
        total.addmm_(block.T.double(), block.double())
    found: np.ndarray = total.cpu().numpy()
    return found
