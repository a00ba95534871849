"""The output head as a matrix product, of which a part can be taken."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class HeadProduct:
    """A head that only multiplies, without gradients."""

    weight: Float[Tensor, "V d"]
    soft_cap: float | None = None

    def logits(self, hidden: Float[Tensor, "n d"], tokens: slice, out: Float[Tensor, "n v"]) -> Float[Tensor, "n v"]:
        """The logits of some tokens.

        Args:
            hidden: what the head multiplies.
            tokens: whose.
            out: memory for the product, of the result's shape and type.
        """
        logits = torch.matmul(hidden, self.weight[tokens].T, out=out)
        return logits if self.soft_cap is None else logits.div_(self.soft_cap).tanh_().mul_(self.soft_cap)

    def logit_of(self, hidden: Float[Tensor, "n d"], tokens: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """One token's logit at each position, but for rounding; in float32 of half precision, which may overflow."""
        return capped((single_at_least(hidden) * single_at_least(self.weight[tokens])).sum(1), self.soft_cap)


def single_at_least(values: Tensor) -> Tensor:
    """In float32; float64 as it is."""
    return values if values.dtype == torch.float64 else values.float()


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """Logits under the soft cap of Gemma 2."""
    return logits if cap is None else torch.tanh(logits / cap) * cap
