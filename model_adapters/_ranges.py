"""Parts of a file on the Hub, by HTTP range, through huggingface_hub's own session and token."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from huggingface_hub import constants, utils

from lm_probe.model_adapters._patience import TRANSPORT, TRIES, may_pass, wait

_UTILS: Any = utils  # it documents what is used here, and does not export it to type checkers
_CHUNK = 1 << 12  # what a broken transfer loses; later clients hand on whatever has come
_SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class RangesIgnored(Exception):
    """The server sends the whole file where a part is asked for."""


class BadTransfer(Exception):
    """What arrives is not what was asked for, however often it is asked."""


class _Interrupted(Exception):
    pass


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class RemoteBytes:
    """One file on the Hub, read in parts."""

    def __init__(self, url: str, size: int, name: str) -> None:
        """Asks nothing yet; `size` is the length that the Hub lists, `name` what people call it, repository and all."""
        self.url = url
        self.name = name
        self.size = size
        self.bytes_read = 0
        """Bytes of file content that came over the wire, those of broken attempts included."""

    def read(self, start: int, stop: int, write: Callable[[bytes], object]) -> None:
        """Hands the bytes from `start` up to `stop` to `write`, in order.

        A transfer that breaks off, or that a busy server refuses, goes on where it stopped, after a pause that grows
        while nothing arrives.

        Raises:
            RangesIgnored: the server knows no ranges.
            BadTransfer: after several attempts bytes are missing, or others than those that were asked for.
            HfHubHTTPError: the Hub refuses.
        """
        attempts = 0
        while start < stop:
            before, problem = start, _Interrupted("it ended early")
            try:
                for chunk in self._received(start, stop):
                    write(chunk)
                    start += len(chunk)
            except _Interrupted as error:
                problem = error
            attempts = 0 if start > before else attempts + 1
            if attempts == TRIES:
                reason = " ".join(str(problem).split())[:200]
                raise BadTransfer(f"{stop - start} bytes from {start} on do not arrive: {reason}") from problem
            if attempts:
                wait(attempts, problem, self.name)

    def _received(self, start: int, stop: int) -> Iterator[bytes]:
        """What one request brings, never more than was asked for."""
        left = stop - start
        try:
            with _request(self.url, start, stop) as answer:
                self._check(answer, start, stop)
                for chunk in answer.chunks:
                    self.bytes_read += len(chunk)
                    if chunk[:left]:
                        yield chunk[:left]
                    left -= len(chunk[:left])
                    if len(chunk) > len(chunk[:left]) and not left:
                        return
        except TRANSPORT as error:
            if not may_pass(error):
                raise
            raise _Interrupted(str(error) or type(error).__name__) from error

    def _check(self, answer: _Answer, start: int, stop: int) -> None:
        if answer.status == 200:
            raise RangesIgnored(self.url)
        said = answer.headers.get("Content-Range", "")
        found = _SPAN.fullmatch(said)
        if answer.status != 206 or found is None:
            raise _Interrupted(f"the answer is {answer.status} with Content-Range '{said}'")
        if (int(found[1]), int(found[2]) + 1) != (start, stop):
            raise _Interrupted(f"asked for bytes {start}-{stop - 1}, got '{said}'")
        if found[3] not in ("*", str(self.size)):
            raise _Interrupted(f"the Hub lists {self.size} bytes, the server has {found[3]}")
        length = answer.headers.get("Content-Length")
        if length not in (None, str(stop - start)):
            raise _Interrupted(f"asked for {stop - start} bytes, the server announces {length}")
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise _Interrupted(f"asked for plain bytes, got {answer.headers['Content-Encoding']}")


@contextmanager
def _request(url: str, start: int, stop: int) -> Iterator[_Answer]:
    asked: dict[str, Any] = {
        # A compressed answer has other bytes, and some servers then forget the range.
        "headers": {**_UTILS.build_hf_headers(), "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
        "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT,
        "retry_on_exceptions": (),
        "retry_on_status_codes": (),
    }
    if hasattr(_UTILS, "http_stream_backoff"):
        with _UTILS.http_stream_backoff("GET", url, **asked) as response:
            _refuse(response)
            yield _Answer(response.status_code, response.headers, response.iter_raw())
    else:  # huggingface_hub before 1.0
        with _UTILS.http_backoff("GET", url, stream=True, **asked) as response:
            _refuse(response)
            yield _Answer(response.status_code, response.headers, response.iter_content(_CHUNK))


def _refuse(response: Any) -> None:
    if response.status_code != 416:  # the file is shorter than the Hub lists: told by `_check`
        _UTILS.hf_raise_for_status(response)
