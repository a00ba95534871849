"""How far from orthogonal a set of vectors is."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._spectrum import effective_rank


class Coherence(NamedTuple):
    """Of the unit vectors of a set."""

    max_cos: float
    mean_cos: float
    effective_rank: float


def coherence(vectors: Float[Tensor, "m d"]) -> Coherence:
    r"""Largest and mean $|\cos|$ over pairs of different vectors, and the effective rank of their unit vectors.

    With $u_i = v_i / \|v_i\|$ and the Gram matrix $G = U U^\top$: $\mu = \max_{i \ne j} |G_{ij}|$, the mean of the
    same, and $\exp H(\sigma / \sum \sigma)$ with $\sigma$ the singular values of U, the roots of G's eigenvalues.

    Range: $\mu$ and the mean in [0, 1], with $\mu \ge \sqrt{(m - d) / (d (m - 1))}$ for m > d (Welch 1974); the rank in
    [1, min(m, d)]. Invariant to a scale of each vector, its sign, rotation and order; not to a shift. Computed in
    float64, O(m^2 d + m^3) time, O(m^2) memory.

    In the counting model of arXiv 2407.15160 the attention's sharpness that is needed grows as $1 / (1 - \mu)$. It does
    not show what layers above make of the vectors, and a low $\mu$ does not say that a model counts.

    Args:
        vectors: (m, d), any floating dtype.

    Raises:
        ValueError: fewer than two vectors, or one that is zero or not finite, which has no direction.
    """
    if len(vectors) < 2:
        raise ValueError(f"coherence is about pairs: two vectors are needed, got {len(vectors)}")
    rows = vectors.detach().double()
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if not bool(((norms > 0) & norms.isfinite()).all()):
        raise ValueError("a vector is zero or not finite, so it has no direction")
    unit = rows / norms
    gram = unit @ unit.T
    size = len(gram)
    off_diagonal = gram.abs().fill_diagonal_(0.0)
    sigma = torch.linalg.eigvalsh(gram).clamp_min(0.0).sqrt()
    # Beyond the rank, rounding leaves roots of 1e-8 where there is nothing.
    sigma = torch.where(sigma < 1e-7 * sigma.max(), 0.0, sigma)
    return Coherence(
        max_cos=float(off_diagonal.max()),
        mean_cos=float(off_diagonal.sum() / (size * (size - 1))),
        effective_rank=effective_rank(sigma.cpu()),
    )
