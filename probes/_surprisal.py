"""What each next token costs in nats, from what the head multiplies."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from lm_probe.model_adapters import Architecture, HeadProduct, single_at_least

# Positions taken at a time: wide enough for the head's product to run at full speed, small beside the model.
HEAD_ROWS = 512
# On a CPU, positions and tokens of a tile of logits: the head's product runs at full speed, and the tile lies in the
# cache that cores share. Exponentials are taken of so many positions at a time that they lie in a core's own.
_TILE = 1024, 2048
_EXPONENTIALS = 128


class Surprisal:
    """Negative log-probabilities of tokens, in float32, or float64 where the model is.

    The logits are never in memory together. On a CPU they are made in tiles: for logits z and the target's y, the
    nats are log(sum exp(z - s)) - (y - s) with a shift s near y. The sum then holds a term near 1, so that no maximum
    need be found first; this takes less time than writing all logits alone. Where the sum overflows, whole rows are
    taken.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Of this model; nothing is computed yet."""
        self._architecture = architecture
        self._held: dict[torch.dtype, Tensor] = {}

    def __call__(self, hidden: Float[Tensor, "n d"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The nats of `targets` where the head multiplies `hidden`, on the same device as that."""
        head = self._architecture.head_product() if hidden.device.type == "cpu" else None
        if head is None:
            return self._from_whole_rows(hidden, targets)
        pairs = zip(hidden.split(_TILE[0]), targets.split(_TILE[0]), strict=True)
        return torch.cat([self._from_tiles(head, *pair) for pair in pairs])

    def _from_whole_rows(self, hidden: Float[Tensor, "n d"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        found = []
        for part, wanted in zip(hidden.split(HEAD_ROWS), targets.split(HEAD_ROWS), strict=True):
            logits = self._architecture.logits(part)
            found.append(cross_entropy(single_at_least(logits), wanted.to(logits.device), reduction="none"))
        return torch.cat(found)

    def _from_tiles(
        self, head: HeadProduct, hidden: Float[Tensor, "n d"], targets: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        width, vocabulary = _TILE[1], len(head.weight)
        shift = head.logit_of(hidden, targets)[:, None]
        over_target = torch.zeros(len(hidden), dtype=torch.float64)
        summed = torch.zeros(len(hidden), dtype=torch.float64)
        for start in range(0, vocabulary, width):
            size = min(width, vocabulary - start)
            tile = self._memory(len(hidden), size, hidden.dtype)
            logits = head.logits(hidden, slice(start, start + size), tile)
            (here,) = ((targets >= start) & (targets < start + size)).nonzero(as_tuple=True)
            over_target[here] = (logits[here, targets[here] - start] - shift[here, 0]).double()
            for z, s, total in zip(*(each.split(_EXPONENTIALS) for each in (logits, shift, summed)), strict=True):
                over = z if z.dtype == s.dtype else self._memory(len(z), size, s.dtype)
                total += torch.sub(z, s, out=over).exp_().sum(1)
        nats = (summed.log() - over_target).to(shift.dtype)
        beyond = ~nats.isfinite()  # more than the exponential can hold
        if beyond.any():
            nats[beyond] = self._from_whole_rows(hidden[beyond], targets[beyond])
        return nats.clamp_(min=0)  # less by rounding alone

    def _memory(self, rows: int, columns: int, dtype: torch.dtype) -> Float[Tensor, "r c"]:
        """Memory for a tile, or of another type than the logits for a part of it."""
        held = self._held.get(dtype)
        if held is None or len(held) < rows * columns:
            held = self._held[dtype] = torch.empty(rows * columns, dtype=dtype)
        return held[: rows * columns].view(rows, columns)
