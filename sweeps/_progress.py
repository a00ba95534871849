"""The progress of a sweep: which checkpoint, which probe, and the time left."""

import os
import sys
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

from lm_probe.model_adapters import printable
from lm_probe.sweeps._log_lines import LogLines
from lm_probe.sweeps._pace import Pace


class _Bar(tqdm):  # type: ignore[type-arg]
    """A bar whose time left is told by the pace."""

    pace: Pace | None = None

    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        """What a bar shows; a rate of 0 gives no time left."""
        shown: MutableMapping[str, Any] = super().format_dict
        return shown if self.pace is None else {**shown, "rate": self.pace.rate}


class Progress:
    """Counts pieces of work; what was finished before is told at once and left out of the estimate.

    On a terminal it is a bar, and where stderr goes to a file, or the terminal tells no width, a line now and then; see
    `LogLines`.
    """

    def __init__(self, total: int, *, unit: str = "measurement", silent: bool = False) -> None:
        """Shows the progress of `total` pieces, each a `unit`, on stderr."""
        watched = takes_bars()
        self._pace = Pace()
        self._bar = _Bar(
            total=total,
            disable=silent or not watched,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]",
        )
        self._bar.pace = self._pace
        self._log = None if silent or watched else LogLines(total, unit, self._pace, self.say)

    def begin(self, at_once: int = 0) -> None:
        """The work itself begins: the time before it says nothing of the time left.

        Args:
            at_once: pieces that are at work side by side; see `Pace`.
        """
        self._pace.begin(at_once)

    def now(self, part: str, doing: str) -> None:
        """Says what is being worked on: a checkpoint, and what is done with it."""
        what = f"{part} · {doing}"
        self._bar.set_description(printable(what))
        if self._log is not None:
            self._log.now(what)

    def done(self, pieces: int = 1) -> None:
        """Counts finished pieces."""
        self._pace.add(pieces)
        self._bar.update(pieces)
        if self._log is not None:
            self._log.add(pieces)

    def skip(self, pieces: int) -> None:
        """Counts pieces that were finished before."""
        if not self._bar.disable:
            self._bar.initial += pieces
        self._bar.update(pieces)
        if self._log is not None:
            self._log.add(pieces, before=True)

    def leave(self, part: str) -> None:
        """Ends a checkpoint."""
        if self._log is not None:
            self._log.leave(part)

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._bar.write(printable(line), file=sys.stderr)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.close()


def takes_bars() -> bool:
    """Whether stderr is a terminal and a bar on it would be seen: one that nobody gave a size has 0 columns."""
    if not sys.stderr.isatty():
        return False
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):  # it does not say, and tqdm draws a short bar
        return True
