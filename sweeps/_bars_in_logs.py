"""Bars of other packages where nobody watches: whole lines in a log, as of a sweep; see `LogLines`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from lm_probe.sweeps._progress import takes_bars

_EVERY = 60.0  # seconds


@contextmanager
def bars_as_lines() -> Iterator[None]:
    """Lets every bar of tqdm say a line where it ends, and before that one a minute; on a terminal bars stay bars.

    All of tqdm's bars, also those that packages derive from them, draw themselves by one method, which is replaced.
    """
    if takes_bars():
        yield
        return
    drawn = tqdm.display
    tqdm.display = _say  # type: ignore[assignment]
    try:
        yield
    finally:
        tqdm.display = drawn  # type: ignore[method-assign]


def _say(bar: Any, msg: str | None = None, pos: int | None = None) -> None:
    """In place of `tqdm.display`, which is called after each `mininterval`, with an empty `msg` to wipe a bar away."""
    shown = bar.format_dict
    took, ends = shown["elapsed"], bar.disable  # `close` sets that before it draws, and ends the line after it
    if msg == "" or not (ends or took - getattr(bar, "told_at", 0.0) >= _EVERY):
        return
    bar.told_at = took
    left = ((bar.total or 0) - bar.n) / bar.n * took if bar.n else 0.0
    estimate = "" if ends or left <= 0 else f", about {tqdm.format_interval(left)} left"
    of = f" of {_amount(bar, bar.total)}" if bar.total else ""
    what = f"{prefix}: " if (prefix := shown["prefix"].removesuffix(": ")) else ""
    bar.fp.write(f"{what}{_amount(bar, bar.n)}{of} in {tqdm.format_interval(took)}{estimate}")
    bar.fp.write("" if ends else "\n")
    bar.fp.flush()


def _amount(bar: Any, pieces: float) -> str:
    return f"{tqdm.format_sizeof(pieces, divisor=bar.unit_divisor)}{bar.unit}" if bar.unit_scale else f"{pieces:,}"
