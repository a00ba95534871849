"""How alike the vectors of one window are, and those of one token type: pure functions."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_probe.probes._cosine import mean_cosine


def intra_sentence_similarity(
    windows: Float[Tensor, "w t d"], mask: Bool[Tensor, "w t"] | None = None, *, adjusted: bool = False
) -> float:
    r"""Mean cosine of a window's vectors with the window's mean vector, averaged over windows.

    $\frac1w \sum_s \frac1{n_s} \sum_i \cos(x_{si}, \bar x_s)$. Windows stand for the source's sentences. Range
    [-1, 1] (never much below 0); adjusted, it is less the mean cosine over all pairs, the source's baseline of random
    words taken exactly. Invariant to rotation and to one scale; not to shift; O(n d). It depends on the length of the
    windows, since a mean of few vectors is close to each of them: compare equal lengths only.
    Source: Ethayarajh 2019 (arXiv 1909.00512), section 3.3.

    Raises:
        ValueError: no window holds a vector that is not zero.
    """
    counted = torch.ones(windows.shape[:2], dtype=torch.bool) if mask is None else mask
    similarities = []
    for window, keep in zip(windows.double(), counted, strict=True):
        rows = window[keep]
        norms = torch.linalg.vector_norm(rows, dim=1)
        if bool((norms != 0).any()):
            mean = rows.mean(0)
            length = torch.linalg.vector_norm(mean)
            cosines = (rows[norms != 0] @ mean) / (norms[norms != 0] * length)
            similarities.append(float(cosines.mean()) if length > 0 else 0.0)
    if not similarities:
        raise ValueError("no window holds a vector that is not zero")
    value = sum(similarities) / len(similarities)
    return value - mean_cosine(windows[counted]) if adjusted else value


def self_similarity(vectors: Float[Tensor, "n d"], types: Int[Tensor, " n"], *, adjusted: bool = False) -> float:
    """Mean cosine over all pairs of occurrences of a token type, averaged over the types that occur twice or more.

    Range [-1, 1]: 1 where context changes nothing (an embedding without positions), lower the more contextual the
    layer; adjusted, it is less the mean cosine over all pairs. Invariant to a positive scale of each vector and to
    rotation, not to shift; O(n d). Token types are not words, and frequent types are mostly function words: a model may
    treat rare ones otherwise. Source: Ethayarajh 2019 (arXiv 1909.00512), section 3.3.

    Raises:
        ValueError: no type occurs twice.
    """
    each = [mean_cosine(vectors[types == kind]) for kind in types.unique() if int((types == kind).sum()) >= 2]
    if not each:
        raise ValueError("no token type occurs twice")
    value = sum(each) / len(each)
    return value - mean_cosine(vectors) if adjusted else value
