"""The report as a whole: the same bytes twice, links that lead somewhere, several runs, refusals."""

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import matplotlib
import pytest

from lm_probe.reports import write_report
from lm_probe.reports._data import RunData
from lm_probe.reports._load import load
from lm_probe.reports._numbers import Numbers
from lm_probe.reports._sizes import Size, family_in_name, size_in_name
from lm_probe.sweeps import RunStore, UserError
from tests.reporting import STEPS, everything, record


def test_rendering_again_gives_the_same_bytes(two_models: Path, tmp_path: Path) -> None:
    once = everything(two_models)
    assert len([name for name in once if name.endswith(".svg")]) == 8
    with matplotlib.rc_context({"xtick.direction": "in", "axes.titleweight": "bold", "lines.marker": "x"}):
        write_report([two_models])
        assert matplotlib.rcParams["xtick.direction"] == "in"  # the user's own settings stay
    assert everything(two_models) == once
    # Elsewhere, in another process, with a settings file.
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: black\nxtick.direction: in\nsvg.fonttype: none\n")
    code = "import sys; from pathlib import Path; from lm_probe.reports import write_report; " + (
        "write_report([Path(sys.argv[1])], out=Path(sys.argv[2])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(two_models), str(tmp_path / "out")],
        check=True,
        env={"PATH": "", "MATPLOTLIBRC": str(tmp_path), "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)},
    )
    assert everything(tmp_path / "out") == once


def test_links_of_the_report_lead_somewhere(two_models: Path) -> None:
    report = (two_models / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", report)
    headings = {re.sub(r"[^a-z0-9 -]", "", line[3:].lower()) for line in report.splitlines() if line.startswith("## ")}
    files = {link for link in links if not link.startswith("#")}
    assert len(files) >= 10
    assert [link for link in files if not (two_models / link).is_file()] == []
    assert {link[1:] for link in links if link.startswith("#")} <= headings
    shown = {path.name for path in (two_models / "figures").iterdir()}
    assert {Path(link).name for link in files if link.startswith("figures/")} == shown


def test_figures_that_no_longer_belong_are_removed_and_others_stay(tmp_path: Path) -> None:
    record(tmp_path / "all", "demo", STEPS[:3])
    record(tmp_path / "head", "demo", STEPS[:3], probes=("head_spectrum",))
    out = tmp_path / "out"
    write_report([tmp_path / "all"], out=out)
    (out / "figures" / "mine.svg").write_text("mine")
    write_report([tmp_path / "head"], out=out)
    assert {path.name for path in (out / "figures").iterdir()} == {
        "head_spectrum.svg",
        "mine.svg",
        "singular_entropy.svg",
    }
    assert {path.name for path in (out / "tables").iterdir()} == {"provenance.csv", "summary.csv"}


def test_an_empty_run(tmp_path: Path) -> None:
    RunStore.create(tmp_path).close()
    assert "no values yet" in write_report([tmp_path]).read_text(encoding="utf-8")


def test_several_runs_tell_models_of_one_name_apart(tmp_path: Path) -> None:
    for name in ("first", "second"):
        record(tmp_path / name, "demo", STEPS[:3], probes=("loss",), identity=None)
    record(tmp_path / "second", "other", STEPS[:3], probes=("loss",))
    runs = [tmp_path / "first", tmp_path / "second", tmp_path / "first"]
    data = load(runs)
    assert data.models == ["demo (run first)", "demo (run second)", "other"]
    record(tmp_path / "70m", "org/pythia-160m", STEPS[:3], probes=("loss",))
    record(tmp_path / "a" / "70m", "org/pythia-160m", STEPS[:3], probes=("loss",))
    names = load([tmp_path / "70m", tmp_path / "a" / "70m"]).models
    assert {(family_in_name(name), size_in_name(name)) for name in names} == {
        (f"pythia (run {label})", Size(160e6, False)) for label in (f"{tmp_path.name}/70m", "a/70m")
    }
    assert write_report(runs, out=tmp_path / "out") == tmp_path / "out" / "report.md"
    assert not (tmp_path / "first" / "report.md").exists()


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to report"):
        write_report([])
    with pytest.raises(UserError, match="holds no run"):
        write_report([tmp_path])
    record(tmp_path / "run", "demo", (1,), probes=("loss",))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file: choose another --out"):
        write_report([tmp_path / "run"], out=tmp_path / "file")


def test_a_run_without_data_is_not_indexed() -> None:
    assert RunData(Numbers(), {"singular_values": {}}, [], []).models == []


def test_a_run_that_cannot_be_read_is_named_in_one_line(two_models: Path, tmp_path: Path) -> None:
    broken = {"cut": "is damaged", "older": "store format 1", "other": "not made by lm-probe", "empty": "no values yet"}
    for name in broken:
        (tmp_path / name).mkdir()
    whole = (two_models / "run.db").read_bytes()
    (tmp_path / "cut" / "run.db").write_bytes(whole[:5000] + b"x" * 5000)
    (tmp_path / "empty" / "run.db").write_bytes(b"")
    shutil.copy(two_models / "run.db", tmp_path / "older" / "run.db")
    for name, change in {
        "older": "UPDATE about SET value = '1' WHERE key = 'schema'",
        "other": "CREATE TABLE things (name TEXT)",
    }.items():
        with closing(sqlite3.connect(tmp_path / name / "run.db")) as database, database:
            database.execute(change)
    for name, said in broken.items():
        with pytest.raises(UserError, match=said) as refused:
            write_report([two_models, tmp_path / name], out=tmp_path / "out")
        assert name in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_where_it_cannot_be_written_is_said_with_what_to_type(
    two_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.md").mkdir()
    said = rf"{tmp_path} \(Is a directory\): choose another place with --out, and run lm-probe report {two_models}; "
    with pytest.raises(UserError, match=said):
        write_report([two_models], out=tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lm_probe.reports._report._write", full)
    with pytest.raises(UserError, match=r"\(No space left on device\): free some space, and run lm-probe report "):
        write_report([two_models], out=tmp_path)
