"""`lm-probe` as a process: how it ends."""

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

from lm_probe.cli._main import main


def command() -> NoReturn:
    """Runs `lm-probe` and ends the process with its status.

    Everything that a command or a library registers for the end from here on runs (what was registered before does
    not); then the process leaves without taking the interpreter apart. Threads of torch, pyarrow and tokenizers
    are at work until then, they cannot be joined, and now and then one of them touched what was gone: SIGSEGV after
    the last line.
    """
    status = 1  # with a traceback

    def leave() -> None:
        whole = [_flushed(stream) for stream in (sys.stdout, sys.stderr)]
        os._exit(status if all(whole) else status or 1)

    atexit.register(leave)  # before a command imports anything: such functions run in the opposite order
    try:
        status = main()
    except SystemExit as stop:  # argparse
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    except KeyboardInterrupt:  # a second one, while the first is obeyed
        status = 128 + signal.SIGINT
    sys.exit(status)


def _flushed(stream: TextIO | None) -> bool:
    """Whether all that was said could be written; nobody minds at the end of a pipe that is closed."""
    try:
        if stream is not None:  # as both are where they were closed before
            stream.flush()
    except (BrokenPipeError, ValueError):
        pass
    except OSError as error:
        with suppress(OSError, ValueError, AttributeError):
            print(f"lm-probe: what it says cannot be written: {error.strerror}", file=sys.stderr, flush=True)
        return False
    return True
