"""Measures that need a second look at the vectors, taken on a bounded sample of them."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_probe.probes._cka import cka_error, linear_cka
from lm_probe.probes._cosine import subset_cosines
from lm_probe.probes._dimension import neighbour_ratios
from lm_probe.probes._directions import TOP_DIMENSIONS
from lm_probe.probes._half_samples import HalfSamples
from lm_probe.probes._isotropy import own_projections
from lm_probe.probes._jackknife import Estimate, jackknife, spread_of_left_out
from lm_probe.probes._magnitudes import max_over_median
from lm_probe.probes._reservoir import SampledVectors
from lm_probe.probes._rogue import inverse_spread


def sample_values(
    sample: SampledVectors,
    halves: HalfSamples,
    means: Float[Tensor, "r d"],
    variances: Float[Tensor, "r d"],
    contributions: Float[Tensor, "r d"],
    largest: tuple[float, float],
) -> dict[str, Estimate]:
    """Values by name, with errors over the sample's own documents: they include that it is a sample.

    What belongs to the whole pass is taken from it, for all of it and for each half: mean and variance of each
    dimension, and the contributions to the mean cosine that choose the dimensions to drop. A measure that is not
    defined on the sample (all vectors the same, too few of them) is left out.
    """
    rows, groups = sample.vectors.double(), sample.groups
    members = halves.members[:, groups] > 0
    moving = variances[0] > 0
    shifts = torch.where(moving, means - means[0], 0.0)
    centred = torch.where(moving, rows - means[0], 0.0)
    alike = torch.ones_like(means)
    # One product of matrices serves the distances and the second moment.
    products, along = centred @ centred.T, centred @ means[0]
    about_zero = products + along + along[:, None] + means[0].square().sum() if bool(moving.any()) else None
    cosines = {
        "centred": lambda: subset_cosines(centred, members, shifts, alike),
        "standardised": lambda: subset_cosines(centred, members, shifts, inverse_spread(variances)),
    }
    order = contributions.topk(min(max(TOP_DIMENSIONS), rows.shape[1])).indices
    for k in TOP_DIMENSIONS:
        if k < rows.shape[1]:
            kept = alike.scatter(1, order[:, :k], 0.0)
            cosines[f"drop{k}"] = partial(_cosine_without, rows, members, kept)
    measures: dict[str, Callable[[], Estimate]] = {
        "intrinsic_dimension": lambda: _intrinsic_dimension(sample, products),
        "log_partition_isotropy": lambda: _log_partition_isotropy(rows, groups, about_zero),
        "norm_max_over_median": lambda: _stands_out(rows.norm(dim=1), largest[0]),
        "activation_max_over_median": lambda: _stands_out(sample.vectors.abs().flatten(), largest[1]),
    }
    for name, values in cosines.items():
        measures[f"mean_cosine_{name}"] = partial(_over_halves, halves, values)
    found = {}
    for name, measure in measures.items():
        try:
            found[name] = measure()._replace(n=len(rows))
        except ValueError:
            continue
    if "log_partition_isotropy" in found:
        log = found["log_partition_isotropy"]
        ratio = float(torch.tensor(log.value, dtype=torch.float64).exp())
        found["partition_isotropy"] = log._replace(
            value=ratio, stderr=None if log.stderr is None else ratio * log.stderr
        )
    return found


def cka_with(sample: SampledVectors, reference: SampledVectors) -> Estimate | None:
    """Debiased linear CKA over the tokens that both samples hold, with a jackknife error over documents.

    None where one of them is the same for all tokens, but for rounding.

    Raises:
        ValueError: the samples have fewer than four tokens in common, so they are of different texts.
    """
    common = torch.isin(sample.keys, reference.keys)
    there = torch.isin(reference.keys, sample.keys)
    # Windows that occur twice have the same keys and the same states; one of them is enough.
    keys, places = _first_places(sample.keys[common])
    reference_keys, reference_places = _first_places(reference.keys[there])
    if len(keys) < 4 or not torch.equal(keys, reference_keys):
        raise ValueError(
            f"the reference for CKA shares {len(keys)} tokens with this sample: measure both on the same text"
        )
    x, y = sample.vectors[common][places], reference.vectors[there][reference_places]
    try:
        value = linear_cka(x, y)
    except ValueError:
        return None
    return Estimate(value, cka_error(x, y, sample.groups[common][places]), len(keys))


def _first_places(keys: Int[Tensor, " m"]) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """Different keys (which come sorted) and where each stands first."""
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    places = first.nonzero()[:, 0]
    return keys[places], places


def _cosine_without(
    rows: Float[Tensor, "m d"], members: Bool[Tensor, "r m"], kept: Float[Tensor, "r d"]
) -> Float[Tensor, " r"]:
    """No value for a half that drops other dimensions, and so no error: there the value jumps from text to text."""
    same = (kept == kept[0]).all(1)
    return torch.where(same, subset_cosines(rows, members, torch.zeros_like(kept[:1]), kept[:1]), torch.nan)


def _over_halves(halves: HalfSamples, values: Callable[[], Float[Tensor, " r"]]) -> Estimate:
    (found,) = halves.estimates(values()[:, None])
    if found.value != found.value:
        raise ValueError("fewer than two vectors have a direction")
    return found


def _intrinsic_dimension(sample: SampledVectors, products: Float[Tensor, "m m"]) -> Estimate:
    """The error leaves out a group's terms and keeps the neighbours: a sum over the rest, as for any ratio."""
    logs, places = neighbour_ratios(sample.vectors, sample.prefixes, products)
    groups = sample.groups[torch.from_numpy(places)]
    sums = torch.zeros(int(groups.max()) + 1, 2, dtype=torch.float64)
    sums.index_add_(0, groups, torch.stack([torch.ones(len(logs)).double(), torch.from_numpy(logs)], 1))
    (found,) = jackknife(lambda counts, sums: (counts / sums)[None], [sums[:, 0], sums[:, 1]])
    return found


def _log_partition_isotropy(
    rows: Float[Tensor, "m d"], groups: Int[Tensor, " m"], products: Float[Tensor, "m m"] | None
) -> Estimate:
    """The error holds the eigenvectors fixed."""
    projections = own_projections(rows, products)
    projections = torch.cat([projections, -projections], 1)
    names = groups.unique()
    by_group = torch.stack([torch.logsumexp(projections[groups == name], 0) for name in names])

    def ratio(by_group: Float[Tensor, "g k"]) -> Tensor:
        whole = torch.logsumexp(by_group, 0)
        return whole.min() - whole.max()

    value = float(ratio(by_group))
    if len(names) < 2:
        return Estimate(value)
    keep = ~torch.eye(len(names), dtype=torch.bool)
    left_out = torch.stack([ratio(by_group[keep[g]]) for g in range(len(names))])
    return Estimate(value, spread_of_left_out(left_out[:, None])[0])


def _stands_out(magnitudes: Float[Tensor, " n"], largest: float) -> Estimate:
    """A maximum has no error of the root-n kind, and none is made up: a jackknife of an extreme is inconsistent."""
    return Estimate(max_over_median(magnitudes, largest))
