"""A server that is busy or away: whether to ask again, how often, and after which pause."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from email.utils import parsedate_to_datetime
from itertools import count
from json import JSONDecodeError
from re import search
from threading import Timer
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from lm_probe.model_adapters._errors import in_short
from lm_probe.model_adapters._notices import notice

TRIES = 6
"""Attempts in a row that may bring nothing before something is given up."""
_LONGEST = 300.0  # seconds: the Hub counts requests in windows of five minutes
_LONG = 10.0  # seconds that are worth a line of their own
_SLOW = 1.5  # seconds after which nobody should wonder what is going on
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


def endpoint() -> str:
    """Who is asked, in words."""
    return os.environ.get("HF_ENDPOINT", "the Hub")


def wait(attempt: int, error: BaseException | None, what: str) -> None:
    """Sleeps before another attempt: as long as the server asks, and longer after each attempt (counted from 1).

    A part of it is drawn at random: workers that were turned away together do not come back together. Why is told
    after the first attempt, and wherever the server asks for much time.

    Args:
        attempt: how many have brought nothing.
        error: what came of the last one.
        what: was asked for.
    """
    asked, own = _asked_to_wait(error), _own_pause(attempt)
    again = f"{what}: {endpoint()} is away or busy ({in_short(error)}): it is asked again"
    if asked > _LONG:
        notice(f"{again} in {asked:.0f} s, as it says, and {TRIES - attempt} more times at most")
    elif attempt == 1:
        whole = sum(map(_own_pause, range(1, TRIES)))
        notice(f"{again}, {TRIES - 1} times at most, with pauses of up to {whole:.0f} s in all")
    time.sleep(asked + own * _chance.uniform(0.5, 1.0))


def patiently(
    call: Callable[[], T],
    what: str,
    *,
    unless: Callable[[], bool] = lambda: False,
    at_once: bool = True,
    unanswered: int = TRIES,
) -> T:
    """What `call` gives, asked again up to `TRIES` times while the server is busy or away.

    Args:
        call: asks the server.
        what: is asked for, in words for who waits.
        unless: whether one can do without its answer, so that nobody need wait.
        at_once: whether an answer that takes seconds is worth a word; not of what is downloaded.
        unanswered: attempts in a row that may meet nobody; a busy server's answer gives it `TRIES`.

    Raises:
        Exception: what `call` raised last.
    """
    for attempt in count(1):
        try:
            with _told_if_slow(what, unanswered) if at_once and attempt == 1 else nullcontext():
                return call()
        except TRANSPORT as error:
            tries = unanswered if getattr(error, "response", None) is None else TRIES
            if attempt >= tries or not may_pass(error) or unless():
                raise
            wait(attempt, error, what)
    raise AssertionError("unreachable")


@contextmanager
def _told_if_slow(what: str, tries: int) -> Iterator[None]:
    """Says so where the block takes longer than an answer should: a network that swallows what it is sent is silent."""
    often = "once" if tries == 1 else f"{tries} times at most"
    line = f"{what}: waiting for an answer from {endpoint()}, which is asked {often}"
    timer = Timer(_SLOW, notice, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _own_pause(attempt: int) -> float:
    return min(8.0, 2.0 ** (attempt - 1))


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
