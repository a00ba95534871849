"""A weight file on the Hub: its directory and single tensors by byte range, each over the wire once."""

import io
import mmap
import tempfile
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO

from huggingface_hub import constants, hf_hub_url
from torch import Tensor

from lm_probe.model_adapters._blobs import HubFile, fetch, waited_for
from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._hub import FAILURES, explain
from lm_probe.model_adapters._ranges import BadTransfer, RangesIgnored, RemoteBytes
from lm_probe.model_adapters._safetensors_header import LENGTH, header_length, parse_header
from lm_probe.model_adapters._say import Say, say_on_stderr
from lm_probe.model_adapters._stored import Stored
from lm_probe.model_adapters._torch_zip import NotPlain, read_directory
from lm_probe.model_adapters._weight_files import Listed, LocalFile, damage_named

_TAIL = 1 << 14  # of a zip archive: its directory, where it lists up to about 200 tensors
_MEND = "upload it again, or leave this revision out"
_ALIGNED = 64  # torch begins the numbers of a record at such a place in the file


class RemoteFile:
    """One safetensors or `.bin` file of a commit. What was read stays in an unnamed temporary file, memory-mapped.

    A file whose parts cannot be read (a server without ranges, a `.bin` that is no zip archive or holds more than
    tensors) is downloaded into the Hub cache, after a notice of its size.
    """

    def __init__(self, repository: str, sha: str, file: HubFile, say: Say = say_on_stderr) -> None:
        """Asks nothing yet."""
        self._repository = repository
        self._sha = sha
        self._say = say
        self._listed_as = file
        self.name, self.size = file.name, file.size
        url, what = hf_hub_url(repository, file.name, revision=sha), waited_for(repository, sha, file.name)
        self._bytes = RemoteBytes(url, file.size, what)
        self._kept: dict[tuple[int, int], int] = {}
        """Where in the temporary file a part of this one is."""
        self._whole: LocalFile | None = None
        self._downloaded = 0

    @property
    def bytes_read(self) -> int:
        """Bytes of the file that came over the wire."""
        return self._bytes.bytes_read + self._downloaded

    def listed(self) -> Mapping[str, Listed]:
        """The tensors that it holds; reads the header alone.

        Raises:
            UserError: the file is damaged, or the Hub does not give it.
        """
        directory = self._directory
        if self._whole is not None:
            return self._whole.listed()
        return {name: Listed(stored.dtype, stored.shape) for name, stored in directory.items()}

    def read(self, name: str) -> Tensor:
        """One tensor as stored.

        Raises:
            UserError: as for `listed`.
        """
        directory = self._directory
        if self._whole is None:
            stored = directory[name]
            try:
                data = self._data(stored)
            except RangesIgnored:
                self._download("the server sends whole files only")
            else:
                with damage_named(f"{self._repository} {self.name}", _MEND):
                    return stored.tensor(data)
        assert self._whole is not None
        return self._whole.read(name)

    @cached_property
    def _directory(self) -> dict[str, Stored]:
        """Where each tensor is; empty where the whole file had to be downloaded."""
        try:
            with damage_named(f"{self._repository} {self.name}", _MEND):
                if self.name.endswith(".safetensors"):
                    length = header_length(self._part(0, min(LENGTH, self.size)), self.size)
                    return parse_header(self._part(LENGTH, LENGTH + length), self.size)
                if self.size and self._part(0, min(4, self.size)) != b"PK\3\4":
                    raise NotPlain("it is no zip archive")
                return read_directory(_Tail(self), self._part)
        except NotPlain as reason:
            self._download(str(reason))
        except RangesIgnored:
            self._download("the server sends whole files only")
        return {}

    def _part(self, start: int, stop: int) -> bytes:
        into = io.BytesIO()
        self._fetch(start, stop, into.write)
        return into.getvalue()

    def _data(self, stored: Stored) -> memoryview:
        """The bytes of a tensor, mapped anew each time: who changes a tensor changes no other's."""
        span, pad = (stored.start, stored.stop), stored.start % _ALIGNED if stored.in_zip else 0
        if span not in self._kept:
            try:
                begin = -(-self._file.seek(0, io.SEEK_END) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
                self._file.seek(begin + pad)
                self._fetch(*span, self._file.write)
                self._file.flush()
            except OSError as error:
                raise UserError(
                    f"{constants.HF_HUB_CACHE} does not take the {stored.stop - stored.start:,} bytes of a tensor of "
                    f"{self.name} ({error.strerror or error}): free some space, or set HF_HOME to another disk"
                ) from error
            self._kept[span] = begin
        length = pad + stored.stop - stored.start
        if length == pad:
            return memoryview(b"")
        mapped = mmap.mmap(self._file.fileno(), length, access=mmap.ACCESS_COPY, offset=self._kept[span])
        return memoryview(mapped)[pad:]

    @cached_property
    def _file(self) -> IO[bytes]:
        """Beside the Hub cache, where there is room for what comes from the Hub; without a name, so nothing stays."""
        Path(constants.HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=constants.HF_HUB_CACHE)  # noqa: SIM115  (closed with its reader)
        weakref.finalize(self, file.close)
        return file

    def _fetch(self, start: int, stop: int, write: Callable[[bytes], object]) -> None:
        try:
            self._bytes.read(start, stop, write)
        except BadTransfer as error:
            raise UserError(
                f"{self._repository} {self.name}: {error}: run it again, or check the network and the file"
            ) from error
        except FAILURES as error:
            if isinstance(error, OSError) and error.errno:  # of the disk: transfers that fail come as BadTransfer
                raise
            explain(error, self._repository, self._sha)

    def _download(self, reason: str) -> None:
        self._say(
            f"{self._repository} {self.name}: single tensors cannot be read ({reason}); downloading all of it, "
            f"{self.size / 1e6:,.1f} MB"
        )
        try:
            self._whole = LocalFile(fetch(self._repository, self._sha, self._listed_as))
        except FAILURES as error:
            explain(error, self._repository, self._sha)
        self._downloaded = self.size


class _Tail(io.RawIOBase):
    """A file on the Hub to seek in, for reading a zip archive's directory: its end comes in one piece."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._at = 0
        self._begin = max(0, file.size - _TAIL)
        self._tail = file._part(self._begin, file.size)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if self._at < 0:
            raise OSError("before the file's beginning")
        return self._at

    def read(self, length: int = -1) -> bytes:
        stop = self._file.size if length < 0 else min(self._at + length, self._file.size)
        start = self._at
        self._at = max(start, stop)
        if start >= stop:
            return b""
        if start >= self._begin:
            return self._tail[start - self._begin : stop - self._begin]
        return self._file._part(start, stop)
