"""The directory of a `.bin` file (`torch.save`, since torch 1.6 a zip archive): which tensor is where.

The pickle inside is read by an unpickler that knows tensors and nothing else: it calls no function of torch, and
refuses every other name. What it refuses is left to `torch.load(weights_only=True)` and a whole download.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from lm_probe.model_adapters._stored import Stored, record_content

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class NotPlain(Exception):
    """The file is no archive, or holds more than tensors: its parts cannot be told apart from outside."""


class _Storage(NamedTuple):
    dtype: torch.dtype
    key: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_directory(file: io.RawIOBase, fetch: Callable[[int, int], bytes]) -> dict[str, Stored]:
    """The tensors of a `.bin` file.

    Args:
        file: the file, seekable; only the zip directory is read from it.
        fetch: gives the bytes from a start up to a stop.

    Raises:
        NotPlain: it is no zip archive, or holds more than tensors.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
            ends = [*(info.header_offset for info in infos[1:]), archive.start_dir]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise NotPlain("it is no zip archive") from error
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise NotPlain("it is compressed")
    # Records lie in a folder that is named after the file.
    spans = {
        info.filename.partition("/")[2]: (info.header_offset, end, info.file_size)
        for info, end in zip(infos, ends, strict=True)
    }
    if "data.pkl" not in spans:
        raise NotPlain("it holds no data.pkl")
    if "byteorder" in spans and _content(spans["byteorder"], fetch) != b"little":
        raise NotPlain("its numbers are not little-endian")
    try:
        content = _Tensors(io.BytesIO(_content(spans["data.pkl"], fetch))).load()
        return {name: _stored(tensor, spans) for name, tensor in content.items() if isinstance(tensor, _Tensor)}
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, AttributeError, IndexError, EOFError) as error:
        raise NotPlain(f"it holds more than tensors ({error})") from error


def _content(span: tuple[int, int, int], fetch: Callable[[int, int], bytes]) -> bytes:
    start, stop, length = span
    record = fetch(start, stop)
    begin = record_content(record)
    return record[begin : begin + length]


def _stored(tensor: _Tensor, spans: dict[str, tuple[int, int, int]]) -> Stored:
    storage, offset, shape, stride = tensor
    start, stop, length = spans[f"data/{storage.key}"]
    size = torch.empty(0, dtype=storage.dtype).element_size()
    if min((offset, *shape, *stride)) < 0 or len(shape) != len(stride):
        raise ValueError("a tensor has a negative shape")
    reach = offset + 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if math.prod(shape) and reach * size > length:
        raise ValueError("a tensor reaches beyond its record")
    return Stored(storage.dtype, shape, start, stop, stride, offset, in_zip=True)


class _Tensors(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("an odd storage")
        return _Storage(dtype, str(key))


def _rebuilt(storage: _Storage, offset: int, shape: Any, stride: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor
