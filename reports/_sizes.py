"""How large each model is."""

import re
from typing import NamedTuple

from lm_probe.reports._data import RunData

_NAMED = re.compile(r"(?<![a-z0-9])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])")


class Size(NamedTuple):
    """Parameters of a model, both embeddings included."""

    parameters: float
    counted: bool
    """False where only the model's name says so (`pythia-70m`), in round numbers."""


def sizes(data: RunData) -> dict[str, Size]:
    """The models whose size is known, smallest first: counted when they were measured, else as named."""
    found = {}
    for model in data.models:
        if size := _named(model):
            found[model] = size
    for made in data.made:
        if isinstance(count := made.details.get("parameters"), int):
            found[made.checkpoint.model] = Size(float(count), True)
    return dict(sorted(found.items(), key=lambda one: (one[1].parameters, one[0])))


def _named(model: str) -> Size | None:
    found = _NAMED.search(model.lower())
    return Size(float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]], False) if found else None
