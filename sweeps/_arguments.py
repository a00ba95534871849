"""How the command line says what a measurement was asked with."""

import json
from collections.abc import Mapping
from typing import Any

# What a checkpoint says of itself (its tokenizer, the first of its series) is no setting.
_ARGUMENTS = {
    "tokens": "--tokens {}",
    "context": "--context {}",
    "task_documents": "--task-documents {}",
    "seed": "--seed {}",
    "dtype": "--dtype {}",
    "control": "control {}",
}
_OTHERWISE = {
    "text": "another --text",
    "reference": "another --reference",
    "asks": "other documents, --metadata or versions of a task",
}


def arguments_of(config: Mapping[str, Any], *, seed: int | None = None, documents: int | None = None) -> str:
    """The settings of a measurement's configuration that can be said as they are typed.

    A configuration keeps a text, a reference and what a task asks as hashes alone.

    Args:
        config: what was asked.
        seed: recorded with the measurement; said of a task, whose configuration hashes it.
        documents: likewise, the number of a task's documents; None where the task's own number was asked for.
    """
    if "asks" in config:
        config = {**config, "seed": seed, "task_documents": documents}
    said = [_said(key, config) for key in _ARGUMENTS if config.get(key) is not None]
    options = config.get("options")
    return " ".join([*said, *([f"--metadata '{json.dumps(options)}'"] if isinstance(options, Mapping) else [])])


def differences(held: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """How what is held was asked for otherwise than what is asked now."""
    said = [_said(key, held) for key in _ARGUMENTS if key in held and key in asked and held[key] != asked[key]]
    return said + [
        words if key in held else words.replace("another", "no")
        for key, words in _OTHERWISE.items()
        if held.get(key) != asked.get(key)
    ]


def _said(key: str, config: Mapping[str, Any]) -> str:
    return "the default --context" if key == "context" and config[key] is None else _ARGUMENTS[key].format(config[key])
