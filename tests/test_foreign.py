"""Files of somebody else's where a run or its report is to be written."""

import shutil
from pathlib import Path

import pytest

from lm_probe.cli import main

_KINDS = ("report.md", "report.html", "figures/mine.svg", "tables/mine.csv", "lm_eval/mine.json")


@pytest.mark.parametrize("name", _KINDS)
def test_nothing_is_made_beside_what_would_be_overwritten(
    name: str, series: Path, web_run: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "thesis"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("my own")
    (tmp_path / "one.csv").write_text("model,step,task,metric,value\nm,1,t,acc,0.5\n")
    sweep = ["sweep", str(series), "--text", str(text_file), "--tasks", "none", "--no-report"]
    for argv in (sweep, [*sweep, "--dry-run"], ["report", str(web_run)], ["import", str(tmp_path / "one.csv")]):
        assert main([*argv, "--out", str(out)]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"thesis holds a {name.partition('/')[0]} that is not lm-probe's" in said and "another --out" in said
        assert [path for path in out.rglob("*") if path.is_file()] == [out / name]
    assert (out / name).read_text() == "my own"


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_run_is_no_file_and_lies_not_among_checkpoints(
    dry: list[str], series: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(series, tmp_path / "copy"))
    file = Path(shutil.copy(text_file, tmp_path))
    before = sorted(tmp_path.rglob("*"))
    for out, said in (
        (file, f"{file} is a file: choose another --out"),
        (file / "run", f"{file} is a file: choose another --out"),
        (copy, f"{copy} holds checkpoints, and a run is written beside none: choose another --out, e.g. {copy}-run"),
        (copy / "step8", "step8 holds checkpoints"),
    ):
        argv = ["sweep", str(copy), "--text", str(text_file), "--tasks", "none", "--no-report", "--out", str(out)]
        assert main([*argv, *dry]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("lm-probe sweep: ") and said in line
    assert sorted(tmp_path.rglob("*")) == before


def test_the_demo_trains_nothing_over_somebody_elses_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "series" / "demo-w16").mkdir(parents=True)
    (tmp_path / "report.md").write_text("my own")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "report.md that is not lm-probe's" in capsys.readouterr().err
    assert not [*(tmp_path / "series" / "demo-w16").iterdir()]


def test_a_report_of_ours_is_written_again(web_run: Path, tmp_path: Path) -> None:
    """Also one that was interrupted before its last file, and one whose owner wrote below it."""
    out = tmp_path / "out"
    assert main(["report", str(web_run), "--out", str(out)]) == 0
    first = (out / "report.md").read_bytes()
    (out / "report.md").write_bytes(first + b"note")
    assert main(["report", str(web_run), "--out", str(out)]) == 0
    assert (out / "report.md").read_bytes() == first
    (out / "report.md").unlink()
    (out / "report.html").unlink()
    assert main(["report", str(web_run), "--out", str(out)]) == 0
    run = Path(shutil.copytree(web_run, tmp_path / "run"))
    (run / "report.md").write_text("of a run the report is lm-probe's")
    assert main(["report", str(run)]) == 0
