"""Numbers for a page: what is shown of them, in an order that compresses, under one JSON index."""

import base64
import gzip
import json
from collections.abc import Hashable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt32

_DROPPED = {"values": 0, "errors": 7}
"""Bits that are left out of the upper half of a float64, with all of the lower half: 20 and 13 binary digits stay."""


class Pack:
    """Collects arrays and gives each the place where a page finds it.

    Neighbours in a series differ little. So a number is cut to the digits that are shown, written as a whole number
    that orders all of them (0 is none, 2^31 in the upper half is 0.0), and stored as its difference from the one
    before it.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, list[np.ndarray]] = {kind: [] for kind in _DROPPED}
        self._sizes = dict.fromkeys(_DROPPED, 0)

    def values(self, numbers: Float[np.ndarray, "checkpoints places"]) -> int:
        """Adds numbers of which six digits are kept; returns where they begin, place after place."""
        return self._add("values", numbers)

    def errors(self, numbers: Float[np.ndarray, "checkpoints places"]) -> int:
        """Adds numbers of which four digits are kept."""
        return self._add("errors", numbers)

    def _add(self, kind: str, numbers: Float[np.ndarray, "..."]) -> int:
        start = self._sizes[kind]
        self._arrays[kind].append(shortened(numbers.T.reshape(-1), _DROPPED[kind]))
        self._sizes[kind] += numbers.size
        return start

    def text(self, index: dict[str, Any]) -> str:
        """Index and numbers as base64 of gzip: four bytes with the index's length, the index, then all numbers."""
        whole = index | {"packed": [[kind, size, _DROPPED[kind]] for kind, size in self._sizes.items()]}
        said = json.dumps(whole, separators=(",", ":"), allow_nan=False, default=np.generic.item).encode()
        parts = [len(said).to_bytes(4, "little"), said, *map(_planes, self._arrays.values())]
        return compressed(b"".join(parts))


def shortened(numbers: Float[np.ndarray, " k"], dropped: int) -> UInt32[np.ndarray, " k"]:
    """Numbers as whole numbers in the same order, rounded to 20 - `dropped` binary digits after the first."""
    bits = np.ascontiguousarray(numbers, dtype="<f8").view("<u8")
    magnitude, middle = bits & np.uint64(2**63 - 1), np.uint64(2**63)
    ordered = np.where(bits >= middle, middle - magnitude, middle + magnitude)
    rounded = (ordered + np.uint64(1 << (31 + dropped))) >> np.uint64(32 + dropped)
    return np.where(np.isnan(numbers), np.uint64(0), rounded).astype("<u4")


def _planes(arrays: list[np.ndarray]) -> bytes:
    """Differences with their sign in the last bit: all first bytes, then all second bytes, ..., the upper mostly 0."""
    together = np.concatenate([np.zeros(1, dtype="<u4"), *arrays])
    steps = np.diff(together).view("<i4")  # modulo 2^32
    folded = ((steps << 1) ^ (steps >> 31)).view("<u4")
    return folded.view(np.uint8).reshape(len(folded), 4).T.tobytes()


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
