"""The progress bar of a sweep: which checkpoint, which probe, and the time left."""

import sys
from types import TracebackType

from tqdm import tqdm

from lm_probe.model_adapters import printable


class Progress:
    """Counts pieces of work; what was finished before is told at once and left out of the estimate."""

    def __init__(self, total: int, *, silent: bool = False) -> None:
        """Shows a bar of `total` pieces on stderr."""
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            unit="probe",
            disable=silent,
            dynamic_ncols=True,
            mininterval=0.1 if on_terminal else 15.0,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]",
        )

    def now(self, checkpoint: str, doing: str) -> None:
        """Says what is being worked on."""
        self._bar.set_description(printable(f"{checkpoint} · {doing}"), refresh=False)
        self._bar.refresh() if sys.stderr.isatty() else self._bar.update(0)

    def done(self, pieces: int = 1) -> None:
        """Counts finished pieces."""
        self._bar.update(pieces)

    def skip(self, pieces: int) -> None:
        """Counts pieces that were finished before."""
        if not self._bar.disable:
            self._bar.initial += pieces
        self._bar.update(pieces)

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self._bar.write(printable(line), file=sys.stderr)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.close()
