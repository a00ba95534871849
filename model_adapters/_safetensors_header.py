"""The header of a safetensors file: which tensor is where."""

import json
import math
from typing import Any

import torch

from lm_probe.model_adapters._stored import Stored

LENGTH = 8
"""Bytes before the header: its length, little-endian."""
POINTER = b"version "
"""How a Git LFS pointer begins, the text that git keeps in place of a large file: as long as a `LENGTH`."""
_LONGEST = 100_000_000  # what the safetensors library takes

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def header_length(first: bytes, size: int) -> int:
    """The header's length, from the first eight bytes of a file of `size` bytes.

    Raises:
        ValueError: the file cannot hold such a header.
    """
    if first == POINTER:
        raise ValueError("it is a Git LFS pointer in place of the weights")
    length = int.from_bytes(first, "little")
    if len(first) != LENGTH or not 2 <= length <= min(_LONGEST, size - LENGTH):
        raise ValueError(f"its header would be {length} bytes long, the file has {size}")
    return length


def parse_header(header: bytes, size: int) -> dict[str, Stored]:
    """The tensors of a file of `size` bytes.

    Raises:
        ValueError: the header is no JSON, or does not account for every byte of the file.
    """
    listed = json.loads(header)
    if not isinstance(listed, dict):
        raise ValueError("its header is no JSON object")
    listed.pop("__metadata__", None)
    begin = LENGTH + len(header)
    try:
        found = {name: _stored(entry, begin) for name, entry in listed.items()}
    except (TypeError, KeyError) as error:
        raise ValueError(f"its header has an odd entry ({type(error).__name__}: {error})") from error
    end = begin
    for name, stored in sorted(found.items(), key=lambda item: (item[1].start, item[1].stop)):
        if stored.start != end or stored.stop < stored.start:
            raise ValueError(f"{name} begins at byte {stored.start} and not at {end}")
        end = stored.stop
    if end != size:
        raise ValueError(f"its tensors end at byte {end}, the file at {size}")
    return found


def _stored(entry: dict[str, Any], begin: int) -> Stored:
    dtype, shape = DTYPES[entry["dtype"]], tuple(int(length) for length in entry["shape"])
    first, last = (int(offset) for offset in entry["data_offsets"])
    if min(shape, default=0) < 0 or math.prod(shape) * torch.empty(0, dtype=dtype).element_size() != last - first:
        raise ValueError(f"{last - first} bytes do not hold {shape} of {entry['dtype']}")
    return Stored(dtype, shape, begin + first, begin + last)
