"""Models that peft has put adapters on (LoRA and others): the model inside, and the weights that it multiplies with.

peft is asked only where somebody has imported it: without it there are no such models.
"""

import copy
import sys
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm_probe.model_adapters._errors import UserError


def inner_model(model: nn.Module) -> PreTrainedModel:
    """The causal model whose layers carry the adapters, which run with it; a model without adapters as it is.

    Raises:
        UserError: what peft adds is no part of the layers (virtual tokens of prompt or prefix tuning).
    """
    if "peft" not in sys.modules:
        return cast("PreTrainedModel", model)
    from peft import PeftMixedModel, PeftModel
    from peft.tuners.tuners_utils import BaseTuner

    if not isinstance(model, PeftModel | PeftMixedModel):
        return cast("PreTrainedModel", model)
    tuner = model.base_model
    if not isinstance(tuner, BaseTuner):
        kinds = ", ".join(sorted({str(one.peft_type).removeprefix("PeftType.") for one in model.peft_config.values()}))
        raise UserError(
            f"peft's {kinds} works beside the layers, where no probe looks: measure the model without it "
            f"(model.get_base_model()), or one with adapters in its layers, e.g. LoRA"
        )
    return cast("PreTrainedModel", tuner.model)


def is_adapted(module: nn.Module) -> bool:
    """Whether a layer carries an adapter of peft."""
    if "peft" not in sys.modules:
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    return isinstance(module, BaseTunerLayer)


def merged_weight(layer: nn.Module, name: str) -> Tensor:
    """A parameter of an adapted layer as its forward pass uses it: for LoRA base + scale B A, by peft's own merging.

    The same numbers as `merge_and_unload()` gives, rounded to the base's dtype; the base alone where the adapters are
    switched off. The layer is copied for it, and left as it is.

    Raises:
        UserError: peft cannot merge this kind of adapter, or the base is quantised or not in memory.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    assert isinstance(layer, BaseTunerLayer)
    stored = layer.get_base_layer().get_parameter(name)
    if stored.is_meta or not stored.is_floating_point():
        raise UserError(
            "an adapter is on weights that are quantised or not in memory: load the model in 16 or 32 bits, and merge "
            "the adapter with model.merge_and_unload() before weights are measured"
        )
    try:
        with torch.no_grad():
            its_own: BaseTunerLayer = copy.deepcopy(layer)
            if layer.disable_adapters and layer.merged:
                its_own.unmerge()
            elif not layer.disable_adapters and {*layer.active_adapters} - {*layer.merged_adapters}:
                its_own.merge()
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(
            f"an adapter ({type(layer).__module__}) cannot be merged with its weights "
            f"({error or type(error).__name__}): leave weight probes out, or measure the model without it "
            f"(model.get_base_model())"
        ) from error
    return its_own.get_base_layer().get_parameter(name)
