"""Everything that follows from sums of unit vectors: mean cosines, similarities, shares of single dimensions."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._cosine import _mean_from_sum
from lm_probe.probes._half_samples import estimates_of_sums, half_samples
from lm_probe.probes._jackknife import Estimate, jackknife
from lm_probe.probes._labels import TokenLabels
from lm_probe.probes._windows import Windows

TOP_DIMENSIONS = (1, 3, 5)
# Sums for each type and group would be the largest of all: half as many groups are enough for an error.
_TYPE_GROUPS = 10


class DirectionSums:
    """Streaming sums of unit vectors: O(groups x strata x d) memory, exact, and merged by adding.

    Gives the mean cosine of all vectors, without the first position and for each frequency stratum (without the first
    position too), the similarity within windows and of the occurrences of a token type, both raw and less the mean
    cosine, and the share of the mean cosine that the 1, 3 and 5 strongest dimensions carry.
    """

    def __init__(self, width: int, groups: int, strata: int, types: int, device: torch.device) -> None:
        """Starts empty; group, stratum and type numbers in the labels must be below these."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        self._counts = zeros(groups, strata + 1)
        self._units = zeros(groups, strata + 1, width)
        self._squares = zeros(groups, width)
        self._windows = zeros(groups, 2)
        self._type_counts = zeros(types)
        self._type_units = zeros(types, width)
        folded = min(groups, _TYPE_GROUPS)
        self._group_type_counts = zeros(folded, types)
        self._group_type_units = zeros(folded, types, width).float()
        self._zeros = zeros(1)

    def update(self, windows: Windows, labels: TokenLabels) -> None:
        """Adds windows."""
        vectors, squares, norms, total = windows
        directed = labels.counted & (norms != 0)
        self._zeros += (labels.counted & (norms == 0)).sum()
        # Unit vectors are never formed: every sum of them is one product.
        weights = torch.where(directed, norms.reciprocal(), 0.0)[:, None]

        strata = torch.arange(self._counts.shape[1], device=vectors.device)
        members = ((labels.stratum[:, None] == strata[:, None]) & directed[:, None]).double()
        by_stratum = (members * weights) @ vectors
        self._counts.index_add_(0, labels.group, members.sum(2))
        self._units.index_add_(0, labels.group, by_stratum)
        self._squares.index_add_(0, labels.group, (weights.square() @ squares)[:, 0])

        # mean_i cos(x_i, mean of the window) is one product: sum of unit vectors by the direction of the mean.
        length = torch.linalg.vector_norm(total, dim=1, keepdim=True)
        mean = total / torch.where(length == 0, 1.0, length)
        n = directed.sum(1)
        similarity = (by_stratum.sum(1) * mean).sum(1) / n.clamp_min(1)
        self._windows.index_add_(0, labels.group, torch.stack([similarity * (n > 0), (n > 0).double()], 1))

        if len(self._type_counts):
            types = torch.arange(len(self._type_counts), device=vectors.device)
            chosen = ((labels.followed[:, None] == types[:, None]) & directed[:, None]).double()
            sums, counts = (chosen * weights) @ vectors, chosen.sum(2)
            self._type_counts += counts.sum(0)
            self._type_units += sums.sum(0)
            group = labels.group % len(self._group_type_counts)
            self._group_type_counts.index_add_(0, group, counts)
            self._group_type_units.index_add_(0, group, sums.float())

    def merge(self, other: "DirectionSums") -> None:
        """Adds what another has seen."""
        for name, total in vars(self).items():
            total += getattr(other, name).to(total.device)

    def contributions(self, members: Float[Tensor, "r g"]) -> Float[Tensor, "r d"]:
        """What each dimension adds to the mean cosine over some of the groups; see `cosine_contributions`."""
        n = members @ self._counts.cpu().sum(1, keepdim=True)
        units, squares = members @ self._units.cpu().sum(1), members @ self._squares.cpu()
        return (units.square() - squares) / (n * (n - 1))

    def result(self) -> dict[str, Estimate]:
        """The values by name; one that is not defined on what was seen is left out.

        Raises:
            ValueError: fewer than two vectors were seen.
        """
        counts, units, windows = self._counts.cpu(), self._units.cpu(), self._windows.cpu()
        n = int(counts.sum())
        zeros = int(self._zeros)
        of_zeros = {"zero_vectors": Estimate(float(zeros), None, n + zeros)} if zeros else {}
        if n < 2:
            if not zeros:
                raise ValueError(f"a mean cosine needs two vectors: found {n}")
            return of_zeros
        found = _named(["mean_cosine"], _all, [counts, units], counts.sum(1))
        if 2 <= int(counts[:, 1:].sum()) < n:
            past_first = counts[:, 1:].sum(1)
            found |= _named(["mean_cosine_no_first"], _all, [counts[:, 1:], units[:, 1:]], past_first)
        if counts.shape[1] > 2:
            for stratum in range(1, counts.shape[1]):
                if int(counts[:, stratum].sum()) >= 2:
                    totals = [counts[:, stratum, None], units[:, stratum, None]]
                    found |= _named([f"mean_cosine_q{stratum}"], _all, totals, counts[:, stratum])
        found |= _named(
            ["intra_sentence_similarity", "intra_sentence_similarity_adjusted"],
            _intra,
            [windows, counts, units],
            windows[:, 1],
        )
        if found["mean_cosine"].value > 0:
            halves = half_samples(counts.sum(1))
            shares = halves.estimates(_rogue(self.contributions(halves.members)))
            found |= {f"rogue_top{k}": share._replace(n=n) for k, share in zip(TOP_DIMENSIONS, shares, strict=True)}
        found |= self._self_similarity(counts, units)
        return found | of_zeros

    def _self_similarity(self, counts: Float[Tensor, "g s"], units: Float[Tensor, "g s d"]) -> dict[str, Estimate]:
        """`self_similarity` over the followed types, raw and less the mean cosine; the error is over documents."""
        enough = self._type_counts.cpu() >= 2
        if not bool(enough.any()):
            return {}
        of_types = self._group_type_counts.cpu(), self._group_type_units.cpu().double()
        of_all = (_fold(counts.sum(1), len(of_types[0])), _fold(units.sum(1), len(of_types[0])))
        raw, adjusted = jackknife(_self_similarities, [*of_types, *of_all])
        # Sums of single precision are good enough for errors.
        each = _mean_from_sum(self._type_units.cpu()[enough], self._type_counts.cpu()[enough].long())
        value, types = float(each.mean()), len(each)
        baseline = float(_mean_from_sum(units.sum((0, 1)), counts.sum()))
        return {
            "self_similarity": Estimate(value, raw.stderr, types),
            "self_similarity_adjusted": Estimate(value - baseline, adjusted.stderr, types),
        }


def _fold(totals: Float[Tensor, "g ..."], groups: int) -> Float[Tensor, "h ..."]:
    """Totals of fewer groups: each goes to its number modulo theirs."""
    folded = torch.zeros(groups, *totals.shape[1:], dtype=torch.float64)
    return folded.index_add_(0, torch.arange(len(totals)) % groups, totals)


def _self_similarities(
    type_counts: Float[Tensor, " t"], type_units: Float[Tensor, "t d"], n: Float[Tensor, ""], total: Float[Tensor, " d"]
) -> Float[Tensor, " 2"]:
    enough = type_counts >= 2
    raw = _mean_from_sum(type_units[enough], type_counts[enough].long()).mean()
    return torch.stack([raw, raw - _mean_from_sum(total, n.long())])


def _named(
    names: list[str], statistic: Callable[..., Tensor], totals: list[Tensor], sizes: Float[Tensor, " g"]
) -> dict[str, Estimate]:
    estimates = estimates_of_sums(statistic, totals, sizes)
    return {name: estimate._replace(n=int(sizes.sum())) for name, estimate in zip(names, estimates, strict=True)}


def _all(counts: Float[Tensor, "r s"], units: Float[Tensor, "r s d"]) -> Float[Tensor, "r 1"]:
    return _mean_from_sum(units.sum(1), counts.sum(1))[:, None]


def _intra(
    windows: Float[Tensor, "r 2"], counts: Float[Tensor, "r s"], units: Float[Tensor, "r s d"]
) -> Float[Tensor, "r 2"]:
    raw = windows[:, :1] / windows[:, 1:]
    return torch.cat([raw, raw - _all(counts, units)], 1)


def _rogue(contributions: Float[Tensor, "r d"]) -> Float[Tensor, "r k"]:
    """`rogue_share` of each; a half of the sample may have no positive mean cosine: then there is no error."""
    totals = contributions.sum(1, keepdim=True)
    width = contributions.shape[1]
    largest = contributions.topk(min(max(TOP_DIMENSIONS), width)).values.cumsum(1)
    wanted = [min(k, width) - 1 for k in TOP_DIMENSIONS]
    return torch.where(totals > 0, largest[:, wanted] / totals, torch.nan)
