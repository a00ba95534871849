"""Loading through transformers without its reports, and its errors in one line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' load report and bars off the terminal; what matters in them is raised as an error."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def short(error: Exception) -> str:
    """The first line of what an error says, and where that announces a list, as many lines as make the sentence."""
    lines = [" ".join(line.split()) for line in str(error).strip().splitlines()]
    if not lines:
        return type(error).__name__
    whole = next((end for end, line in enumerate(lines, 1) if line.endswith(".")), len(lines))
    return " ".join(lines[: whole if lines[0].endswith(":") else 1])[:240]
