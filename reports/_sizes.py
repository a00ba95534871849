"""How large a model is."""

import re
from typing import NamedTuple

_NAMED = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])")


class Size(NamedTuple):
    """Parameters of a model, both embeddings included."""

    parameters: float
    counted: bool
    """False where only the model's name says so (`pythia-70m`), in round numbers."""


def size_in_name(model: str) -> Size | None:
    """What a name says: 70m, 1.4b."""
    found = _NAMED.search(model.lower())
    return Size(float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]], counted=False) if found else None
