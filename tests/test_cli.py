"""The command line as a user meets it."""

import argparse
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from lm_probe.cli import main
from lm_probe.cli import sweep as sweep_command
from lm_probe.probes import probe_names
from lm_probe.sweeps import RunStore
from lm_probe.sweeps._config import CONTROLS
from lm_probe.sweeps._controls import RUN
from tests.loopback_hub import LoopbackHub

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def arguments(series: Path, text_file: Path, tmp_path: Path) -> list[str]:
    run = tmp_path / "run"
    return ["sweep", str(series), "--out", str(run), "--text", str(text_file), "--tokens", "400", "--context", "32"]


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["--version"],
        ["sweep", "--help"],
        ["demo", "--help"],
        ["tasks"],
        ["export", "--help"],
        ["import", "--help"],
    ],
)
def test_help_does_not_wait_for_torch(argv: list[str]) -> None:
    script = (
        "import sys\nfrom lm_probe.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'lm_eval', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "--help" in argv:
        assert "example" in done.stdout
    if "--version" in argv:
        versions = [importlib.metadata.version(name) for name in ("lm-probe", "torch", "transformers", "lm-eval")]
        assert done.stdout.startswith("lm-probe {} (torch {}, transformers {}, lm-eval {}, ".format(*versions))


@pytest.mark.parametrize(
    "mistake",
    [
        ["--tokens", "-5"],
        ["--batch-size", "0"],
        ["--dtype", "foo"],
        ["--probes", "gloss"],
        ["--controls", "x"],
        ["--metadata", "separator=tab"],
        ["--metadata", "sepparator=comma"],
        ["--text", "nowhere.txt"],
        ["--revisions", "0:8:0"],
        ["--ray", "nonsense"],
        ["--cache-gb", "1", "--ray"],
        ["--gpus-per-task", "0"],
        ["--cpus-per-task", "1"],
        ["--tries", "3"],
        ["nowhere/"],
    ],
    ids=" ".join,
)
def test_what_needs_no_model_is_refused_without_waiting_for_torch(mistake: list[str], series: Path) -> None:
    script = (
        "import sys\nfrom lm_probe.cli import main\nassert main(sys.argv[1:]) == 2\n"
        "assert not {'torch', 'transformers', 'lm_eval', 'pandas'} & set(sys.modules)"
    )
    argv = ["sweep", str(series), *mistake, "--out", "run"]
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("lm-probe sweep: ") and done.stderr.count("\n") == 1


def test_who_watches_is_told_that_it_begins_and_a_file_is_not(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for argv in ([*arguments, "--dry-run", "--probes", "head_spectrum"], ["audit", arguments[1]]):
        first = f"lm-probe {argv[0]}: loading torch and transformers"
        with monkeypatch.context() as on_a_terminal:
            on_a_terminal.setattr(sys.stderr, "isatty", lambda: True)
            assert main(argv) == 0
        assert capsys.readouterr().err.startswith(first)
        assert main(argv) == 0
        assert capsys.readouterr().err == ""
        assert main([*argv, "--revisions", "7"]) == 2
        assert "loading" not in capsys.readouterr().err


@pytest.mark.parametrize("package", ["model_adapters", "probes", "sweeps", "reports"])
def test_tab_finds_every_name_of_a_package(package: str) -> None:
    module = import_module(f"lm_probe.{package}")
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_controls_that_are_known_are_those_there_are() -> None:
    assert {*CONTROLS} == {*RUN}


def test_the_help_names_the_probes_there_are() -> None:
    assert set(sweep_command.DEFAULT_PROBES.split(",")) <= set(probe_names())


def test_sweep_export_and_report(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([*arguments, "--tasks", "none"]) == 0
    said = capsys.readouterr().out
    assert "3 checkpoints: 9 measurements made, 0 finished before, 0 failed" in said
    run = tmp_path / "run"
    first = (run / "report.md").read_bytes()
    assert main(["report", str(run)]) == 0
    assert (run / "report.md").read_bytes() == first
    with RunStore(run) as store:
        values = store.values()
    capsys.readouterr()
    assert main(["export", str(run)]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out), float_precision="round_trip")
    assert table.value.tolist() == values.value.tolist()
    assert main(["export", str(run), "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["value"] for row in rows] == values.value.tolist()
    assert rows[0]["step"] == 0 and rows[0]["component"] is None
    assert main(["export", str(run), "--format", "parquet", "--out", str(tmp_path / "values.parquet")]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "values.parquet"), values, check_dtype=False)
    piped = [sys.executable, "-m", "lm_probe.cli", "export", str(run), "--format", "parquet", "--out", "-"]
    there = subprocess.run(piped, capture_output=True, check=True, cwd=tmp_path).stdout
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(there)), values, check_dtype=False)
    assert not (tmp_path / "-").exists()
    for kind in ("csv", "parquet"):
        assert main(["export", str(run), "--format", kind, "--out", str(tmp_path / "none" / "values")]) == 2
        said = capsys.readouterr().err
        assert "cannot be written" in said and "None" not in said


def test_one_is_one(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one = [*arguments, "--revisions", "8", "--probes", "anisotropy", "--tasks", "none", "--no-report"]
    assert main(one) == 0
    out, err = capsys.readouterr()
    assert out == "1 checkpoint: 1 measurement made, 0 finished before, 0 failed\n"
    assert "1 checkpoint, 0 of 1 measurement finished\n" in err
    assert main(["audit", arguments[1], "--revisions", "8"]) == 0
    assert capsys.readouterr().out.startswith("1 checkpoint, ")
    (tmp_path / "one.csv").write_text("model,step,task,metric,value\nm,1,t,acc,0.5\n")
    already = " (1 measurement was in the run already: from the same file, a newer one or a sweep)"
    for before in ("", already):
        assert main(["import", str(tmp_path / "one.csv"), "--out", str(tmp_path / "imported")]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{0 if before else 1} value{'s' * bool(before)} from 1 file{before}; lm-probe report")


def test_export_says_where_settings_are_mixed(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    common = [*arguments, "--tasks", "none", "--no-report", "--probes", "anisotropy"]
    assert main(common) == 0
    assert main([*common, "--revisions", "step8", "--tokens", "300"]) == 0
    capsys.readouterr()
    run = str(tmp_path / "run")
    assert main(["export", run]) == 0
    out, err = capsys.readouterr()
    assert "anisotropy of tiny was measured under more than one setting" in err and "settings" not in out
    assert main(["export", run, "--provenance"]) == 0
    out, err = capsys.readouterr()
    table = pd.read_csv(io.StringIO(out))
    by_settings = table.groupby("settings").step.unique().map(list).tolist()
    assert sorted(by_settings) == [[0, 1], [8]] and "\n" not in err.strip()
    aside = "without 1 finished measurement whose place was taken by what was asked for later"
    assert aside in err and "--all-settings adds them" in err
    assert table.identity.str.startswith("sha256:").all() and table.groupby("step").identity.nunique().eq(1).all()
    assert main(["export", run, "--all-settings"]) == 0
    out, err = capsys.readouterr()
    everything = pd.read_csv(io.StringIO(out))
    assert not err and sorted(everything.groupby("arguments").step.unique().map(list)) == [[0, 1, 8], [8]]
    assert main(common) == 0  # what was asked for last is what the run shows
    capsys.readouterr()
    assert main(["export", run]) == 0
    err = capsys.readouterr().err
    assert aside in err and "more than one setting" not in err


def test_export_writes_what_the_name_of_the_file_says(
    web_run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with RunStore(web_run) as store:
        values = store.values()
    for name, read in (
        ("v.parquet", pd.read_parquet),
        ("v.csv", partial(pd.read_csv, float_precision="round_trip")),
        ("v.CSV.gz", partial(pd.read_csv, float_precision="round_trip", compression="gzip")),
        ("v.jsonl", partial(pd.read_json, lines=True, precise_float=True)),
        ("v.jsonl.gz", partial(pd.read_json, lines=True, precise_float=True)),
        ("v", partial(pd.read_csv, float_precision="round_trip")),
    ):
        assert main(["export", str(web_run), "--out", str(tmp_path / name)]) == 0
        assert read(tmp_path / name).value.tolist() == values.value.tolist(), name
    assert main(["export", str(web_run), "--out", str(tmp_path / "v.txt"), "--format", "jsonl"]) == 0
    assert json.loads((tmp_path / "v.txt").read_text().splitlines()[0])["value"] == values.value[0]
    capsys.readouterr()
    for more, said in (
        (["w.parquet", "--format", "csv"], "says parquet and --format says csv: leave --format out"),
        (["w.xlsx"], ".xlsx is no format: end it in .csv, .jsonl or .parquet"),
        (["w.parquet.gz"], "parquet is packed inside"),
    ):
        assert main(["export", str(web_run), "--out", str(tmp_path / more[0]), *more[1:]]) == 2
        line = capsys.readouterr().err
        assert said in line and line.count("\n") == 1 and not (tmp_path / more[0]).exists()


def test_a_sweep_that_is_told_to_stop_says_what_is_kept(arguments: list[str], tmp_path: Path) -> None:
    sweep = subprocess.Popen(
        [sys.executable, "-m", "lm_probe.cli", *arguments, "--task-documents", "200"], stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while not (tmp_path / "run" / "run.db").exists() and time.monotonic() < until:
        time.sleep(0.01)
    sweep.terminate()
    said = sweep.communicate()[1]
    assert sweep.returncode == 143 and "stopped; what was finished is stored" in said and "Traceback" not in said


def test_the_demo_takes_no_folder_with_something_else_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine"
    (mine / "series" / "a").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for out, said in (
        (mine, "mine holds something else (series) and no demo: choose another --out"),
        (tmp_path, "holds something else (file) and no demo"),
        (tmp_path / "file", "file is no folder that can be read"),
    ):
        assert main(["demo", "--out", str(out)]) == 2
        line = capsys.readouterr().err
        assert said in line and len(line.splitlines()) == 1
    assert not (mine / "run.db").exists() and [path.name for path in (mine / "series").iterdir()] == ["a"]


def test_the_demo_trains_nothing_where_it_could_not_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "run"), "--device", "meta"]) == 2
    assert "device meta cannot be used" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_the_help_of_the_demo_tells_its_own_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "documents a task (default: 20)" in said and "text sample (20000)" in said and "not trained on" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--tokens": "0"}, "--tokens 0 leaves nothing to predict"),
        ({"--text": "nowhere.txt"}, "nowhere.txt"),
        ({"--probes": "gloss"}, "no probe gloss (near it: loss): known are"),
        ({"--probes": "everything"}, "no probe everything: known are"),
        ({"--tasks": "count_query_m7"}, "count_query_m7"),
        ({"--revisions": "9:12"}, "selects nothing"),
        ({"--revisions": "step0,step3"}, "no checkpoint step3: found step0, step1, step8"),
        ({"--out": "/proc/run"}, "choose another --out"),
        ({"--device": "abacus"}, "try --device cpu"),
        ({"--metadata": '{"separator": "tab"}'}, "separator"),
        ({"--seed": "99999999999999999999"}, "--seed 99999999999999999999 is none"),
        (
            {"--context": "100000"},
            "--context 100000 is more than the 1024 positions of tiny: give --context 1024 or less",
        ),
        ({"--metadata": "num_docs=5"}, "--metadata num_docs=5: a sweep takes that for all tasks alike as --task-docum"),
        ({"--metadata": '{"seed": 7}'}, "--metadata seed=7: a sweep takes that for all tasks alike as --seed 7"),
        ({"--metadata": "separator=tab"}, "separator='tab' cannot be used"),
    ],
)
def test_a_mistake_is_one_line_and_status_two(
    arguments: list[str], change: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*arguments, "--no-report"]
    for flag, value in change.items():
        if flag in argv:
            argv[argv.index(flag) + 1] = value
        else:
            argv += [flag, value]
    assert main(argv) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("lm-probe sweep: ") and said in error
    assert not Path(arguments[3]).exists(), "a mistake of the command line leaves no run behind"
    with pytest.raises(Exception, match=r".+"):
        main([*argv, "--debug"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--metadata", "separator"], "argument --metadata: 'separator' is no option with its value: give e.g."),
        (["--metadata", "{comma"], "argument --metadata: not valid JSON"),
        (["--metadata", "[1]"], "argument --metadata: not a JSON object"),
        (["--tokens", "many"], "argument --tokens: invalid int value: 'many'"),
        (["--tokenz", "5"], "unrecognized arguments: --tokenz 5"),
    ],
)
def test_what_cannot_be_read_is_one_line_too(
    arguments: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*arguments, *more])
    line = capsys.readouterr().err
    assert end.value.code == 2 and said in line and line.count("\n") == 1 and line.endswith("--help\n")


def test_options_are_typed_as_for_lm_eval() -> None:
    parser = argparse.ArgumentParser()
    sweep_command.add_arguments(parser)
    typed = ["series", "--out", "run", "--metadata", "separator=comma,n=40", "m=7", "--metadata", '{"ties": "accept"}']
    parser.set_defaults(debug=False)
    config = sweep_command.config_of(parser.parse_args([*typed]), ("series",), None)
    assert config.metadata == {"separator": "comma", "n": 40, "m": 7, "ties": "accept"}


def test_probes_that_are_named_bring_no_tasks(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And named alone with tasks, or not named, they do."""
    for more, said in (
        (["--probes", "loss"], "probes: loss; tasks: none"),
        (["--probes", "loss", "--tasks", "count_query_m5"], "probes: loss; tasks: count_query_m5"),
        ([], "probes: loss, anisotropy, head_spectrum; tasks: count_query_m5, "),
        (["--probes", "none"], "probes: none; tasks: count_query_m5, "),
        (["--tasks", "count_query_m5"], "probes: loss, anisotropy, head_spectrum; tasks: count_query_m5"),
    ):
        assert main([*arguments, *more, "--dry-run"]) == 0
        assert capsys.readouterr().out.startswith(said)


def test_a_folder_too_high_and_files_beside_folders_say_what_to_give(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    above = tmp_path / "series"
    for name in ("wide", "deep"):
        shutil.copytree(series, above / name)
    (above / "held_out.jsonl").write_text("{}")
    (above / "empty").mkdir()

    def refused(*sources: str) -> str:
        assert main(["sweep", *sources, "--out", str(tmp_path / "run"), "--probes", "loss"]) == 2
        return capsys.readouterr().err.strip()

    assert refused(str(above)).endswith(
        f"{above} is no checkpoint and no series, but holds some: give {above / 'deep'} {above / 'wide'}"
    )
    # Of a run with its series it is not the results, which lie in folders step<N> too.
    (tmp_path / "lm_eval" / "deep" / "step0").mkdir(parents=True)
    assert refused(str(tmp_path)).endswith(f"but holds some: give {above / 'deep'} {above / 'wide'}")
    everything = [str(path) for path in (above / "wide", above / "held_out.jsonl", above / "deep")]
    assert refused(*everything).endswith(f"held_out.jsonl is a file among folders: leave it out, or give {above}/*/")
    assert "give what save_pretrained wrote" in refused(str(above / "empty"))


@pytest.mark.parametrize(
    "argv", [["sweep", "nowhere/at/all", "--out", "x"], ["report", "nowhere"], ["export", "nowhere"]]
)
def test_what_is_not_there_is_named(
    argv: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_failed_checkpoint_is_status_one_and_in_the_report(
    arguments: list[str], series: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(series, tmp_path / "copy"))
    (copy / "step1" / "model.safetensors").unlink()
    assert main(["sweep", str(copy), *arguments[2:], "--tasks", "none"]) == 1
    out, err = capsys.readouterr()
    assert "3 checkpoints: 6 measurements made, 0 finished before, 3 failed" in out
    failed = "3 measurements failed (all because 1 checkpoint could not be measured to the end)"
    assert f"{failed}, see above and the report" in err
    report = (tmp_path / "run" / "report.md").read_text()
    assert "has no weights" in report and f"**{failed}**; nothing is known of copy step 1" in report
    assert "3 checkpoints of 1 model, 1 without any value: copy (3 checkpoints, steps 0 to 8)." in report


def test_of_a_checkpoint_that_has_values_it_is_not_said_that_it_has_none(
    arguments: list[str], series: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its head is read before the model is loaded, which fails."""
    copy = Path(shutil.copytree(series, tmp_path / "copy"))
    weights = load_file(copy / "step1" / "model.safetensors")
    del weights["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"]
    save_file(weights, copy / "step1" / "model.safetensors", metadata={"format": "pt"})
    assert main(["sweep", str(copy), *arguments[2:], "--tasks", "none"]) == 1
    out, err = capsys.readouterr()
    assert "3 checkpoints: 7 measurements made, 0 finished before, 2 failed" in out
    failed = "2 measurements failed (all because 1 checkpoint could not be measured to the end)"
    report = (tmp_path / "run" / "report.md").read_text()
    assert failed in err and f"**{failed}**, see" in report and "nothing is known of copy" not in report


def _command(*argv: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-m", "lm_probe.cli", *argv], capture_output=True, text=True, env={**clean, **environment}
    )


def test_a_sweep_over_the_hub(series: Path, text_file: Path, tmp_path: Path) -> None:
    """The same values from the Hub as from the folder, pinned to commits; unknown names are one line."""
    revisions = {path.name: path for path in sorted(series.iterdir())}
    with LoopbackHub() as hub:
        shas = hub.add_model("user/tiny", {"main": series / "step8", **revisions})
        environment = hub.environment(tmp_path)
        run = str(tmp_path / "hub")
        shared = ["--text", str(text_file), "--tokens", "400", "--context", "32", "--tasks", "none", "--no-report"]
        done = _command("sweep", "user/tiny", "--revisions", "all", "--out", run, *shared, environment=environment)
        assert done.returncode == 0, done.stderr
        assert "3 checkpoints: 9 measurements made" in done.stdout
        again = len(hub.requests)
        done = _command("sweep", "user/tiny", "--revisions", "all", "--out", run, *shared, environment=environment)
        assert "0 measurements made, 9 finished before" in done.stdout
        assert not [path for method, path, *_ in hub.requests[again:] if "/resolve/" in path], "downloaded again"
        for source, said in (("user/tiny@step5", "has no revision step5"), ("user/none", "no model user/none")):
            done = _command("sweep", source, "--out", str(tmp_path / "bad"), *shared, environment=environment)
            assert done.returncode == 2 and said in done.stderr, done.stderr
            assert "Traceback" not in done.stderr and not (tmp_path / "bad").exists()
        offline = {**environment, "HF_HUB_OFFLINE": "1"}
        for revisions_asked in ("all", "step0,step8"):
            again = ["sweep", "user/tiny", "--revisions", revisions_asked, "--out", run, *shared]
            done = _command(*again, environment=offline)
            assert done.returncode == 0 and " 0 measurements made" in done.stdout, done.stderr
    assert main(["sweep", str(series), "--out", str(tmp_path / "local"), *shared]) == 0
    with RunStore(run) as store, RunStore(tmp_path / "local") as local:
        pd.testing.assert_frame_equal(
            store.values().drop(columns="model"), local.values().drop(columns="model"), check_exact=True
        )
        made = store.measurements()
        assert set(made.model) == {"user/tiny"} and made.step.tolist() == [0] * 3 + [1] * 3 + [8] * 3
        assert set(made.identity) == {shas[name] for name in revisions}
