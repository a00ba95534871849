"""How many dimensions hidden states fill: the decay of their spectrum, and distances to neighbours."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.probes._covariance import identical
from lm_probe.probes._spectrum import Spectrum

_FEWEST_RANKS = 4
# What is smaller beside the largest eigenvalue is rounding.
_NOISE = 1e-12


def spectral_exponent(eigenvalues: Tensor | Spectrum) -> float:
    r"""Exponent $\alpha$ of a power law $\lambda_i \propto i^{-\alpha}$ fitted to the middle of a spectrum.

    Least squares of log eigenvalue on log rank with weight 1/rank, so that every octave of ranks counts alike; over
    ranks 11 to d/2, from d/8 where d is below 80, and only where eigenvalues stand above rounding. From 0 (flat) up.
    Invariant to scale and rotation. A number for any spectrum, also for one that is no power law; with n near d the
    tail falls too fast. O(d) time. Source: Agrawal et al. 2022 (alpha-ReQ, NeurIPS); weights as in Stringer et al.
    2019 (Nature).

    Raises:
        ValueError: fewer than four eigenvalues in the middle stand above rounding.
    """
    values = np.asarray(eigenvalues, dtype=np.float64)
    part, weights = regression_of_logs(values)
    return -float(weights @ np.log(values[part]))


def regression_of_logs(eigenvalues: Spectrum) -> tuple[slice, Float[np.ndarray, " k"]]:
    """The middle ranks, and what each log eigenvalue there adds to the slope.

    Raises:
        ValueError: see `spectral_exponent`.
    """
    d = len(eigenvalues)
    usable = int((eigenvalues > _NOISE * eigenvalues.max()).sum())
    part = slice(min(10, d // 8), min(d // 2, usable))
    ranks = np.arange(part.start + 1, part.stop + 1, dtype=np.float64)
    if len(ranks) < _FEWEST_RANKS:
        raise ValueError(f"a decay needs {_FEWEST_RANKS} eigenvalues in the middle of the spectrum: found {len(ranks)}")
    weights, logs = 1 / ranks, np.log(ranks)
    centred = logs - weights @ logs / weights.sum()
    return part, weights * centred / (weights @ np.square(centred))


def two_nn_dimension(vectors: Float[Tensor, "m d"]) -> float:
    r"""Intrinsic dimension from the two nearest neighbours: $m / \sum_i \ln(r_{i2} / r_{i1})$.

    From 0 up. Invariant to rotation, shift and scale; O(m^2 d). Vectors that are equal to another are taken once (the
    same token twice at an embedding layer). It is the dimension at the scale of the neighbours' distance, which shrinks
    with m: a curved or noisy surface has another one at each m, and dimensions above about 20 come out too small at a
    thousand points. Source: Facco et al. 2017 (Scientific Reports 7); Valeriani et al. 2023 (arXiv 2302.00294).

    Raises:
        ValueError: fewer than three different vectors, all are one but for rounding, or all have their two nearest
            neighbours at one distance.
    """
    logs, _ = neighbour_ratios(vectors)
    return len(logs) / float(logs.sum())


def neighbour_ratios(
    vectors: Float[Tensor, "m d"],
    same: Int[Tensor, " m"] | None = None,
    products: Float[Tensor, "m m"] | None = None,
) -> tuple[Float[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """ln(r2/r1) for each different vector, and the place of each in `vectors`.

    Args:
        vectors: (m, d), any floating dtype.
        same: vectors with the same number are one that was computed more than once, and taken once: they differ by
            rounding, which would pass for the distance to the nearest neighbour.
        products: inner products of the vectors less their mean, where they are known, in float64.

    Raises:
        ValueError: see `two_nn_dimension`.
    """
    places = np.arange(len(vectors)) if same is None else np.unique(same.numpy(), return_index=True)[1]
    # bfloat16 has no numpy form; float32 holds it and float16 exactly.
    rows = vectors if vectors.dtype in (torch.float32, torch.float64) else vectors.float()
    array = rows.detach().cpu().numpy()[places] + 0.0  # -0.0 becomes 0.0: bytes are compared
    _, first = np.unique(array.view(np.dtype((np.void, array.dtype.itemsize * array.shape[1]))), return_index=True)
    first = np.sort(first)
    array, places = array[first], places[first]
    if len(places) < 3:
        raise ValueError(f"two nearest neighbours need three different vectors: found {len(places)}")
    if identical(vectors[places]):
        raise ValueError("all vectors are one but for rounding: distances between them are noise")
    if products is None:
        points = torch.from_numpy(array).double()
        points = points - points.mean(0)
        between = points @ points.T
    else:
        kept = torch.from_numpy(places)
        between = products[kept[:, None], kept]
    squares = between.diagonal()
    distances = torch.add(squares[:, None] + squares, between, alpha=-2.0).clamp_min_(0.0)
    distances.fill_diagonal_(torch.inf)
    nearest = distances.topk(2, dim=1, largest=False).values.numpy()
    # Different vectors whose distance is lost to rounding would divide by zero.
    apart = nearest[:, 0] > 0
    logs = np.log(nearest[apart, 1] / nearest[apart, 0]) / 2
    if not logs.sum() > 0:
        raise ValueError("all vectors have their two nearest neighbours at one distance: no dimension follows")
    return logs, places[apart]
