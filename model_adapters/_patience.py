"""A server that is busy or away: whether to ask again, how often, and after which pause."""

import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from itertools import count
from json import JSONDecodeError
from re import search
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

TRIES = 6
"""Attempts in a row that may bring nothing before something is given up."""
_LONGEST = 300.0  # seconds: the Hub counts requests in windows of five minutes
_BUSY = (408, 429, 500, 502, 503, 504)
_chance = random.SystemRandom()  # no seed of an experiment may make workers wait alike, nor be used up here

T = TypeVar("T")

# huggingface_hub raises its HTTP library's errors as they are, and that library changed between versions.
TRANSPORT: tuple[type[Exception], ...] = (
    OSError,
    JSONDecodeError,  # a listing that was cut short, or a page of something between this machine and the Hub
    *(kind for kind in HfHubHTTPError.__mro__ if issubclass(kind, Exception) and kind.__name__ == "HTTPError"),
)


def may_pass(error: BaseException | None) -> bool:
    """Whether asking again may help: the server is busy, nobody answers, or what came was cut short."""
    if isinstance(error, OfflineModeIsEnabled):
        return False
    answer = getattr(error, "response", None)
    if answer is not None:
        return answer.status_code in _BUSY
    if isinstance(error, LocalEntryNotFoundError):  # what huggingface_hub makes of the error that it met
        return may_pass(error.__cause__)
    of_this_machine = (
        isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError | TimeoutError)
    )
    return isinstance(error, TRANSPORT) and not of_this_machine


def wait(attempt: int, error: BaseException | None = None) -> None:
    """Sleeps before another attempt: as long as the server asks, and longer after each attempt (counted from 1).

    A part of it is drawn at random: workers that were turned away together do not come back together.
    """
    time.sleep(_asked_to_wait(error) + min(8.0, 2.0 ** (attempt - 1)) * _chance.uniform(0.5, 1.0))


def patiently(call: Callable[[], T], *, unless: Callable[[], bool] = lambda: False) -> T:
    """What `call` gives, asked again up to `TRIES` times while the server is busy or away.

    Args:
        call: asks the server.
        unless: whether one can do without its answer, so that nobody need wait.

    Raises:
        Exception: what `call` raised last.
    """
    for attempt in count(1):
        try:
            return call()
        except TRANSPORT as error:
            if attempt == TRIES or not may_pass(error) or unless():
                raise
            wait(attempt, error)
    raise AssertionError("unreachable")


def _asked_to_wait(error: BaseException | None) -> float:
    """Seconds that a server's answer asks for: `Retry-After` in either form, or the Hub's own `RateLimit`."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        return _asked_to_wait(error.__cause__) if error is not None and error.__cause__ is not None else 0.0
    said = headers.get("Retry-After", "")
    seconds = float(said) if said.isdigit() else 0.0
    if said and not said.isdigit():
        try:  # a date; by the server's clock, whatever this machine's says
            until, now = parsedate_to_datetime(said), parsedate_to_datetime(headers.get("Date", ""))
            seconds = (until - now).total_seconds()
        except (ValueError, TypeError):
            seconds = 0.0
    elif not said and (window := search(r"\br=0\b.*\bt=(\d+)", headers.get("RateLimit", ""))):
        seconds = float(window[1])
    return min(_LONGEST, max(0.0, seconds))
