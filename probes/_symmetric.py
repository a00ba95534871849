"""Products of a matrix with its own transpose, of which little more than half is computed.

Such a product is symmetric. It is kept as strips: some rows of it each, from the diagonal to the right end.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

# Wide enough for products to run at full speed, narrow enough that little of the second half is computed.
_STRIP = 48
# On a CPU a block of rows that stays in its cache takes a tenth less time; on a GPU fewer calls are the quicker.
_ROWS, _ROWS_ON_DEVICE = 256, 2048
# Rows a power of two apart share few places in the cache.
_GAP = 8


def rows_at_once(device: torch.device) -> int:
    """How many rows make a block there."""
    return _ROWS if device.type == "cpu" else _ROWS_ON_DEVICE


def block_of(rows: int, columns: int, device: torch.device) -> Float[Tensor, "rows columns"]:
    """Room for a block of float64 rows, not initialised; its rows lie a little apart, which makes products quicker."""
    return torch.empty(rows, columns + _GAP, dtype=torch.float64, device=device)[:, :columns]


def new_strips(d: int, device: torch.device) -> list[Tensor]:
    """Strips of a d x d product, of zeros: d^2 / 2 numbers and little more."""
    shapes = [(min(_STRIP, d - start), d - start) for start in range(0, d, _STRIP)]
    return [torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes]


def strips_of(square: Float[Tensor, "d d"]) -> list[Tensor]:
    """The same as views of a matrix: what is added to them fills its upper triangle, and a little below."""
    return [square[start : start + _STRIP, start:] for start in range(0, len(square), _STRIP)]


def operands(strips: Sequence[Tensor], rows: Float[Tensor, "n d"]) -> list[tuple[Tensor, Tensor, Tensor]]:
    r"""What `strip.addmm_(left, right)` takes, strip by strip, to add $X^\top X$ of n float64 rows X: views."""
    lefts = rows.T.split(_STRIP)
    return [(strip, left, rows[:, -strip.shape[1] :]) for strip, left in zip(strips, lefts, strict=True)]


def add_product(strips: Sequence[Tensor], rows: Float[Tensor, "n d"]) -> None:
    r"""Adds $X^\top X$ of n float64 rows X to strips, in place: n d^2 multiplications and little more."""
    for strip, left, right in operands(strips, rows):
        strip.addmm_(left, right)


def square_of(strips: Sequence[Tensor]) -> Float[Tensor, "d d"]:
    """The whole matrix that strips stand for. A copy."""
    d = strips[0].shape[1]
    square = strips[0].new_empty(d, d)
    for strip in strips:
        start = d - strip.shape[1]
        stop = start + len(strip)
        square[start:stop, start:] = strip
        square[start:, start:stop] = strip.T
    return square
