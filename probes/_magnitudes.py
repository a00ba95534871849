"""How long hidden states are, how far the longest stands out, and how much of them is their mean."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._half_samples import estimates_of_sums
from lm_probe.probes._jackknife import Estimate
from lm_probe.probes._labels import TokenLabels
from lm_probe.probes._windows import Windows

# A variance that is a difference of squares knows no more digits than these.
_CANCELLED = 1e-13


def mean_vector_share(vectors: Float[Tensor, "n d"]) -> float:
    r"""Squared length of the mean vector over the mean squared length, $\|\bar x\|^2 / \overline{\|x\|^2}$.

    Range [0, 1]: 0 without a common direction, 1 when all vectors are one. Where all norms are equal it is the mean
    cosine up to 1/n; where they are not, long vectors count more. Invariant to rotation and to one scale for all; O(n
    d). It does not tell a shift from a few vectors that are very long. Source: Mimno and Thompson 2017 (EMNLP); Cai et
    al. 2021 (ICLR).

    Raises:
        ValueError: all vectors are zero.
    """
    rows = vectors.double()
    mean_square = float(rows.square().sum(1).mean())
    if mean_square == 0:
        raise ValueError("all vectors are zero: they have no mean direction")
    return float(rows.mean(0).square().sum()) / mean_square


def max_over_median(magnitudes: Float[Tensor, " n"], largest: float | None = None) -> float:
    """The largest magnitude over the median one: of norms, or of absolute values of single activations.

    From 1 up; above 1000 for single activations is what the source calls massive. Invariant to one scale for all.
    A maximum grows with the number of tokens: compare equal samples only. It does not say which token or dimension.
    O(n) time.
    Source: Sun et al. 2024 (arXiv 2402.17762).

    Args:
        magnitudes: not negative; of an even number the lower of the two in the middle is the median.
        largest: the largest of all, where the magnitudes are a sample of them.

    Raises:
        ValueError: the median is 0, or there are no magnitudes.
    """
    if not len(magnitudes):
        raise ValueError("no magnitudes: nothing to take a median of")
    # bfloat16 has no numpy form; numpy finds a median in a seventh of torch's time.
    exact = magnitudes if magnitudes.dtype in (torch.float32, torch.float64) else magnitudes.float()
    highest = float(exact.max())
    if math.isnan(highest):
        return math.nan
    middle = (len(exact) - 1) // 2
    median = float(np.partition(exact.detach().cpu().numpy(), middle)[middle])
    if median == 0:
        raise ValueError("the median magnitude is 0: nothing to compare the largest with")
    return (highest if largest is None else largest) / median


class Magnitudes:
    """Streaming norms: sums for each group of documents, the largest norm and activation; O(groups x d) memory."""

    def __init__(self, width: int, groups: int, device: torch.device) -> None:
        """Starts empty."""
        self._sums = torch.zeros(groups, 5, dtype=torch.float64, device=device)
        self._vectors = torch.zeros(groups, width, dtype=torch.float64, device=device)
        self._squares = torch.zeros_like(self._vectors)
        self._largest = torch.zeros(2, dtype=torch.float64, device=device)

    def update(self, windows: Windows, labels: TokenLabels) -> None:
        """Adds windows."""
        vectors, squares, norms, totals = windows
        first = (labels.stratum == 0) & labels.counted
        by_window = squares.sum(1)
        sums = [labels.counted.sum(1), norms.sum(1), by_window.sum(1), first.sum(1), (norms * first).sum(1)]
        self._sums.index_add_(0, labels.group, torch.stack([part.double() for part in sums], 1))
        self._vectors.index_add_(0, labels.group, totals)
        self._squares.index_add_(0, labels.group, by_window)
        lowest, highest = torch.aminmax(vectors)
        largest = torch.stack([norms.max(), torch.maximum(highest, -lowest)])
        self._largest = torch.maximum(self._largest, largest)

    def merge(self, other: "Magnitudes") -> None:
        """Adds what another has seen."""
        self._sums += other._sums.to(self._sums.device)
        self._vectors += other._vectors.to(self._vectors.device)
        self._squares += other._squares.to(self._squares.device)
        self._largest = torch.maximum(self._largest, other._largest.to(self._largest.device))

    def largest(self) -> tuple[float, float]:
        """The largest norm and the largest single activation."""
        norm, activation = self._largest.tolist()
        return norm, activation

    def group_sizes(self) -> Float[Tensor, "g 2"]:
        """Vectors in each group of documents: past the first position of their windows, and there."""
        counted, first = self._sums[:, 0].cpu(), self._sums[:, 3].cpu()
        return torch.stack([counted - first, first], 1)

    def squares_about(self, mean: Float[Tensor, " d"]) -> Float[Tensor, "g d"]:
        """Sums over each group of the squares of each dimension, less its mean."""
        counts, sums = self._sums[:, :1].cpu(), self._vectors.cpu()
        return (self._squares.cpu() - 2 * mean * sums + counts * mean.square()).clamp_min(0.0)

    def moments(self, members: Float[Tensor, "r g"]) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r d"]]:
        """Mean and variance of each dimension over some of the groups; variances that are rounding are 0."""
        counts, sums, squares = (members @ total.cpu() for total in (self._sums[:, :1], self._vectors, self._squares))
        mean = sums / counts
        square = squares / counts
        variance = square - mean.square()
        return mean, torch.where(variance > _CANCELLED * square, variance, 0.0)

    def result(self) -> dict[str, Estimate]:
        """`norm_mean`, `norm_first` (at the first position of each window) and `mean_vector_share`."""
        sums, vectors = self._sums.cpu(), self._vectors.cpu()
        n = int(sums[:, 0].sum())
        estimates = estimates_of_sums(_values, [sums[:, :1], sums[:, 1:], vectors], sums[:, 0])
        names = ("norm_mean", "norm_first", "mean_vector_share")
        sizes = (n, int(sums[:, 3].sum()), n)
        return {
            name: estimate._replace(n=size)
            for name, estimate, size in zip(names, estimates, sizes, strict=True)
            if size and not (name == "mean_vector_share" and float(sums[:, 2].sum()) == 0)
        }


def _values(
    count: Float[Tensor, "r 1"], sums: Float[Tensor, "r 4"], vector: Float[Tensor, "r d"]
) -> Float[Tensor, "r 3"]:
    norm, square, first, first_norm = sums.unbind(1)
    count = count[:, 0]
    return torch.stack([norm / count, first_norm / first, vector.square().sum(1) / count / square], 1)
