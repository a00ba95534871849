"""Where a tensor is in a weight file, and how to make it of the bytes found there."""

import math
import struct
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lm_probe.model_adapters._errors import in_short

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip record: signature, lengths of its name and of its extra field


class Stored(NamedTuple):
    """A tensor in a file: its type, and the bytes `start` up to `stop` that hold it."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int
    stride: tuple[int, ...] | None = None
    """Steps between neighbours, in numbers; None is row by row."""
    offset: int = 0
    """Numbers before the first."""
    in_zip: bool = False
    """Whether the bytes are a whole record of a zip archive, with the record's header before the numbers."""

    def tensor(self, data: Any) -> Tensor:
        """The tensor in `data`, the bytes from `start` to `stop`; shares their memory.

        Raises:
            ValueError: the bytes do not hold it.
        """
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=self.dtype)
        skip = record_content(data) if self.in_zip else 0
        try:
            numbers = torch.frombuffer(data, dtype=self.dtype, offset=skip, count=(len(data) - skip) // self._size)
            if self.stride is None:
                return numbers.reshape(self.shape)
            return numbers.as_strided(self.shape, self.stride, self.offset)
        except RuntimeError as error:
            raise ValueError(in_short(error)) from error

    @property
    def _size(self) -> int:
        return torch.empty(0, dtype=self.dtype).element_size()


def record_content(record: Any) -> int:
    """Where the content of an uncompressed zip record begins.

    Raises:
        ValueError: it is no such record.
    """
    if len(record) < 30:
        raise ValueError("a zip record is cut off")
    signature, name, extra = _LOCAL_HEADER.unpack_from(record)
    if signature != b"PK\3\4" or 30 + name + extra > len(record):
        raise ValueError("a zip record has no header")
    return int(30 + name + extra)
