"""A sweep outlives kills, signals, full disks, a second sweep and a Hub that changes under it."""

import errno
import json
import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lm_probe.cli import main
from lm_probe.sweeps import RunStore, SweepConfig, UserError, sweep
from lm_probe.sweeps import _lock as lock
from lm_probe.sweeps._plan import Visit
from tests import children, survivors
from tests.conftest import make_model
from tests.loopback_hub import LoopbackHub

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

_STEPS = range(12)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A series of twelve checkpoints."""
    folder = tmp_path_factory.mktemp("sources") / "tiny"
    for step in _STEPS:
        make_model("gpt_neox", seed=step).save_pretrained(folder / f"step{step}")
        tokenizer.save_pretrained(folder / f"step{step}")
    return folder


@pytest.fixture(scope="module")
def config(twelve: Path, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    return SweepConfig(
        sources=(str(twelve),),
        out=tmp_path_factory.mktemp("runs") / "whole",
        probes=("loss", "head_spectrum"),
        tasks=("count_query_m5",),
        task_documents=1,
        text=str(text_file),
        tokens=64,
        context=16,
        device="cpu",
    )


@pytest.fixture(scope="module")
def whole(config: SweepConfig) -> Path:
    """The run of a sweep that nobody disturbed."""
    assert children.run(survivors.sweep_that_dies, config, config.out, None) == 0
    return config.out


@pytest.fixture(scope="module")
def short(config: SweepConfig) -> SweepConfig:
    """Three of the checkpoints, where it matters less at which of them something happens."""
    return replace(config, revisions="0,4,8", out=config.out.with_name("short"))


@pytest.fixture(scope="module")
def three(short: SweepConfig) -> Path:
    """The run of the short sweep that nobody disturbed."""
    assert children.run(survivors.sweep_that_dies, short, short.out, None) == 0
    return short.out


def _is_as_whole(run: Path, whole: Path) -> None:
    assert survivors.exported(run) == survivors.exported(whole)
    assert survivors.files_of(run) == survivors.files_of(whole)
    assert survivors.integrity(run) == "ok"
    with RunStore(run) as store:
        made = store.measurements()
    named = {details["result_file"] for details in made.details if "result_file" in details}
    assert named == {path.relative_to(run).as_posix() for path in run.rglob("results_*.json")}
    for name in named:
        assert json.loads((run / name).read_bytes())["config"]["model_sha"] in set(made.identity)


def test_killed_at_fifty_moments_and_run_again_gives_the_same(config: SweepConfig, whole: Path, tmp_path: Path) -> None:
    """One half between any two steps of store and files, the other whenever it comes; each sweep goes on from the last.

    What a kill left is looked at after each, and the table when a sweep has come to its end; then another run begins.
    """
    chance, kills, runs = random.Random(7), [0, 0], 0
    points, seconds = json.loads(whole.with_suffix(".points").read_text())
    while sum(kills) < 50:
        run, before, runs = tmp_path / f"run{runs}", set[tuple[int, str, float]](), runs + 1
        code = -signal.SIGKILL
        while code == -signal.SIGKILL and sum(kills) < 50:
            at_a_point = kills[0] <= kills[1]
            if at_a_point:
                at = chance.randint(1, points // 6)
                code = children.run(survivors.sweep_that_dies, config, run, at)
            else:
                at = chance.uniform(0, seconds / 6)
                code = children.run_until(at, survivors.sweep_that_dies, config, run, None)
            now = survivors.finished(run)
            moment = f"point {at}" if at_a_point else f"{at:.3f} s"
            print(f"{run.name}, kill {sum(kills)} at {moment}: status {code}, {len(now)} measurements finished")
            assert before <= now, "a finished measurement was lost or made again"
            kills[not at_a_point] += code == -signal.SIGKILL
            before = now
        assert code in (0, -signal.SIGKILL)
        assert code == 0 or children.run(survivors.sweep_that_dies, config, run, None) == 0
        assert before <= survivors.finished(run)
        _is_as_whole(run, whole)
    print(f"{kills[0]} kills at points, {kills[1]} at any moment, over {runs} runs")


def _wait_for(happened: Any, child: Any) -> None:
    until = time.monotonic() + 120
    while not happened() and child.is_alive() and time.monotonic() < until:
        time.sleep(0.005)


@pytest.mark.parametrize("at", ["before", "between", "after"])
def test_a_result_file_stands_or_falls_with_its_numbers(
    at: str, config: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left where a sweep dies while it stores what one checkpoint's tasks gave."""
    from lm_probe.sweeps import _result_files as files

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    def move_or_die(source: Path, place: Path, move: Any = os.replace) -> None:
        results = Path(place).name.startswith("results_")
        if at == "after" or not results:
            move(source, place)
        if results:
            die()

    asked = replace(config, revisions="step3", probes=(), out=tmp_path / "run")
    with monkeypatch.context() as patch:
        if at == "before":
            patch.setattr(RunStore, "record", die)
        else:
            patch.setattr(files.os, "replace", move_or_die)
        with pytest.raises(Died):
            sweep(asked, silent=True)
    assert sweep(asked, silent=True).measured == (1 if at == "before" else 0)
    (file,) = (tmp_path / "run" / "lm_eval").rglob("results_*")
    assert json.loads(file.read_bytes())["results"] and not list((tmp_path / "run").rglob(".unfinished"))


def test_a_result_file_of_a_revision_with_slashes_finds_its_place(tmp_path: Path, monkeypatch: Any) -> None:
    from lm_probe.sweeps import _result_files as files

    folder = files.folder_of(Visit("user/tiny", "user/tiny", "stage1/step8", 8, "c0ffee"))
    with RunStore.create(tmp_path) as store:
        monkeypatch.setattr(store, "has_result_file", lambda name: name == f"{folder.as_posix()}/results_kept.json")
        aside = tmp_path / folder / ".unfinished"
        aside.mkdir(parents=True)
        for name in ("results_kept.json", "results_lost.json"):
            (aside / name).write_text("{}")
        files.settle(store)
    assert [path.name for path in (tmp_path / folder).iterdir()] == ["results_kept.json"]


def _command(arguments: list[str], said: Path, room: int | None = None) -> None:
    children.use_one_core()
    children.say_into(said)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    raise SystemExit(main(arguments))


def _arguments(config: SweepConfig, run: Path, *more: str) -> list[str]:
    asked = f"--tasks count_query_m5 --task-documents 1 --tokens {config.tokens} --context {config.context}".split()
    asked += ["--probes", ",".join(config.probes), "--text", str(config.text)]
    asked += ["--revisions", str(config.revisions)]
    return ["sweep", *config.sources, "--out", str(run), *asked, *more]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_sweep_with_a_line_and_frees_the_run(
    number: signal.Signals, short: SweepConfig, three: Path, tmp_path: Path
) -> None:
    run, said = tmp_path / "run", tmp_path / "said"
    arguments = _arguments(short, run, "--no-report")
    child = children.start(_command, (arguments, said))
    _wait_for(lambda: list(run.rglob("results_*.json")), child)
    os.kill(child.pid, number)
    with suppress(ProcessLookupError):
        os.kill(child.pid, number)  # a second one is no reason for a traceback
    child.join()
    assert child.exitcode == 128 + number, said.read_text()
    assert "stopped; what was finished is stored: run the same command again to go on" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert children.run(_command, arguments, said) == 0
    _is_as_whole(run, three)


@pytest.mark.parametrize("room", [8_000, 20_000, 60_000])
def test_a_full_disk_stops_the_sweep_and_loses_nothing(
    room: int, short: SweepConfig, three: Path, tmp_path: Path
) -> None:
    """Writes fail beyond a size of file: at making the run, in lm-eval's result file, and in the store."""
    run, said = tmp_path / "run", tmp_path / "said"
    arguments = _arguments(short, run, "--no-report")
    code = children.run(_command, arguments, said, room)
    assert code in (1, 2) and "Traceback" not in said.read_text(), said.read_text()
    assert "disk is full" in said.read_text() or "is there room?" in said.read_text()
    assert children.run(_command, arguments, said) == 0
    _is_as_whole(run, three)


def test_a_second_sweep_is_refused_by_name_and_the_first_goes_on(
    short: SweepConfig, three: Path, tmp_path: Path
) -> None:
    run, said = tmp_path / "run", tmp_path / "said"
    first = children.start(survivors.sweep_that_dies, (short, run, None))
    _wait_for(lambda: (run / "run.db").exists(), first)
    assert children.run(_command, _arguments(short, run), said) == 2
    assert f"in use by process {first.pid} on {os.uname().nodename}: wait for it" in said.read_text()
    first.join()
    assert first.exitcode == 0
    _is_as_whole(run, three)


def test_what_a_killed_sweep_left_in_the_lock_holds_nobody(tmp_path: Path) -> None:
    child = children.start(_hold, (tmp_path / "run",))
    _wait_for(lambda: (tmp_path / "run" / "run.lock").exists() and (tmp_path / "run" / "run.lock").read_text(), child)
    with pytest.raises(UserError, match=f"in use by process {child.pid} on "), lock.exclusive(tmp_path / "run"):
        pass
    child.kill()
    child.join()
    assert str(child.pid) in (tmp_path / "run" / "run.lock").read_text()
    with lock.exclusive(tmp_path / "run"):
        assert (tmp_path / "run" / "run.lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}"


def _hold(run: Path) -> None:
    with lock.exclusive(run):
        time.sleep(600)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    said = r"cannot be locked \(.+\).*choose an --out on a local disk"
    with pytest.raises(UserError, match=said), lock.exclusive(tmp_path / "run"):
        pass


def test_a_revision_that_moves_while_the_sweep_runs_is_the_one_that_was_asked_for(
    twelve: Path, config: SweepConfig, hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_probe.sweeps import _sweep as sweeping

    steps = {f"step{step}": twelve / f"step{step}" for step in (0, 1, 2)}
    pinned = hub.add_model("user/tiny", steps)
    measure = sweeping.Worker.measure

    def moved(self: Any, *arguments: Any) -> Iterator[Any]:
        kept = {f"was-{name}": folder for name, folder in steps.items()}
        hub.add_model("user/tiny", {**kept, **{name: twelve / "step9" for name in steps}})
        return measure(self, *arguments)

    monkeypatch.setattr(sweeping.Worker, "measure", moved)
    asked = replace(config, sources=("user/tiny",), revisions="all", out=tmp_path / "hub", tasks=())
    assert not sweep(asked, silent=True).failures
    here = replace(config, revisions="0,1,2", out=tmp_path / "here", tasks=())
    sweep(here, silent=True)
    with RunStore(tmp_path / "hub") as store, RunStore(tmp_path / "here") as local:
        assert store.values().drop(columns="model").equals(local.values().drop(columns="model"))
        assert dict(zip(store.measurements().revision, store.measurements().identity, strict=True)) == pinned


def _damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    page = 4096
    match how:
        case "truncated":
            content = content[: len(content) // 2]
        case "truncated in a page":
            content = content[:-100]
        case "no header":
            content[:100] = b"\xde\xad" * 50
        case "a page of noise":
            middle = len(content) // page // 2 * page
            content[middle : middle + page] = random.Random(0).randbytes(page)
        case "a page of zeros":
            content[page : 2 * page] = bytes(page)
        case "text":
            content = bytearray(b"no database")
        case "another format":
            with sqlite3.connect(file) as database:
                database.execute("UPDATE about SET value = '99' WHERE key = 'schema'")
            database.close()
            return
    file.write_bytes(content)


_HOW = ["truncated", "truncated in a page", "no header", "a page of noise", "a page of zeros", "text", "another format"]


@pytest.mark.parametrize("how", _HOW)
def test_a_damaged_run_is_said_and_left_as_it_is(
    how: str, short: SweepConfig, three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    file = run / "run.db"
    file.write_bytes((three / "run.db").read_bytes())
    _damage(file, how)
    before = file.read_bytes()
    for arguments in (
        _arguments(short, run),
        ["report", str(run)],
        ["export", str(run)],
        _arguments(short, run, "--dry-run"),
    ):
        assert main(arguments) == 2, arguments
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert ("store format 99" if how == "another format" else "run.db is damaged (") in line and "--out" in line
        assert file.read_bytes() == before
    assert {path.name for path in run.iterdir()} <= {"run.db", "run.lock"}


def test_an_empty_file_holds_nothing_and_is_filled(short: SweepConfig, three: Path, tmp_path: Path) -> None:
    """A disk that was full, or a kill before the first table: nothing was in it that could be lost."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.db").touch()
    for command in ("report", "export"):
        assert main([command, str(run)]) == 2
    assert not (run / "run.db").stat().st_size
    assert children.run(survivors.sweep_that_dies, short, run, None) == 0
    _is_as_whole(run, three)


def test_what_a_kill_left_in_sqlites_log_is_read(short: SweepConfig, three: Path, tmp_path: Path) -> None:
    points, _ = json.loads(three.with_suffix(".points").read_text())
    run = tmp_path / "run"
    assert children.run(survivors.sweep_that_dies, short, run, points // 2) == -signal.SIGKILL
    log, file = (run / "run.db-wal").read_bytes(), (run / "run.db").read_bytes()
    assert log
    expected = survivors.exported(three).splitlines()
    found = survivors.exported(run).splitlines()
    assert 1 < len(found) < len(expected) and set(found) <= set(expected)
    assert (run / "run.db-wal").read_bytes() == log and (run / "run.db").read_bytes() == file
