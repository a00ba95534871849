"""The `condensation` probe: do the neurons of a projection group onto few directions?"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.probes._neurons import THRESHOLD, Likeness, likeness
from lm_probe.probes._protocol import Need, Reading, VectorReading, WeightContext, WeightsByRole
from lm_probe.probes._random_matrix import abs_cosine_of_gaussians, gaussian_singular_values, share_above_of_gaussians
from lm_probe.probes._spectrum import effective_rank, singular_values, stable_rank

# All pairs of n neurons cost n^2 d: beyond this many, evenly spaced ones stand for all.
MAX_NEURONS = 4096
# Side of the stored heat map: 1128 cosines and 48 row numbers, 9.4 kB a projection.
HEAT_MAP = 48
DRAWS, SEED = 32, 1234
PER_HEAD = ("query", "key", "value")
_PER_HEAD_LIKENESS = ("mean_cosine", "mean_abs_cosine", "share_above", "groups", "abs_groups")


class CondensationProbe:
    """Cosines between the neurons (rows, out x in) of every projection, and its rank, against chance.

    For each projection, and for the input embedding as `layer` 0, the measures of `likeness`, stable and effective
    rank; each beside what a Gaussian matrix of the same shape gives (they do not depend on its standard deviation):
    `_over_gaussian` is the ratio to the mean, `_z` the distance from it in standard deviations. Both are in closed form
    for cosines; for ranks they come from 32 seeded draws of Gaussian singular values. With the series' first checkpoint
    at hand, `_over_first` is the ratio to the same measure there, which is the better control.

    Query, key and value are also measured head by head, because the rows of different heads are not one population
    of neurons: component `query_per_head` is the mean over heads, with a vector of all heads.

    Beyond 4096 rows, 4096 evenly spaced ones are compared (`n` says how many); ranks are of the whole matrix. A heat
    map of 48 evenly spaced neurons in sorted order is stored: `heat_map_neurons`, and `heat_map_cosines`, the part
    above the diagonal row by row. O(n^2 d) time.
    """

    name = "condensation"
    version = 1
    needs: frozenset[Need] = frozenset({"embedding", "projections", "first"})

    def read(self, weights: WeightsByRole, context: WeightContext) -> Iterator[Reading | VectorReading]:
        """Measures the embedding and every projection."""
        first = context.first
        tokens = slice(context.token_rows)
        yield from _one(
            weights.embedding()[tokens], None if first is None else first.embedding()[tokens], "embedding", 0, None
        )
        for block in range(weights.layers):
            for role in weights.roles:
                head_size = weights.head_size if role in PER_HEAD else None
                earlier = None if first is None else first.projection(role, block)
                yield from _one(weights.projection(role, block), earlier, role, block + 1, head_size)


def _one(
    weight: Float[Tensor, "out in"],
    first: Float[Tensor, "k l"] | None,
    component: str,
    layer: int,
    head_size: int | None,
) -> Iterator[Reading | VectorReading]:
    site = "block" if layer else "embedding"
    try:
        if not _has_directions(weight):
            return  # a zero matrix, as some start out: no readings
        found = _measured(weight)
        before = None if first is None or not _has_directions(first) else _measured(first)
        for metric, value, n in _numbers(found, before, weight.shape):
            yield Reading(metric, value, layer, site, component, n=n)
        yield from _heat_map(weight, found[0].order, layer, site, component)
        if head_size is not None:
            yield from _per_head(weight, head_size, layer, site, f"{component}_per_head")
    except ValueError as error:
        raise ValueError(f"{component} of layer {layer}: {error}") from error


def _has_directions(weight: Float[Tensor, "out in"]) -> bool:
    """Whether two of the rows that are compared are not zero."""
    return int((_chosen(weight) != 0).any(1).sum()) > 1


_Measured = tuple[Likeness, float, float]


def _measured(weight: Float[Tensor, "out in"]) -> _Measured:
    sigma = singular_values(weight)  # first, because it refuses what is not finite
    return likeness(_chosen(weight)), stable_rank(sigma), effective_rank(sigma)


def _chosen(weight: Float[Tensor, "out in"]) -> Float[Tensor, "some in"]:
    if len(weight) <= MAX_NEURONS:
        return weight
    return weight[torch.from_numpy(_spaced(len(weight), MAX_NEURONS)).to(weight.device)]


def _spaced(n: int, most: int) -> Int[np.ndarray, " k"]:
    """At most so many positions of n, evenly spaced, with the first and the last."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)


def _numbers(found: _Measured, before: _Measured | None, shape: torch.Size) -> Iterator[tuple[str, float, int]]:
    alike, stable, effective = found
    rows, columns = shape
    for metric, value in (
        ("mean_cosine", alike.mean_cosine),
        ("share_above", alike.share_above),
        ("share_above_gaussian", share_above_of_gaussians(columns, THRESHOLD)),
        ("groups", alike.groups),
        ("abs_groups", alike.abs_groups),
        ("largest_group", alike.largest_group),
    ):
        yield metric, float(value), alike.n
    mean, deviation = abs_cosine_of_gaussians(columns)
    # Cosines of different pairs are uncorrelated, so that the variance of their mean is exact.
    cosines = (mean, deviation / np.sqrt(alike.n * (alike.n - 1) / 2))
    ranks = _gaussian_ranks(max(rows, columns), min(rows, columns))
    earlier = (None, None, None) if before is None else (before[0].mean_abs_cosine, before[1], before[2])
    for metric, value, chance, start, n in (
        ("mean_abs_cosine", alike.mean_abs_cosine, cosines, earlier[0], alike.n),
        ("stable_rank", stable, ranks[0], earlier[1], rows),
        ("effective_rank", effective, ranks[1], earlier[2], rows),
    ):
        yield metric, value, n
        yield f"{metric}_over_gaussian", value / chance[0], n
        if chance[1] > 0:
            yield f"{metric}_z", float((value - chance[0]) / chance[1]), n
        if start:
            yield f"{metric}_over_first", value / start, n


@lru_cache(maxsize=64)
def _gaussian_ranks(rows: int, columns: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and standard deviation of stable and effective rank of Gaussian matrices; rows >= columns."""
    generator = np.random.default_rng(SEED)
    drawn = [gaussian_singular_values(rows, columns, generator) for _ in range(DRAWS)]
    stable, effective = ([measure(sigma) for sigma in drawn] for measure in (stable_rank, effective_rank))
    if columns == 1:
        return (1.0, 0.0), (1.0, 0.0)
    return (
        (float(np.mean(stable)), float(np.std(stable, ddof=1))),
        (float(np.mean(effective)), float(np.std(effective, ddof=1))),
    )


def _heat_map(
    weight: Float[Tensor, "out in"], order: Int[np.ndarray, " n"], layer: int, site: str, component: str
) -> Iterator[VectorReading]:
    drawn = order[_spaced(len(order), HEAT_MAP)]
    neurons = _spaced(len(weight), MAX_NEURONS)[drawn]
    rows = weight[torch.from_numpy(neurons).to(weight.device)].detach().double()
    unit = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    cosines = (unit @ unit.T).cpu().numpy()[np.triu_indices(len(unit), k=1)]
    yield VectorReading("heat_map_neurons", neurons.astype(np.float64), layer, site, component)
    yield VectorReading("heat_map_cosines", cosines, layer, site, component)


def _per_head(
    weight: Float[Tensor, "out in"], head_size: int, layer: int, site: str, component: str
) -> Iterator[Reading | VectorReading]:
    if len(weight) == head_size:
        return
    heads = [_measured(head) for head in weight.split(head_size) if _has_directions(head)]
    if not heads:
        return
    stable, effective = _gaussian_ranks(max(head_size, weight.shape[1]), min(head_size, weight.shape[1]))
    chance = {
        "mean_abs_cosine": abs_cosine_of_gaussians(weight.shape[1])[0],
        "stable_rank": stable[0],
        "effective_rank": effective[0],
    }
    by_head = {name: [getattr(alike, name) for alike, _, _ in heads] for name in _PER_HEAD_LIKENESS}
    by_head |= {"stable_rank": [rank for _, rank, _ in heads], "effective_rank": [rank for _, _, rank in heads]}
    for metric, found in by_head.items():
        values = np.array(found, dtype=np.float64)
        yield VectorReading(metric, values, layer, site, component)
        yield Reading(metric, float(values.mean()), layer, site, component, n=len(heads))
        if metric in chance:
            yield Reading(
                f"{metric}_over_gaussian", float(values.mean() / chance[metric]), layer, site, component, n=len(heads)
            )
