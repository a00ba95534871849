"""The weights that a training began with, kept for the probes that compare with them."""

import os
from collections.abc import Callable, Collection
from functools import partial
from itertools import product
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from lm_probe.model_adapters import Architecture, Role
from lm_probe.probes import Need
from lm_probe.sweeps._in_memory import WeightsInMemory


class FirstWeights(WeightsInMemory):
    """Copies of a model's matrices on the CPU; sizes, which do not change while it trains, are the model's."""

    def __init__(self, architecture: Architecture, matrices: dict[str, Tensor]) -> None:
        """Takes what `copied` or `loaded` gives."""
        super().__init__(architecture)
        self._matrices = matrices

    @classmethod
    def copied(cls, architecture: Architecture, needs: Collection[Need]) -> "FirstWeights":
        """Copies what probes of these needs read."""
        read = _readers(WeightsInMemory(architecture), needs)
        return cls(architecture, {name: one().detach().to("cpu", copy=True).contiguous() for name, one in read.items()})

    @classmethod
    def loaded(cls, architecture: Architecture, needs: Collection[Need], path: Path) -> "FirstWeights | None":
        """What was saved there; None where nothing was, or not all that probes of these needs read."""
        saved = load_file(path) if path.is_file() else {}
        names = _readers(WeightsInMemory(architecture), needs).keys()
        return cls(architecture, {name: saved[name] for name in names}) if names <= saved.keys() else None

    def save(self, path: Path) -> None:
        """Writes the copies as safetensors, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        save_file(self._matrices, unfinished)
        unfinished.replace(path)

    def head(self) -> Float[Tensor, "V d"]:
        """The output head."""
        return self._matrices["head"]

    def embedding(self) -> Float[Tensor, "V e"]:
        """The input embedding."""
        return self._matrices["embedding"]

    def projection(self, role: Role, block: int) -> Float[Tensor, "out in"]:
        """One projection of a block (counted from 0)."""
        return self._matrices[_name(role, block)]


def _readers(weights: WeightsInMemory, needs: Collection[Need]) -> dict[str, Callable[[], Tensor]]:
    found: dict[str, Callable[[], Tensor]] = {}
    if "head" in needs:
        found["head"] = weights.head
    if "embedding" in needs:
        found["embedding"] = weights.embedding
    if "projections" in needs:
        for block, role in product(range(weights.layers), weights.roles):
            found[_name(role, block)] = partial(weights.projection, role, block)
    return found


def _name(role: Role, block: int) -> str:
    return f"{block}.{role}"
