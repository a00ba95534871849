"""What is said of the progress of a sweep: a bar to who watches, lines in a file."""

import fcntl
import pty
import struct
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from lm_probe.cli import main
from lm_probe.sweeps import Progress
from tests.loopback_hub import LoopbackHub


class _Clock:
    """Stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("lm_probe.sweeps._log_lines.time.monotonic", lambda: self.now)


def test_a_file_gets_a_line_for_each_checkpoint_and_one_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock(monkeypatch)
    with Progress(2_000) as progress:
        progress.now("m step0", "opening")
        progress.skip(500)
        progress.leave("m step0")  # nothing was left to do
        assert capsys.readouterr().err == ""
        for _ in range(5):
            clock.now += 30
            progress.now("m step1", "loss")
            progress.done(100)
        progress.say("a notice")
        clock.now += 1
        progress.leave("m step1")
        progress.leave("m step1 again")
        clock.now += 59
        progress.now("m step2", "loss")
        clock.now += 1
        progress.done(1_000)
        progress.leave("m step2")
    assert capsys.readouterr().err.splitlines() == [
        "600 of 2,000 measurements in 01:00, about 14:00 left: m step1 · loss",
        "800 of 2,000 measurements in 02:00, about 08:00 left: m step1 · loss",
        "a notice",
        "1,000 of 2,000 measurements in 02:31, about 05:02 left: m step1",
        "2,000 of 2,000 measurements in 03:31: m step2 · loss",
        "2,000 of 2,000 measurements in 03:31: m step2",
    ]


def test_the_time_left_is_told_of_the_work_and_once_all_that_are_at_it_have_done_a_part(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock(monkeypatch)
    with Progress(40) as progress:
        clock.now += 40  # until workers are there
        progress.begin(at_once=4)
        for step in range(3):
            clock.now += 2
            progress.done(2)
            progress.leave(f"m step{step}")
        assert capsys.readouterr().err.splitlines() == [
            "2 of 40 measurements in 00:42: m step0",
            "4 of 40 measurements in 00:44, about 00:36 left: m step1",
            "6 of 40 measurements in 00:46, about 00:34 left: m step2",
        ]


def test_a_bar_tells_the_same_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    monkeypatch.setattr("lm_probe.sweeps._progress.takes_bars", lambda: True)
    with Progress(40) as progress:
        clock.now += 40
        progress.begin(at_once=4)
        for step in range(2):
            clock.now += 2
            progress.done(2)
            progress.now(f"m step{step}", "loss")
    drawn = capsys.readouterr().err.split("\r")
    assert [one.rpartition("<")[2].strip() for one in drawn if "· loss" in one][:2] == ["?]", "00:36]"]


@pytest.mark.parametrize(("columns", "shown"), [(80, "100%|"), (0, "2 of 2 measurements in ")])
def test_a_terminal_that_tells_no_width_gets_lines(columns: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of `script`, or of a container that nobody attached to."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    with open(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        with Progress(2) as progress:
            progress.now("m step0", "loss")
            progress.done(2)
            progress.leave("m step0")
    drawn = b""
    with open(ours, "rb", buffering=0) as screen, suppress(OSError):  # of a terminal that is closed, once all is read
        while part := screen.read(10_000):
            drawn += part
    assert shown in drawn.decode()


def test_no_bar_is_drawn_into_a_file_and_one_where_somebody_watches(
    series: Path,
    text_file: Path,
    tmp_path: Path,
    hub: LoopbackHub,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of nobody: also not what huggingface_hub, transformers and lm-eval would draw."""
    hub.add_model("user/tiny", {name: series / name for name in ("step0", "step8")})

    def said(out: str) -> str:
        asked = ["sweep", "user/tiny", "--out", str(tmp_path / out), "--revisions", "0,8", "--no-report"]
        asked += ["--probes", "loss,head_spectrum", "--tasks", "count_query_m5", "--task-documents", "2"]
        assert main([*asked, "--text", str(text_file), "--tokens", "300", "--context", "32"]) == 0
        return capfd.readouterr().err

    lines = said("file")
    assert "\r" not in lines and "%" not in lines
    progress = [line for line in lines.splitlines() if " measurements in " in line]
    assert [(line[:6], line.rpartition(": ")[2]) for line in progress] == [
        ("3 of 6", "user/tiny step0"),
        ("6 of 6", "user/tiny step8"),
    ]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = said("terminal")
    assert (
        "\r" in bar
        and "Fetching" not in bar
        and "user/tiny step8 · 1 task: 100%|" in bar
        and "of 6 measurements in" not in bar
    )
