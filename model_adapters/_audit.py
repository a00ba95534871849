"""What a checkpoint's headers say against its config: tensors that are missing, or of another shape."""

from collections.abc import Iterator

import torch
from transformers import AutoModelForCausalLM

from lm_probe.model_adapters._architecture import architecture_of
from lm_probe.model_adapters._config import load_config
from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._weights import Weights


def misfits(weights: Weights) -> Iterator[str]:
    """One line for each tensor of head, embedding and projections that is missing or does not fit `config.json`.

    Reads headers alone; what the config asks for comes from a model without numbers.

    Raises:
        UserError: the config or the files cannot be read.
    """
    try:
        with torch.device("meta"):
            wanted = architecture_of(AutoModelForCausalLM.from_config(load_config(weights.folder)))
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"config.json makes no model ({str(error).splitlines()[0][:160]})") from error
    stored = weights.listed()
    try:
        weights.embedding_name()
    except UserError as error:
        yield str(error)
    for name in weights.names_for(head=True, projections=False):
        head = wanted.head_weight if name in weights.head_keys else wanted.embedding_weight
        if stored[name].shape != tuple(head.shape):
            yield f"{name} is {_shape(stored[name].shape)} in the file and {_shape(head.shape)} by config.json"
    for block in range(weights.layers):
        for role in weights.roles:
            try:
                name = weights.projection_name(role, block)
            except UserError as error:
                yield str(error)
                continue
            held, asked = stored[name].shape, tuple(wanted.projection(role, block).shape)
            try:
                cut = tuple(weights.cut(role, torch.empty(held, device="meta")).shape)
            except (RuntimeError, IndexError):
                cut = held
            if cut != asked:
                yield f"{name} is {_shape(held)} in the file; {role} should be {_shape(asked)} by config.json"
    beyond = sorted(name for name in stored if weights.block_of(name) >= weights.layers)
    if beyond:
        yield f"{len(beyond)} tensors are of blocks that config.json does not ask for, first {beyond[0]}"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
