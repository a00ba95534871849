"""A bounded sample of hidden states: the same tokens for every checkpoint, whatever the batches."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.probes._labels import NO_KEY, TokenLabels

SAMPLE_ROWS = 512


class SampledVectors(NamedTuple):
    """A sample of one site's hidden states, in the order of their keys, with what `TokenLabels` says of each."""

    keys: Int[Tensor, " m"]
    groups: Int[Tensor, " m"]
    """The group of each vector's document."""
    strata: Int[Tensor, " m"]
    prefixes: Int[Tensor, " m"]
    vectors: Float[Tensor, "m d"]
    """In the dtype of the model."""

    def take(self, rows: Tensor) -> "SampledVectors":
        """Some of them, by place or by a mask."""
        return SampledVectors(*(field[rows] for field in self))

    def to(self, device: torch.device | str) -> "SampledVectors":
        """The same on another device."""
        return SampledVectors(*(field.to(device) for field in self))


def labelled(vectors: Float[Tensor, "b t d"], labels: TokenLabels) -> SampledVectors:
    """Every vector of a batch with its labels."""
    groups = labels.group[:, None].expand(labels.key.shape)
    key, group, stratum, prefix = (each.flatten() for each in (labels.key, groups, labels.stratum, labels.prefix))
    return SampledVectors(key, group, stratum, prefix, vectors.flatten(0, 1))


class Reservoir:
    """Keeps the vectors with the smallest keys: a uniform sample without replacement, if keys are hashes.

    Which tokens are kept depends on their keys alone, so one pass, any order of batches and any merge of parts keep
    the same. Up to `rows` vectors everything is kept, and what is computed from it is exact. O(rows x d) memory.
    """

    def __init__(self, rows: int = SAMPLE_ROWS) -> None:
        """Starts empty."""
        self._rows = rows
        self._kept: SampledVectors | None = None

    def update(self, some: SampledVectors) -> None:
        """Adds vectors; those with the key `NO_KEY` never enter."""
        if self._kept is None:
            self._kept = SampledVectors(*(field.new_zeros(self._rows, *field.shape[1:]) for field in some))
            self._kept.keys.fill_(NO_KEY)
        most = min(self._rows, len(some.keys))
        # The smallest new key against the largest kept one, the next against the next: what is left are the smallest.
        arriving = some.keys.sort().indices[:most]
        places = self._kept.keys.sort(descending=True).indices[:most]
        enters = some.keys[arriving] < self._kept.keys[places]
        if some.keys.device.type == "cpu":
            # Few enter once the sample is full. On a GPU counting them would halt the queue, so all places are written.
            count = int(enters.sum())
            arriving, places, enters = arriving[:count], places[:count], enters[:count]
        for kept, new in zip(self._kept, some, strict=True):
            wins = enters.view(-1, *[1] * (new.ndim - 1))
            kept[places] = torch.where(wins, new[arriving], kept[places])

    def merge(self, other: "Reservoir") -> None:
        """Adds what another has kept.

        Raises:
            ValueError: the two are of different size, so that merging would keep another sample than one pass.
        """
        if self._rows != other._rows:
            raise ValueError(f"cannot merge samples of {self._rows} and {other._rows} vectors")
        if other._kept is not None:
            self.update(other._kept.to((other._kept if self._kept is None else self._kept).keys.device))

    def result(self) -> SampledVectors:
        """The sample, on the CPU.

        Raises:
            ValueError: nothing was added.
        """
        if self._kept is None:
            raise ValueError("the sample is empty: no vector was added")
        kept = self._kept.to("cpu")
        return kept.take(kept.keys.argsort()[: int((kept.keys != NO_KEY).sum())])
