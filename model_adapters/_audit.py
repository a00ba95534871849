"""What a checkpoint's headers say against its config: parameters that are missing, or of another shape."""

from collections.abc import Iterator, Sequence

import torch
from transformers import AutoModelForCausalLM

from lm_probe.model_adapters._architecture import architecture_of
from lm_probe.model_adapters._config import load_config
from lm_probe.model_adapters._errors import UserError, in_short
from lm_probe.model_adapters._say import counted
from lm_probe.model_adapters._weights import Weights


def misfits(weights: Weights) -> Iterator[str]:
    """One line for each kind of parameter that is missing or does not fit `config.json`, with the first of them.

    Reads headers alone; what the config asks for comes from a model without numbers.

    Raises:
        UserError: the config or the files cannot be read, or no adapter covers the architecture.
    """
    try:
        with torch.device("meta"):
            wanted = AutoModelForCausalLM.from_config(load_config(weights.folder))
            architecture_of(wanted)
    except UserError:
        raise
    except Exception as error:  # each family has its own for a number or a name that it cannot take
        named = "" if isinstance(error, RuntimeError | ValueError) else f"{type(error).__name__}: "
        raise UserError(f"config.json makes no model ({named}{in_short(error)}): copy the checkpoint again") from error
    stored = weights.listed()
    head = wanted.get_output_embeddings().weight
    missing, reshaped = [], []
    for name, parameter in wanted.named_parameters():
        asked = tuple(parameter.shape)
        # A checkpoint of the trunk alone (the Hub's GPT-2) leaves out the name under which the model holds its trunk.
        names = (name, name.partition(".")[2], *(weights.head_keys if parameter is head else ()))
        found = next((key for key in names if key in stored), None)
        if found is None:
            missing.append(name)
        elif stored[found].shape != asked:
            reshaped.append(f"{found} is {_shape(stored[found].shape)} in the file and {_shape(asked)} by config.json")
    if missing:
        yield _several("it lacks {} that config.json asks for", missing)
    if reshaped:
        yield reshaped[0] + (f", and {len(reshaped) - 1} more do not fit" if len(reshaped) > 1 else "")
    beyond = sorted(name for name in stored if weights.block_of(name) >= weights.layers)
    if beyond:
        yield _several("it holds {} of blocks that config.json does not ask for", beyond)


def _several(line: str, names: Sequence[str]) -> str:
    return f"{line.format(counted(len(names), 'tensor'))}, first {names[0]}"


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
