"""Refuses weights that are not finite, at the price of one sum."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._offload import values_of

CHUNK = 1 << 17
"""Numbers looked at in one go: what was just written is still in the processor's cache."""


def is_finite(numbers: Tensor) -> bool:
    """Whether there is no NaN and no infinite value. A sum meets all of them; `isfinite` is forty times slower."""
    return math.isfinite(numbers.float().sum().item()) or bool(torch.isfinite(numbers).all())


def refuse_non_finite(model: nn.Module, folder: Path) -> None:
    """Refuses a model with NaN or infinite values.

    Raises:
        UserError: it has some; names the first parameter.
    """
    for name, _ in model.named_parameters():
        weight = values_of(model, name)
        if not all(map(is_finite, rows_of(weight))):
            not_finite(name, weight, folder)


def not_finite(name: str, weight: Tensor, folder: Path) -> NoReturn:
    """Says what is wrong with a parameter.

    Raises:
        UserError: always.
    """
    kind = "NaN" if bool(torch.isnan(weight).any()) else "infinite values"
    raise UserError(f"{folder} has {kind} in {name}: the checkpoint is damaged or training had diverged")


def rows_of(weight: Tensor) -> Sequence[Tensor]:
    """A weight in pieces of about `CHUNK` numbers, as views."""
    if weight.ndim == 0 or weight.numel() <= CHUNK:
        return (weight,)
    pieces: Sequence[Tensor] = weight.split(max(1, CHUNK * len(weight) // weight.numel()))
    return pieces
