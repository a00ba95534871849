"""A checkpoint's `config.json`: as it is written, and as transformers understands it."""

import json
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from lm_probe.model_adapters._errors import UserError

_MOST_LAYERS = 10_000  # a damaged number would be built for days, until no memory is left


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint.

    Raises:
        UserError: it is missing, no JSON object, or asks for what nobody could build.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"{folder} has no config.json: give a folder that save_pretrained wrote, or a series of step<N> or "
            f"checkpoint-<N>"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): copy the checkpoint again") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a JSON object: copy the checkpoint again")
    for layers in map(config.get, ("num_hidden_layers", "n_layer")):
        if isinstance(layers, int) and layers > _MOST_LAYERS:
            raise UserError(f"{path} asks for {layers:,} layers: copy the checkpoint again")
    return config


def load_config(folder: Path) -> PretrainedConfig:
    """The configuration with the defaults of its family, where the file is silent.

    Raises:
        UserError: it is missing, no JSON object, or transformers cannot make sense of it.
    """
    written = read_config(folder)
    kind = written.get("model_type")
    if isinstance(kind, str) and kind not in CONFIG_MAPPING and "auto_map" not in written:
        raise UserError(
            f"{folder / 'config.json'} says model_type {kind!r}, which transformers {transformers.__version__} does "
            f"not know: copy the checkpoint again, or look whether a newer transformers does"
        )
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each version of transformers has its own for a field of the wrong type
        reason = " ".join(str(error).split())[:240] or type(error).__name__
        raise UserError(
            f"{folder / 'config.json'} is no configuration ({reason}): copy the checkpoint again"
        ) from error
    return config
