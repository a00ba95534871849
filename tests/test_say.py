"""Outside text on a terminal: what would move the cursor or turn the writing is written out."""

import json
import shutil
from pathlib import Path

import pytest

from lm_probe.cli import main
from lm_probe.model_adapters import in_short, notices_to, printable
from lm_probe.model_adapters._patience import wait

EVIL = "\x1b[2J\x1b]0;title\x07 \u202egnp.exe \x9b31m\r\x08"


def test_what_is_visible_stays_and_the_rest_is_written_out() -> None:
    assert printable("über 猫 🎉, one\ttwo\n") == "über 猫 🎉, one\ttwo\n"
    kept = "中文\u3000路径 10\u00a0000 \u202f% 👩\u200d👩\u200d👧 नि\u200dष"
    assert printable(f"{kept}\r\n") == f"{kept}\n"
    assert printable("\x1b[2J\x9b\u202e\ud800\U000e0041\\n") == r"\x1b[2J\x9b\u202e\ud800\U000e0041\n"


def test_nothing_of_a_checkpoint_commands_the_terminal(
    series: Path, tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a type in a config, nor a folder's name, nor what a damaged file makes a library say."""
    source = Path(shutil.copytree(series, tmp_path / EVIL.strip()))
    config = source / "step1" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": EVIL}))
    (source / "step8" / "model.safetensors").write_bytes(b"\x1b[31m" * 4)
    asked = ["--out", str(tmp_path / "run"), "--probes", "head_spectrum", "--tasks", "none", "--no-report"]
    for command in (
        ["audit", str(source)],
        ["sweep", str(source), *asked],
        ["sweep", str(source), *asked, "--dry-run"],
        ["sweep", f"{source}/{EVIL}", *asked],
        ["report", f"{tmp_path}/{EVIL}"],
    ):
        assert main(command)
        out, err = capsys.readouterr()
        said = out + err
        assert "\\x1b[2J" in said and not set(said) & set("\x1b\x07\x9b\u202e\x08"), said


def test_an_error_is_said_in_one_line_wherever_it_is_said(no_pauses: list[float]) -> None:
    """Its first line, or the sentence that it announces; a server's troubles are told like a damaged checkpoint's."""
    listing = "Errors in loading:\n\tsize  mismatch for a,\n\tb missing.\nA page of advice"
    assert in_short(OSError(listing)) == "Errors in loading: size mismatch for a, b missing."
    assert in_short(OSError(" \nno  answer\nadvice")) == "no answer"
    assert in_short(TimeoutError()) == "TimeoutError" and len(in_short(ValueError("x" * 999))) == 240
    lines: list[str] = []
    with notices_to(lines.append):
        wait(1, OSError(listing), "user/tiny")
    (line,) = lines
    assert in_short(OSError(listing)) in line and "advice" not in line
