"""The readings that every spectrum gives: the head's, the embedding's, and each projection's."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._distance import movement
from lm_probe.probes._power_law import power_law_tail
from lm_probe.probes._protocol import Reading, VectorReading
from lm_probe.probes._random_matrix import marchenko_pastur
from lm_probe.probes._spectrum import (
    effective_rank,
    resolution,
    singular_entropy,
    stable_rank,
    top_ratio,
    top_share,
    w_error,
)

W_ERROR_RANKS = (8, 32, 64, 128, 256, 512, 1024)


def spectrum_readings(
    sigma: Float[np.ndarray, " k"], shape: tuple[int, int], component: str, layer: int | None = None
) -> Iterator[Reading | VectorReading]:
    """Everything that a spectrum says; see `docs/weights.md`.

    A number that a spectrum does not have is left out: all ratios of a zero matrix, sigma_1/sigma_2 of rank one, a
    tail of equal values, a bulk where half of the values are zero.
    """
    rows, columns = shape
    site = None if layer is None else "block"
    yield VectorReading("singular_values", sigma, layer, site, component)
    if layer is None and sigma[0] > 0:  # of a projection it can be had from the singular values
        yield VectorReading("w_error", w_error(sigma), component=component)
    for metric, value in _numbers(sigma, rows, columns):
        yield Reading(metric, float(value), layer, site, component, n=rows)


def _numbers(sigma: Float[np.ndarray, " k"], rows: int, columns: int) -> Iterator[tuple[str, float]]:
    yield "frobenius_norm", float(np.linalg.norm(sigma))
    yield "largest_singular_value", sigma[0]
    yield "smallest_singular_value", sigma[-1]
    if sigma[0] == 0:
        return
    floor = resolution(sigma, rows)
    resolved = sigma[sigma > floor]
    yield "singular_value_floor", floor
    yield "numerical_rank", resolved.size
    yield "singular_entropy", singular_entropy(sigma, power=2)
    yield "singular_entropy_power1", singular_entropy(sigma, power=1)
    yield "effective_rank", effective_rank(sigma)
    yield "stable_rank", stable_rank(sigma)
    yield "top_share", top_share(sigma)
    if resolved.size > 1:
        yield "top_ratio", top_ratio(sigma)
        yield "singular_entropy_without_top", singular_entropy(sigma[1:], power=2)
    errors = w_error(sigma)
    for rank in W_ERROR_RANKS:
        if rank < sigma.size:
            yield f"w_error_rank_{rank}", errors[rank]
    if 2 * resolved.size > sigma.size:
        bulk = marchenko_pastur(sigma, rows, columns)
        yield "marchenko_pastur_edge", bulk.edge
        yield "marchenko_pastur_outliers", bulk.outliers
        yield "marchenko_pastur_outlier_share", bulk.outlier_share
    if resolved.size > 1 and resolved[0] - resolved[-1] > floor:
        tail = power_law_tail(np.square(resolved))
        yield "power_law_exponent", tail.exponent
        yield "power_law_distance", tail.distance
        yield "power_law_tail", tail.n


def movement_readings(
    weight: Float[Tensor, "m n"], first: Float[Tensor, "k l"], component: str, layer: int | None = None
) -> Iterator[Reading]:
    """Distance from the same matrix at the series' first checkpoint, and cosine with it."""
    site = None if layer is None else "block"
    moved = movement(weight, first)
    for metric, value in (("distance_from_first", moved.distance), ("cosine_with_first", moved.cosine)):
        if value is not None:
            yield Reading(metric, value, layer, site, component, n=weight.shape[0])
