"""Numbers for a page: arrays one behind the other, in an order that compresses, under one JSON index."""

import base64
import gzip
import json
from collections.abc import Hashable
from typing import Any

import numpy as np
from jaxtyping import Float


class Pack:
    """Collects arrays and gives each the place where a page finds it."""

    def __init__(self) -> None:
        self._arrays: dict[str, list[np.ndarray]] = {"<f8": [], "<f4": []}
        self._sizes = dict.fromkeys(self._arrays, 0)

    def exact(self, numbers: Float[np.ndarray, "..."]) -> int:
        """Adds numbers of which every bit counts; returns where they begin."""
        return self._add("<f8", numbers)

    def rough(self, numbers: Float[np.ndarray, "..."]) -> int:
        """Adds numbers that are drawn, or errors of others: seven digits are kept."""
        return self._add("<f4", numbers)

    def _add(self, kind: str, numbers: Float[np.ndarray, "..."]) -> int:
        start = self._sizes[kind]
        with np.errstate(over="ignore"):  # an error beyond 3e38 is infinite, which the page shows as none
            self._arrays[kind].append(np.ascontiguousarray(numbers, dtype=kind).reshape(-1))
        self._sizes[kind] += numbers.size
        return start

    def text(self, index: dict[str, Any]) -> str:
        """Index and numbers as base64 of gzip: four bytes with the index's length, the index, then both arrays."""
        whole = index | {"sizes": list(self._sizes.values())}
        said = json.dumps(whole, separators=(",", ":"), allow_nan=False, default=np.generic.item).encode()
        parts = [len(said).to_bytes(4, "little"), said, *(_planes(kind, found) for kind, found in self._arrays.items())]
        return compressed(b"".join(parts))


def _planes(kind: str, arrays: list[np.ndarray]) -> bytes:
    """First bytes of all numbers, then second bytes, ...: those that hold sign and exponent repeat each other."""
    together = np.concatenate([np.empty(0, dtype=kind), *arrays])
    return together.view(np.uint8).reshape(len(together), together.itemsize).T.tobytes()


def compressed(content: bytes) -> str:
    """Base64 of gzip, the same for the same content."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


class Numbered:
    """Different things in the order in which they first came, each known by its number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, thing: Hashable) -> int:
        """The number of a thing."""
        return self._numbers.setdefault(thing, len(self._numbers))

    @property
    def things(self) -> list[Any]:
        """All of them, in order."""
        return list(self._numbers)
