"""What somebody who waits should know, and who shows it: stderr, or whoever has a bar there."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lm_probe.model_adapters._say import Say, say_on_stderr

_takers: list[Say] = [say_on_stderr]  # of the whole process: what is fetched ahead waits in a thread of its own


def notice(line: str) -> None:
    """Shows a line."""
    _takers[-1](line)


@contextmanager
def notices_to(say: Say) -> Iterator[None]:
    """Within the block notices go there, and what huggingface_hub would print across a bar too.

    Handlers of other kinds (a user's log file) stay where they are.
    """
    logger, ours = logging.getLogger("huggingface_hub"), _Handler()
    printing = [handler for handler in logger.handlers if type(handler) is logging.StreamHandler]
    _takers.append(say)
    _exchange(logger, printing, [ours])
    try:
        yield
    finally:
        _exchange(logger, [ours], printing)
        _takers.remove(say)


def _exchange(logger: logging.Logger, old: Sequence[logging.Handler], new: Sequence[logging.Handler]) -> None:
    logger.handlers[:] = [handler for handler in logger.handlers if handler not in old] + [*new]


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            notice(f"huggingface_hub: {record.getMessage()}")
        except Exception:  # a line that cannot be shown ends nobody's download
            self.handleError(record)
