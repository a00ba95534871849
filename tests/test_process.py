"""How the command ends as a process: told to stop at a bad moment, and beside libraries that do not end well."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lm_probe.cli import _main
from tests import children


class _StoppedWhileItGoes:
    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(0.01)


def _run_and_stop(number: int, said: Path) -> None:
    children.say_into(said)

    def run(_: argparse.Namespace) -> int:
        _StoppedWhileItGoes(number)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.01)
        return 0

    command: Any = SimpleNamespace(run=run, NAME="sweep", RESUMES=True)
    raise SystemExit(_main._run(command, argparse.Namespace(debug=False)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_in_a_destructor_is_heard(number: signal.Signals, tmp_path: Path) -> None:
    said = tmp_path / "said"
    assert children.run(_run_and_stop, number, said) == 128 + number
    assert said.read_text() == "\nstopped; what was finished is stored: run the same command again to go on\n"


_CRASHES = """
import ctypes, sys

class Crashes:
    def __del__(self, length_of=ctypes.CDLL(None).strlen):
        length_of(None)

sys.crashes = Crashes()
"""
_ENDS = (
    _CRASHES
    + """
sys.argv = ["lm-probe", *sys.argv[1:]]
from lm_probe.cli import _process

def main():
    import atexit
    atexit.register(print, "what a library has registered")
    return whole_main()

whole_main, _process.main = _process.main, main
_process.command()
"""
)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["tasks", "--path"], 0, "eval_tasks"),
        (["report", "nowhere"], 2, "nowhere holds no run"),
        (["nonsense"], 2, "invalid choice"),
        (["--help"], 0, "examples:"),
    ],
)
def test_a_library_that_crashes_at_the_very_end_changes_no_status(arguments: list[str], status: int, said: str) -> None:
    """The interpreter that is taken apart crashes; a command leaves before that, and what it said arrives whole."""
    crashes = subprocess.run([sys.executable, "-c", _CRASHES], capture_output=True)
    assert crashes.returncode == -signal.SIGSEGV
    ended = subprocess.run([sys.executable, "-c", _ENDS, *arguments], capture_output=True, text=True)
    assert ended.returncode == status, ended.stderr
    assert said in ended.stdout + ended.stderr
    assert ended.stdout.endswith("what a library has registered\n")


def test_a_traceback_ends_with_status_1() -> None:
    broken = "from lm_probe.cli import _process\n_process.main = lambda: 1 / 0\n_process.command()"
    ended = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True)
    assert ended.returncode == 1 and "ZeroDivisionError" in ended.stderr


def _ended(shell: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(f"{sys.executable} -m lm_probe.cli {shell}", shell=True, capture_output=True, text=True)


def test_what_cannot_be_written_at_the_end_is_no_success() -> None:
    full, closed, cut = _ended("tasks > /dev/full"), _ended("tasks --path >&-"), _ended("--help | head -1")
    assert full.returncode == 2 and full.stderr == "lm-probe tasks: [Errno 28] No space left on device\n"
    assert (closed.returncode, closed.stderr) == (0, "")
    assert (cut.returncode, cut.stderr) == (0, "") and cut.stdout.startswith("usage: lm-probe")


def test_what_is_not_flushed_arrives() -> None:
    says = "from lm_probe.cli import _process\n_process.main = lambda: print('said') or 0\n_process.command()"
    ended = subprocess.run([sys.executable, "-c", says], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "said\n")
    with open("/dev/full", "w") as full:
        late = subprocess.run([sys.executable, "-c", says], stdout=full, stderr=subprocess.PIPE, text=True)
    assert late.returncode == 1 and "No space left on device" in late.stderr
