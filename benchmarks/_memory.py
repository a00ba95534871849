"""How benchmarks take memory: the highest resident size of a process of its own (Linux)."""

import os
import re
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def in_fresh_process(function: Callable[..., T], *arguments: object) -> T:
    """A process that ran before keeps what it freed, and hides what comes next."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        return fresh.apply(function, arguments)


def resident() -> int:
    """Bytes that the process holds now."""
    return _status("VmRSS")


def peak() -> int:
    """The most bytes that it has held since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """From here on."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_after(function: Callable[[], object]) -> int:
    """The peak that a call would make, in a copy of the process: this one is left as it is."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        function()
        os.write(writes, str(peak()).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as answer:
        found = int(answer.read())
    os.waitpid(child, 0)
    return max(found, peak())


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024
