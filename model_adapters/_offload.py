"""Weights that accelerate keeps in memory or on disk until a forward pass brings them to the device."""

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn


def values_of(module: nn.Module, parameter: str) -> Tensor:
    """A parameter (a dotted name below the module) with its values, on the CPU where they have to be fetched."""
    path, _, name = parameter.rpartition(".")
    owner = module.get_submodule(path)
    found = owner.get_parameter(name)
    if not found.is_meta:
        return found
    with align_module_device(owner, torch.device("cpu")):
        return owner.get_parameter(name)
