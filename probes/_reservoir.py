"""A bounded sample of hidden states: the same tokens for every checkpoint, whatever the batches."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.probes._labels import NO_KEY

SAMPLE_ROWS = 512


class SampledVectors(NamedTuple):
    """A sample of one site's hidden states, in the order of their keys."""

    keys: Int[Tensor, " m"]
    groups: Int[Tensor, " m"]
    """The jackknife group of each vector's document."""
    vectors: Float[Tensor, "m d"]
    """In the dtype of the model."""


class Reservoir:
    """Keeps the vectors with the smallest keys: a uniform sample without replacement, if keys are hashes.

    Which tokens are kept depends on their keys alone, so one pass, any order of batches and any merge of parts keep
    the same. Up to `rows` vectors everything is kept, and what is computed from it is exact. O(rows x d) memory.
    """

    def __init__(self, rows: int = SAMPLE_ROWS) -> None:
        """Starts empty."""
        self._rows = rows
        self._keys: Tensor | None = None
        self._groups: Tensor | None = None
        self._vectors: Tensor | None = None

    def update(self, vectors: Float[Tensor, "n d"], keys: Int[Tensor, " n"], groups: Int[Tensor, " n"]) -> None:
        """Adds vectors; those with the key `NO_KEY` never enter."""
        if self._keys is None or self._groups is None or self._vectors is None:
            self._keys = torch.full((self._rows,), NO_KEY, dtype=torch.int64, device=keys.device)
            self._groups = torch.zeros_like(self._keys)
            self._vectors = torch.zeros(self._rows, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
        most = min(self._rows, len(keys))
        # The smallest new key against the largest kept one, the next against the next: what is left are the smallest.
        arriving = keys.sort().indices[:most]
        places = self._keys.sort(descending=True).indices[:most]
        enters = keys[arriving] < self._keys[places]
        if keys.device.type == "cpu":
            # Few enter once the sample is full. On a GPU counting them would halt the queue, so all places are written.
            count = int(enters.sum())
            arriving, places, enters = arriving[:count], places[:count], enters[:count]
        self._keys[places] = torch.where(enters, keys[arriving], self._keys[places])
        self._groups[places] = torch.where(enters, groups[arriving], self._groups[places])
        self._vectors[places] = torch.where(enters[:, None], vectors[arriving], self._vectors[places])

    def merge(self, other: "Reservoir") -> None:
        """Adds what another has kept.

        Raises:
            ValueError: the two are of different size, so that merging would keep another sample than one pass.
        """
        if self._rows != other._rows:
            raise ValueError(f"cannot merge samples of {self._rows} and {other._rows} vectors")
        if other._keys is None or other._groups is None or other._vectors is None:
            return
        device = other._keys.device if self._keys is None else self._keys.device
        self.update(other._vectors.to(device), other._keys.to(device), other._groups.to(device))

    def result(self) -> SampledVectors:
        """The sample, on the CPU.

        Raises:
            ValueError: nothing was added.
        """
        if self._keys is None or self._groups is None or self._vectors is None:
            raise ValueError("the sample is empty: no vector was added")
        keys, groups, vectors = self._keys.cpu(), self._groups.cpu(), self._vectors.cpu()
        order = keys.argsort()[: int((keys != NO_KEY).sum())]
        return SampledVectors(keys[order], groups[order], vectors[order])
