"""Progress where nobody watches: whole lines in a log, in place of a bar that is drawn over itself."""

import time
from collections.abc import Callable

from tqdm import tqdm

from lm_probe.sweeps._pace import Pace

_EVERY = 60.0  # seconds


class LogLines:
    """Says a line where a part is left, unless nothing of it was left to do, and beside these at most one a minute."""

    def __init__(self, total: int, unit: str, pace: Pace, say: Callable[[str], None]) -> None:
        """Says nothing yet.

        Args:
            total: pieces that there are.
            unit: what one is called.
            pace: at which they come.
            say: takes a line.
        """
        self._total, self._unit, self._pace, self._say = total, unit, pace, say
        self._begun = self._last = time.monotonic()
        self._done = self._told = 0
        self._what = ""

    def now(self, what: str) -> None:
        """Takes what is being worked on."""
        self._what = what
        self._after_long()

    def add(self, pieces: int, before: bool = False) -> None:
        """Counts pieces; those that were finished `before` are no news."""
        self._done += pieces
        if before:
            self._told += pieces
        self._after_long()

    def leave(self, what: str) -> None:
        """Ends a part, with a line where something was done since the last was left."""
        if self._done > self._told:
            self._told = self._done
            self._line(what)

    def _after_long(self) -> None:
        if time.monotonic() - self._last >= _EVERY:
            self._line(self._what)

    def _line(self, what: str) -> None:
        self._last = time.monotonic()
        left, rate = self._total - self._done, self._pace.rate
        estimate = f", about {tqdm.format_interval(left / rate)} left" if left and rate else ""
        took = tqdm.format_interval(self._last - self._begun)
        self._say(f"{self._done:,} of {self._total:,} {self._unit}s in {took}{estimate}: {what}")
