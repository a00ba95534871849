"""A model into whose memory the checkpoints of a series are copied, one after the other."""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm_probe.model_adapters._finite import is_finite, not_finite, rows_of
from lm_probe.model_adapters._weights import Weights

Form = tuple[object, ...]

_CONSTANTS = frozenset({bool, int, float, str, type(None)})
_CONTAINERS = frozenset({dict, OrderedDict, set})


class Mould:
    """The first model of a series as `from_pretrained` made it, never run; what is run are casts that share its memory.

    A cast is a module of its own: hooks, settings and modes that somebody leaves on it are gone with it.
    """

    def __init__(self, model: PreTrainedModel, form: Form, sources: Mapping[str, str]) -> None:
        """Keeps a model; `sources` names for each of its tensors the one in the files. See `mould_of`."""
        self.form = form
        self._model = model
        self._tensors = _own_tensors(model)
        self._sources = sources

    def fill(self, weights: Weights) -> None:
        """Copies in the weights of another checkpoint of the same form, in the types that the model has.

        Raises:
            UserError: a file is damaged, or weights are not finite. What the mould holds then is of no use until it is
                filled again.
        """
        with torch.no_grad(), weights.kept_open():
            for name, tensor in self._tensors.items():
                sound = True
                for into, read in _in_pieces(tensor, weights.read(self._sources[name])):
                    sound &= is_finite(into.copy_(read))
                if not sound:
                    not_finite(name, tensor, weights.folder)

    def cast(self, folder: Path) -> PreTrainedModel:
        """A model with the weights that were filled in last; its parameters change when others are."""
        shared = {
            id(tensor): nn.Parameter(tensor.detach(), requires_grad=False)
            if isinstance(tensor, nn.Parameter)
            else tensor.detach()
            for tensor in self._tensors.values()
        }
        model = _copied(self._model, shared)
        model.name_or_path = model.config.name_or_path = str(folder)
        return model


def form_of(weights: Weights) -> Form:
    """What two checkpoints must share for one to be copied into the other's module: settings, names, shapes, types."""
    folder = weights.folder
    beside = [folder / name for name in ("generation_config.json", "adapter_config.json")]
    return weights.settings(), [file.read_bytes() if file.is_file() else None for file in beside], weights.listed()


def mould_of(model: PreTrainedModel, weights: Weights) -> Mould | None:
    """A mould from a model that `from_pretrained` has loaded from `weights`.

    Where each tensor of the model came from is guessed by name, and believed where the numbers are the same to the
    last bit. None where a tensor's source stays unclear, or where the module cannot be copied: the model is spread over
    devices, quantised, an adapter, has code of its own or hooks.
    """
    config = weights.settings()
    if "quantization_config" in config or "auto_map" in config or _is_patched(model):
        return None
    own, listed = _own_tensors(model), weights.listed()
    head, prefix = model.get_output_embeddings().weight, f"{model.base_model_prefix}."
    sources = {}
    with weights.kept_open():
        for name, tensor in own.items():
            keys = [weights.head_name()] if tensor is head else [name, name.removeprefix(prefix)]
            key = next((key for key in keys if key in listed), None)
            if key is None or not _is_same(tensor, weights.read(key)):
                return None
            sources[name] = key
    return Mould(model, form_of(weights), sources)


def _copied(model: PreTrainedModel, memo: dict[int, Any]) -> PreTrainedModel:
    """What `copy.deepcopy` gives, five times as fast: most of what modules hold is constant or an empty dictionary."""
    modules = list(model.modules())
    twins = [object.__new__(type(module)) for module in modules]  # all are known before any refers to another
    memo |= {id(module): twin for module, twin in zip(modules, twins, strict=True)}
    for module, twin in zip(modules, twins, strict=True):
        twin.__dict__.update({name: _copied_value(value, memo) for name, value in vars(module).items()})
    copied: PreTrainedModel = memo[id(model)]
    return copied


def _copied_value(value: object, memo: dict[int, Any]) -> object:
    if type(value) in _CONSTANTS:
        return value
    return type(value)() if type(value) in _CONTAINERS and not value else copy.deepcopy(value, memo)


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers, each once."""
    named: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        named.setdefault(id(tensor), (name, tensor))
    return dict(named.values())


def _is_patched(model: nn.Module) -> bool:
    """Whether a copy of a module would still call the original: accelerate and others set methods on objects.

    A function under a name of its own is no patch: it knows no module (transformers 4 keeps `rope_init_fn` so).
    """
    return any(
        module._forward_hooks
        or module._forward_pre_hooks
        or any(isinstance(value, MethodType) for value in vars(module).values())
        or any(hasattr(type(module), name) for name, value in vars(module).items() if callable(value))
        for module in model.modules()
    )


def _is_same(tensor: Tensor, stored: Tensor) -> bool:
    if tensor.shape != stored.shape:
        return False
    return all(
        torch.equal(held, read.to(held.device, held.dtype)) for held, read in _in_pieces(tensor.detach(), stored)
    )


def _in_pieces(tensor: Tensor, stored: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(rows_of(tensor), rows_of(stored), strict=True)
