"""What a probe is, and what it gives."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_probe.model_adapters import Architecture, Role, Site
from lm_probe.probes._reading import Reading as Reading
from lm_probe.probes._reading import VectorReading as VectorReading

Need = Literal["head", "embedding", "projections", "token_counts", "first", "hidden", "logits", "surprisals"]
"""`token_counts` and `first` (the series' first checkpoint) are given where they are known, see `WeightContext`."""


@dataclass(frozen=True)
class Batch:
    """A right-padded batch of token rows, on one device."""

    token_ids: Int[Tensor, "b t"]
    mask: Bool[Tensor, "b t"] | None
    """True where a token counts; None when nothing is padded."""
    clusters: Int[Tensor, " b"]
    """The document (or window) that each row belongs to, 0..n_clusters-1: the unit of standard errors."""
    token_bytes: Float[Tensor, "b t"] | None
    """UTF-8 bytes of text behind each token; None where the tokenizer cannot tell."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        if self.token_ids.device == device:
            return self
        mask, sizes = (None if each is None else each.to(device) for each in (self.mask, self.token_bytes))
        return Batch(self.token_ids.to(device), mask, self.clusters.to(device), sizes)


@dataclass(frozen=True)
class Sampled:
    """What a forward probe may know of the text before it starts."""

    n_clusters: int
    device: str
    """Where what it sees will be: `statistics_device` of the model's."""
    has_bytes: bool
    token_counts: Int[Tensor, " V"] | None = None
    """How often each token id occurs in the whole sample; None where it is not known before the pass."""


@runtime_checkable
class WeightsByRole(Protocol):
    """Where a weight probe reads from: a checkpoint's files, or a model in memory.

    Matrices come out x in, one at a time, in the dtype in which they are stored; a probe lets go of one before it
    asks for the next.
    """

    def head(self) -> Float[Tensor, "V d"]:
        """The output head."""
        ...

    def embedding(self) -> Float[Tensor, "V e"]:
        """The input embedding."""
        ...

    def projection(self, role: Role, block: int) -> Float[Tensor, "out in"]:
        """One projection of a block (counted from 0)."""
        ...

    @property
    def tied(self) -> bool:
        """Whether the output head is the input embedding."""
        ...

    @property
    def layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles for which `projection` has an answer."""
        ...

    @property
    def head_size(self) -> int:
        """Rows of one attention head in query, key and value."""
        ...


@dataclass(frozen=True)
class WeightContext:
    """What a weight probe may know beside the weights. What is not known costs the readings that need it."""

    token_rows: int | None = None
    """Rows of head and embedding that stand for tokens: the tokenizer's length. The rest is padding."""
    token_counts: Int[np.ndarray, " V"] | None = None
    """How often each token occurs in the token sample, by token id."""
    first: WeightsByRole | None = None
    """The series' first checkpoint (step 0: the initialisation)."""


@runtime_checkable
class WeightProbe(Protocol):
    """A probe that is a function of weights."""

    name: str
    version: int
    """Raised when the numbers change: stored values of an older version are measured again."""
    needs: frozenset[Need]

    def read(self, weights: WeightsByRole, context: WeightContext) -> Iterable[Reading | VectorReading]:
        """Measures."""
        ...


class ForwardState:
    """A forward probe at work: sees every batch, merges with its twin from other batches, and gives its result."""

    def see_hidden(self, site: Site, vectors: Float[Tensor, "b t d"], batch: Batch) -> None:
        """Sees the hidden states of one site for one batch. Pad positions are included: `batch.mask` tells them."""

    def see_logits(
        self,
        logits: Float[Tensor, "n V"],
        targets: Int[Tensor, " n"],
        clusters: Int[Tensor, " n"],
        target_bytes: Float[Tensor, " n"] | None,
    ) -> None:
        """Sees logits at positions that have a next token, with that token; pad positions are left out."""

    def see_surprisals(
        self,
        nats: Float[Tensor, " n"],
        clusters: Int[Tensor, " n"],
        target_bytes: Float[Tensor, " n"] | None,
    ) -> None:
        """Sees what each next token costs, its negative log-probability in nats; pad positions are left out.

        On a CPU this takes less time and memory than the logits that it comes from.
        """

    def merge(self, other: "ForwardState") -> None:
        """Adds what a twin has seen in other batches."""
        raise NotImplementedError

    def result(self) -> Sequence[Reading | VectorReading]:
        """The readings over everything seen so far."""
        raise NotImplementedError


@runtime_checkable
class ForwardProbe(Protocol):
    """A probe that is a streaming statistic over forward passes."""

    name: str
    version: int
    needs: frozenset[Need]

    def start(self, architecture: Architecture, sampled: Sampled) -> ForwardState:
        """Begins a measurement."""
        ...


Probe = WeightProbe | ForwardProbe
