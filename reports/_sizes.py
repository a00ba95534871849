"""How large a model is."""

import re
from typing import NamedTuple

_NAMED = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])")

_ONWARD = re.compile(r"[-_.]?\d+(\.\d+)?[mb]?\b.*", re.IGNORECASE)


class Size(NamedTuple):
    """Parameters of a model, both embeddings included."""

    parameters: float
    counted: bool
    """False where only the model's name says so (`pythia-70m`), in round numbers."""


def size_in_name(model: str) -> Size | None:
    """What a name says: 70m, 1.4b."""
    found = _NAMED.search(model.lower())
    return Size(float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]], counted=False) if found else None


def family_in_name(model: str) -> str:
    """A name up to its size: `EleutherAI/pythia-70m` and `pythia-1.4b` are `pythia`."""
    return _ONWARD.sub("", model.rpartition("/")[2]) or model
