"""Mean and covariance of hidden states in one pass."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lm_probe.probes._symmetric import add_product, block_of, new_strips, rows_at_once, square_of

# Roundings between two computations of one state. In half precision products are summed in single precision, and a
# state differs by 2 units in the last place at the most (16 layers, 768 wide); where sums are rounded too, by 10.
_ROUNDINGS_OF_HALF = 4
_ROUNDINGS = 64


class CovarianceResult(NamedTuple):
    """Mean vector and covariance (divided by n), float64."""

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    n: int


class Covariance:
    """Streaming mean and covariance in float64, exact to rounding and merged by the rule of Chan et al. 1983.

    Every block is centred about its own mean before its products are taken, so a large common mean costs no digits.
    The matrix is symmetric, and half of it is kept and computed: little more than d^2 / 2 numbers, and n d^2
    multiplications. O(n d^2) time.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self._n: Tensor | None = None
        self._mean: Tensor | None = None
        self._strips: list[Tensor] = []

    def update(self, vectors: Float[Tensor, "*n d"], mask: Bool[Tensor, "*n"] | None = None) -> None:
        """Adds vectors of any floating dtype; `mask` is False where one must not count."""
        flat = vectors.detach().reshape(-1, vectors.shape[-1])
        counted = None if mask is None else mask.reshape(-1)
        rows = rows_at_once(flat.device)
        for start in range(0, len(flat), rows):
            part = slice(start, start + rows)
            self._add(flat[part], None if counted is None else counted[part])

    def merge(self, other: "Covariance") -> None:
        """Adds what another has seen."""
        if other._n is None or other._mean is None:
            return
        n, mean = self._totals(other._mean)
        other_n, other_mean = other._n.to(n.device), other._mean.to(n.device)
        shift = self._move_mean(n, mean, other_n, other_mean)
        for mine, theirs in zip(self._strips, other._strips, strict=True):
            mine += theirs.to(n.device)
        add_product(self._strips, shift[None])

    def result(self) -> CovarianceResult:
        """Mean and covariance of everything seen, on the device where they were gathered; see `varies`.

        Raises:
            ValueError: fewer than two vectors were seen, or one of them holds a NaN or an infinity.
        """
        seen = 0 if self._n is None else int(self._n)
        if self._n is None or self._mean is None or seen < 2:
            raise ValueError(f"a covariance needs two vectors: found {seen}")
        if not bool(torch.isfinite(self._mean).all()):
            raise ValueError("the vectors hold NaN or infinite values: they have no covariance")
        matrix = square_of(self._strips).div_(self._n)
        constant = ~varies(self._mean, matrix.diagonal())
        matrix[constant] = 0.0
        matrix[:, constant] = 0.0
        return CovarianceResult(self._mean.clone(), matrix, seen)

    def _add(self, rows: Float[Tensor, "n d"], counted: Bool[Tensor, " n"] | None) -> None:
        rows = rows.double()
        if counted is not None:
            rows = rows.masked_fill(~counted[:, None], 0.0)
        n, mean = self._totals(rows[0])
        added = torch.full_like(n, len(rows)) if counted is None else counted.sum().double()
        block_mean = rows.sum(0) / added.clamp_min(1)
        centred = block_of(len(rows) + 1, rows.shape[1], rows.device)
        torch.sub(rows, block_mean, out=centred[:-1])
        if counted is not None:
            centred[:-1].masked_fill_(~counted[:, None], 0.0)
        # The last row makes up for the block's own mean, and rides along in the same product.
        centred[-1] = self._move_mean(n, mean, added, block_mean)
        add_product(self._strips, centred)

    @staticmethod
    def _move_mean(n: Tensor, mean: Tensor, added: Tensor, added_mean: Tensor) -> Tensor:
        """Takes vectors into n and the mean; returns the vector whose outer product their scatter gains by that."""
        difference = added_mean - mean
        together = (n + added).clamp_min(1)
        shift = difference * (n * added / together).sqrt()
        mean += difference * (added / together)
        n += added
        return shift

    def _totals(self, like: Float[Tensor, " d"]) -> tuple[Tensor, Tensor]:
        if self._n is None or self._mean is None:
            self._n = torch.zeros((), dtype=torch.float64, device=like.device)
            self._mean = torch.zeros_like(like)
            self._strips = new_strips(len(like), like.device)
        return self._n, self._mean


def varies(mean: Float[Tensor, "*r d"], variance: Float[Tensor, "*r d"]) -> Bool[Tensor, "*r d"]:
    """Whether a dimension varies at all: its standard deviation is more than the rounding of its mean.

    Models work in single precision at best, so what truly varies does so by more than 1e-12 of its mean (one token in
    10^8 by a last bit).
    """
    return variance > 1e-24 * (mean.square() + variance)


def differ_by_rounding(mean: Float[Tensor, " d"], variance: Float[Tensor, " d"], dtype: torch.dtype) -> bool:
    r"""Whether vectors are one vector, computed more than once: what stands out of their mean is then rounding.

    True where no dimension has a standard deviation above $r \epsilon \sqrt{q_j + \mathrm{median}_k\,q_k}$: q is the
    mean square of each dimension, $\epsilon$ the distance from 1 to the next number, r = 64 roundings, 4 in half
    precision. That is 8e-6 of a dimension's size in float32, 0.004 in float16, 0.03 in bfloat16, where states with a
    mean cosine above 0.999 cannot be told from one. The median stands for what cancelled in a dimension near 0; no
    single large dimension hides the others.

    Args:
        mean: of each dimension.
        variance: of each dimension, divided by n.
        dtype: in which the vectors were computed.
    """
    epsilon = torch.finfo(dtype).eps
    roundings = _ROUNDINGS_OF_HALF if epsilon > torch.finfo(torch.float32).eps else _ROUNDINGS
    squares = mean.square() + variance
    return bool((variance <= (roundings * epsilon) ** 2 * (squares + squares.median())).all())


def identical(vectors: Float[Tensor, "n d"]) -> bool:
    """Whether vectors are one vector but for the rounding of their own dtype: see `differ_by_rounding`."""
    rows = vectors.double()
    mean = rows.mean(0)
    return differ_by_rounding(mean, (rows - mean).square().mean(0), vectors.dtype)  # a third of `var`'s time
