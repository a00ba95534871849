"""Which directions a matrix stretches most, and what they line up with."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import spearmanr
from torch import Tensor

from lm_probe.probes._eigen import leading
from lm_probe.probes._gram import Gram
from lm_probe.probes._spectrum import Directions
from lm_probe.probes._symmetric import rows_at_once


def top_directions(gram: Gram, k: int) -> Directions:
    """The k leading right singular vectors, as columns, from the Gram matrix; k at most d. O(d^3) time.

    Raises:
        ValueError: the matrix holds NaN or infinite values, or their squares overflow.
    """
    if not gram.is_finite():
        raise ValueError("a matrix that holds NaN or infinite values has no directions")
    return leading(gram.lower(), k)[1]


def alignment(directions: Directions, vector: Float[np.ndarray, " d"]) -> Float[np.ndarray, " k"]:
    r"""$|\cos|$ of each direction with a vector: [0, 1], sqrt(2 / (pi d)) on average for a random one.

    Absolute because a singular vector has no sign. Invariant to the vector's scale. O(d k) time. A large value does not
    say that the direction carries much of the matrix. Source: the hypothesis of Godey et al. 2024 (arXiv 2404.07647),
    section 6.

    Raises:
        ValueError: the vector is zero.
    """
    length = np.linalg.norm(vector)
    if length == 0:
        raise ValueError("a zero vector has no direction")
    return np.asarray(np.abs(directions.T @ vector) / length)


def subspace_overlap(first: Directions, second: Float[np.ndarray, "e l"]) -> float:
    r"""Share of one subspace that lies in another: $\|V_1^\top V_2\|_F^2 / k$ for two orthonormal bases of k columns.

    The mean squared cosine of the principal angles: [0, 1], k/d on average for random subspaces of d dimensions.
    Invariant to the choice of the bases. It does not say whether the same direction leads in both.
    O(d k^2) time. Source: Bjorck and Golub 1973 (Mathematics of Computation 27).

    Raises:
        ValueError: the bases differ in shape.
    """
    if first.shape != second.shape:
        raise ValueError(f"bases of shapes {first.shape} and {second.shape} cannot be compared")
    return float(np.square(first.T @ second).sum() / first.shape[1])


def log_frequency_alignment(
    scores: Float[np.ndarray, "V k"], counts: Int[np.ndarray, " V"]
) -> tuple[Float[np.ndarray, " k"], float]:
    r"""How far the coordinates of tokens along k directions follow the logarithm of their frequency.

    Over the tokens that occur (a logarithm of zero has no value): $|r|$ with $\ln$ count for each direction (Pearson),
    and $R^2$ of the least-squares fit of $\ln$ count on all k with an intercept. Both in [0, 1], invariant to the scale
    of each direction and to a shift; k/n on average for unrelated directions over n tokens. O(V k^2) time.

    Correlation over token types: rare tokens, whose counts are the least certain, weigh as much as frequent ones.
    Source: the hypothesis of Godey et al. 2024 (arXiv 2404.07647), section 6; Puccetti et al. 2022 (arXiv 2205.11380).

    Args:
        scores: $W v_i$, or the left singular vectors, which are the same up to scale.
        counts: of each token in a sample.

    Raises:
        ValueError: fewer than k + 2 different tokens occur, or all that do are equally frequent.
    """
    seen = counts > 0
    if int(seen.sum()) < scores.shape[1] + 2:
        raise ValueError(f"{int(seen.sum())} different tokens are too few to relate {scores.shape[1]} directions to")
    target = np.log(counts[seen])
    target = target - target.mean()
    if not target.any():
        raise ValueError("all tokens are equally frequent")
    known = scores[seen] - scores[seen].mean(0)
    lengths = np.linalg.norm(known, axis=0)
    known = np.divide(known, lengths, out=np.zeros_like(known), where=lengths > 0)
    correlations = np.abs(known.T @ target) / np.linalg.norm(target)
    residual = target - known @ np.linalg.lstsq(known, target, rcond=None)[0]
    return correlations.clip(max=1.0), float(max(0.0, 1 - residual @ residual / (target @ target)))


def norm_frequency_correlation(norms: Float[np.ndarray, " V"], counts: Int[np.ndarray, " V"]) -> float:
    """Spearman correlation of the tokens' row lengths with their frequency, over the tokens that occur: [-1, 1].

    Invariant to any rising function of either. It does not show which tokens make it, nor directions: `project` and the
    alignments do. Source: as `log_frequency_alignment`. O(V log V) time.

    Raises:
        ValueError: fewer than three different tokens occur, or all lengths or all counts are the same.
    """
    seen = counts > 0
    if int(seen.sum()) < 3 or np.ptp(norms[seen]) == 0 or np.ptp(counts[seen]) == 0:
        raise ValueError("fewer than three tokens, or all are equal")
    return float(spearmanr(norms[seen], counts[seen]).statistic)


def project(
    weight: Float[Tensor, "V d"], rows: Int[np.ndarray, " n"], directions: Directions
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " n"]]:
    """The coordinates of some rows along directions, and the lengths of these rows, in float64 by row blocks."""
    basis = torch.from_numpy(np.ascontiguousarray(directions)).to(weight.device)
    coordinates, lengths = [], []
    for wanted in torch.from_numpy(rows).to(weight.device).split(rows_at_once(weight.device)):
        block = weight.detach()[wanted].double()
        coordinates.append((block @ basis).cpu().numpy())
        lengths.append(torch.linalg.vector_norm(block, dim=1).cpu().numpy())
    return np.concatenate(coordinates), np.concatenate(lengths)
