"""`lm-probe` as a process: how it ends."""

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from lm_probe.cli._main import main


def command() -> NoReturn:
    """Runs `lm-probe` and ends the process with its status.

    Everything that a command or a library has registered for the end runs; then the process leaves without taking the
    interpreter apart. Threads of torch, pyarrow, tokenizers and Ray are at work until then, they cannot be joined, and
    now and then one of them touched what was gone: SIGSEGV after the last line.
    """
    status = 1  # with a traceback

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a closed pipe
                stream.flush()
        os._exit(status)

    atexit.register(leave)  # before a command imports anything: such functions run in the opposite order
    try:
        status = main()
    except SystemExit as stop:  # argparse
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    except KeyboardInterrupt:  # a second one, while the first is obeyed
        status = 128 + signal.SIGINT
    sys.exit(status)
