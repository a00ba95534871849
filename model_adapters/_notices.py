"""What somebody who waits should know, and who shows it: stderr, or whoever has a bar there."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lm_probe.model_adapters._say import Say, say_on_stderr

_takers: list[Say] = [say_on_stderr]  # of the whole process: what is fetched ahead waits in a thread of its own


def notice(line: str) -> None:
    """Shows a line."""
    _takers[-1](line)


@contextmanager
def notices_to(say: Say) -> Iterator[None]:
    """Within the block notices go there, and what huggingface_hub would print across a bar too."""
    logger, theirs = logging.getLogger("huggingface_hub"), _Handler()
    before = logger.handlers[:]
    _takers.append(say)
    logger.handlers[:] = [theirs]
    try:
        yield
    finally:
        logger.handlers[:] = before
        _takers.remove(say)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        notice(f"huggingface_hub: {record.getMessage()}")
