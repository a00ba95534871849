"""What is known of each token before its hidden states are seen: the same at every layer, computed once a batch."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lm_probe.probes._protocol import Batch, Sampled

STRATA = 4
FOLLOWED_TYPES = 32
NO_KEY = 2**63 - 1
"""Larger than the key of any token: pads, and empty places of a sample."""


class TokenLabels(NamedTuple):
    """Labels of a batch's tokens, on one device."""

    counted: Bool[Tensor, "b t"]
    """False for pads."""
    group: Int[Tensor, " b"]
    """The group of the row's document."""
    stratum: Int[Tensor, "b t"]
    """0 at the first position of a window; elsewhere 1..4, from the most frequent token types to the rarest."""
    followed: Int[Tensor, "b t"]
    """Which of the followed (most frequent) token types this is; -1 for others and at the first position."""
    prefix: Int[Tensor, "b t"]
    """A hash of the window's tokens so far, and one for a first run of equal tokens: where it is equal, so is the
    hidden state, but for rounding (of such a run, in models without absolute positions)."""
    key: Int[Tensor, "b t"]
    """A hash of document, window and position: the order in which tokens enter a bounded sample."""

    def to(self, device: torch.device) -> "TokenLabels":
        """The same labels on another device."""
        return self if self.key.device == device else TokenLabels(*(label.to(device) for label in self))


class TokenLabeller:
    """Labels batches of one sample of text.

    Strata and followed types come from the whole sample's counts, which are known before the pass. Without counts
    every token past the first position is in stratum 1 and no type is followed.
    """

    def __init__(self, sampled: Sampled, groups: int) -> None:
        """Reads the counts."""
        self.groups = groups
        self.strata = 1
        self.types = 0
        self._tables: tuple[Tensor, Tensor] | None = None
        if sampled.token_counts is not None:
            counts = sampled.token_counts.cpu()
            followed = frequent_types(counts, FOLLOWED_TYPES)
            number = torch.full_like(counts, -1)
            number[followed] = torch.arange(len(followed))
            self.strata, self.types = STRATA, len(followed)
            self._tables = frequency_strata(counts, STRATA).to(sampled.device), number.to(sampled.device)

    def label(self, batch: Batch) -> TokenLabels:
        """The labels of one batch."""
        ids = batch.token_ids
        counted = torch.ones_like(ids, dtype=torch.bool) if batch.mask is None else batch.mask
        if self._tables is None:
            stratum, followed = torch.ones_like(ids), torch.full_like(ids, -1)
        else:
            stratum, followed = (table[ids] for table in self._tables)
        first = torch.arange(ids.shape[1], device=ids.device) == 0
        prefix = mix(_marks(ids).cumsum(1))
        # Attention over copies of one token gives what it gives over one, unless positions are added to the states.
        run = (ids == ids[:, :1]).cumprod(1).bool()
        return TokenLabels(
            counted,
            batch.clusters % self.groups,
            stratum.masked_fill(first, 0),
            followed.masked_fill(first, -1),
            torch.where(run, prefix[:, :1], prefix),
            token_keys(ids, counted, batch.clusters),
        )


def frequency_strata(counts: Int[Tensor, " V"], strata: int) -> Int[Tensor, " V"]:
    """Deals token types out over strata 1..strata that hold about equally many tokens, the most frequent types first.

    A type belongs to one stratum, the one in which the middle of its occurrences falls; ties go by token id.
    """
    order = torch.sort(counts, descending=True, stable=True).indices
    ordered = counts[order].double()
    middle = ordered.cumsum(0) - ordered / 2
    rank = (strata * middle / ordered.sum().clamp_min(1)).long().clamp(0, strata - 1) + 1
    return torch.empty_like(counts).scatter_(0, order, rank.to(counts.dtype))


def frequent_types(counts: Int[Tensor, " V"], most: int) -> Int[Tensor, " m"]:
    """The most frequent token types that occur at least twice, at most `most`; ties go by token id."""
    order = torch.sort(counts, descending=True, stable=True).indices[:most]
    return order[counts[order] >= 2]


def token_keys(
    token_ids: Int[Tensor, "b t"], counted: Bool[Tensor, "b t"], clusters: Int[Tensor, " b"]
) -> Int[Tensor, "b t"]:
    """A hash for each token of its document, its window's tokens and its position; `NO_KEY` for pads.

    It depends on the text alone: not on batches, padding or the model. So a sample that is chosen by it holds the same
    tokens for every checkpoint, and can be merged.
    """
    position = torch.arange(token_ids.shape[1], device=token_ids.device)
    window = (_marks(token_ids) * counted).sum(1)
    window = mix(window + mix(clusters.long() + 1))
    keys = mix(window[:, None] + mix(position + 0x7F4A7C15)) & NO_KEY
    return keys.masked_fill(~counted, NO_KEY)


def _marks(token_ids: Int[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """A hash of each token and its position; their sums tell texts apart."""
    return mix(token_ids.long() * 0x9E3779B1 + torch.arange(token_ids.shape[1], device=token_ids.device))


def mix(values: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Scrambles whole numbers: the finaliser of splitmix64 (Steele et al. 2014).

    Products of int64 wrap, as they should; shifts must not drag the sign in.
    """
    values = (values ^ ((values >> 30) & (2**34 - 1))) * (0xBF58476D1CE4E5B9 - 2**64)
    values = (values ^ ((values >> 27) & (2**37 - 1))) * (0x94D049BB133111EB - 2**64)
    return values ^ ((values >> 31) & (2**33 - 1))
