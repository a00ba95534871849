"""Weight files on this machine, one by one: what they hold, and one tensor at a time. Memory-mapped."""

import math
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._safetensors_header import DTYPES, POINTER

_DAMAGE = (
    *(SafetensorError, RuntimeError, OSError, EOFError, pickle.UnpicklingError),
    *(ValueError, KeyError, TypeError, AttributeError),  # of an index that is no index
)


class Listed(NamedTuple):
    """What a file says of a tensor before it is read."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * torch.empty(0, dtype=self.dtype).element_size()


@runtime_checkable
class WeightFile(Protocol):
    """One file with tensors, here or on the Hub."""

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        ...

    @property
    def bytes_read(self) -> int:
        """Bytes that were asked for so far; on the Hub, those that came over the wire."""
        ...

    def listed(self) -> Mapping[str, Listed]:
        """The tensors that it holds."""
        ...

    def read(self, name: str) -> Tensor:
        """One tensor as stored."""
        ...


class LocalFile:
    """A safetensors or `.bin` file on this machine."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet."""
        self.path = path
        self.name = path.name
        self.bytes_read = 0
        self._kept: Any = None

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Opens the file once for all tensors that are read inside the context, and maps it into memory as a whole.

        Raises:
            UserError: as for `listed`.
        """
        if self.path.suffix != ".safetensors":  # `.bin` files are opened once anyway
            yield
            return
        with damage_named(self.path):
            file = safe_open(self.path, framework="pt")
        with file as self._kept:
            try:
                yield
            finally:
                self._kept = None

    def listed(self) -> Mapping[str, Listed]:
        """The tensors that it holds.

        Raises:
            UserError: it is damaged, truncated, or holds code.
        """
        return self._listed

    def read(self, name: str) -> Tensor:
        """One tensor as stored.

        Raises:
            UserError: as for `listed`.
        """
        with damage_named(self.path):
            if self.path.suffix == ".safetensors":
                with nullcontext(self._kept) if self._kept else safe_open(self.path, framework="pt") as file:
                    tensor: Tensor = file.get_tensor(name)
            else:
                tensor = self._bin[name]
        self.bytes_read += tensor.nbytes
        return tensor

    @cached_property
    def _listed(self) -> dict[str, Listed]:
        with damage_named(self.path):
            with self.path.open("rb") as file:
                if file.read(len(POINTER)) == POINTER:
                    raise ValueError("it is a Git LFS pointer in place of the weights, see `git lfs pull`")
            if self.path.suffix != ".safetensors":
                return {name: Listed(tensor.dtype, tuple(tensor.shape)) for name, tensor in self._bin.items()}
            with safe_open(self.path, framework="pt") as file:
                parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                return {name: Listed(DTYPES[part.get_dtype()], tuple(part.get_shape())) for name, part in parts.items()}

    @cached_property
    def _bin(self) -> dict[str, Tensor]:
        # Files from before torch 1.6 are no zip archives and cannot be memory-mapped.
        mapped = zipfile.is_zipfile(self.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of odd pickles: what is wrong with one is an error anyway
            loaded = torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
        return {name: tensor for name, tensor in loaded.items() if isinstance(tensor, Tensor)}


@contextmanager
def damage_named(file: Path | str, mend: str = "copy or download it again") -> Iterator[None]:
    """Turns whatever a damaged file raises into one line that names it."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, PermissionError):
            raise UserError(f"{file} cannot be read: permission denied") from error
        if isinstance(error, pickle.UnpicklingError) and "eights only load failed" in str(error):
            raise UserError(
                f"{file} holds pickled code beside its tensors, or is damaged; such code is never run: convert the "
                f"checkpoint to safetensors where it was made"
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{file} is damaged or truncated ({reason}): {mend}") from error
