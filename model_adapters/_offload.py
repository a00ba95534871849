"""The values of a parameter, also where accelerate fetches them for a pass, or an adapter of peft adds to them."""

from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook
from accelerate.utils import align_module_device
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm_probe.model_adapters._adapted import is_adapted, merged_weight


def values_of(module: nn.Module, parameter: str) -> Tensor:
    """A parameter (a dotted name below the module) as a forward pass uses it, on the CPU where it has to be fetched.

    Raises:
        UserError: an adapter on it cannot be merged.
    """
    path, _, name = parameter.rpartition(".")
    owner = module.get_submodule(path)
    # peft wraps what is trained beside adapters; the wrapper hands on what is active in it.
    owner = getattr(owner, "token_adapter", owner)
    if is_adapted(owner):
        return merged_weight(owner, name)
    found = owner.get_parameter(name)
    if not found.is_meta:
        return found
    with align_module_device(owner, torch.device("cpu")):
        return owner.get_parameter(name)


def fetched_to_cpu(module: nn.Module) -> bool:
    """Whether accelerate fetches a module's weight for its forward pass on the CPU, and does nothing else to it."""
    hook: Any = getattr(module, "_hf_hook", None)
    hooks = getattr(hook, "hooks", (hook,))
    return all(isinstance(one, AlignDevicesHook) and str(one.execution_device) == "cpu" for one in hooks)


def device_of(model: PreTrainedModel) -> torch.device:
    """Where a model takes its tokens; transformers' `model.device` is `meta` where accelerate fetches the embedding."""
    if model.device.type != "meta":
        return model.device
    hook: Any = getattr(model.get_input_embeddings(), "_hf_hook", None)
    devices = (one.execution_device for one in getattr(hook, "hooks", (hook,)) if one is not None)
    return torch.device(next(filter(lambda device: device is not None, devices), model.device))
