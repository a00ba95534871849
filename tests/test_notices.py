"""Who waits for the Hub is told so: at once, for what, and how often it is asked again; above a sweep's bar."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lm_probe.cli import main
from lm_probe.model_adapters import UserError, notices_to
from lm_probe.model_adapters import _patience as patience
from lm_probe.model_adapters._hub import find_revision
from lm_probe.model_adapters._notices import notice
from lm_probe.sweeps import SweepConfig
from lm_probe.sweeps._desk import Desk
from lm_probe.sweeps._job import prepare
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._ray_worker import Measurer
from lm_probe.sweeps._work import Event, Looked, Opened, Said
from tests.loopback_hub import LoopbackHub

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def tiny(hub: LoopbackHub, series: Path) -> LoopbackHub:
    hub.add_model("user/tiny", {"step1": series / "step1"})
    return hub


def test_a_hub_that_is_away_is_told_before_the_first_pause_and_once(
    tiny: LoopbackHub, no_pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, int]] = []
    tiny.fail("/api/models/", "503", float("inf"))
    with notices_to(lambda line: said.append((line, len(no_pauses)))), pytest.raises(UserError, match="did not answer"):
        find_revision("user/tiny", "step1")
    ((line, pauses),) = said
    assert pauses == 0 and line.startswith("user/tiny step1: the Hub is away or busy (Server error '503")
    assert line.endswith(f": it is asked again, {len(no_pauses)} times at most, with pauses of up to 23 s in all")
    assert sum(no_pauses) <= 23


def test_a_server_that_asks_for_minutes_is_told_each_time(tiny: LoopbackHub, no_pauses: list[float]) -> None:
    said: list[str] = []
    tiny.fail("/api/models/", "429", 2, **{"Retry-After": "70"})
    with notices_to(said.append):
        find_revision("user/tiny", "step1")
    assert [line.partition(": it is asked again ")[2] for line in said] == [
        "in 70 s, as it says, and 5 more times at most",
        "in 70 s, as it says, and 4 more times at most",
    ]


def test_a_network_that_swallows_what_it_is_sent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_SLOW", 0.01)
    said, told = list[str](), threading.Event()

    def take(line: str) -> None:
        said.append(line)
        told.set()

    with notices_to(take):
        assert patience.patiently(lambda: told.wait(60), "revisions of user/tiny")
    assert said == ["revisions of user/tiny: waiting for an answer from the Hub, which is asked 6 times at most"]
    with notices_to(said.append):
        assert not patience.patiently(lambda: threading.Event().wait(0.1), "a large file", at_once=False)
    assert len(said) == 1


def test_what_huggingface_hub_says_goes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    theirs, said = logging.getLogger("huggingface_hub"), list[str]()
    before = theirs.handlers[:]
    with notices_to(said.append):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in %s", "1s")
    assert said == ["huggingface_hub: Retrying in 1s"] and theirs.handlers == before
    assert capsys.readouterr().err == ""


def test_handlers_of_others_stay_and_what_cannot_be_shown_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, said = logging.getLogger("huggingface_hub"), list[str]()
    own = logging.FileHandler(tmp_path / "hub.log")
    theirs.addHandler(own)
    before = theirs.handlers[:]

    def take(line: str) -> None:
        said.append(line)
        raise ValueError("closed")

    try:
        with notices_to(take):
            theirs.warning("kept")
        assert set(theirs.handlers) == set(before) and len(before) == len(theirs.handlers)
    finally:
        theirs.removeHandler(own)
        own.close()
    assert said == ["huggingface_hub: kept"]
    assert (tmp_path / "hub.log").read_text().startswith("kept")
    assert "Logging error" in capsys.readouterr().err


def test_a_sweep_says_it_above_its_bar(
    tiny: LoopbackHub, no_pauses: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.fail("model.safetensors", "503", 2)
    asked = ["--probes", "head_spectrum", "--tasks", "none", "--no-report", "--revisions", "all"]
    assert main(["sweep", "user/tiny", "--out", str(tmp_path / "run"), *asked]) == 0
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "away or busy" in line]
    assert len(lines) == 1 and "model.safetensors: the Hub is away or busy (" in lines[0]
    assert len(no_pauses) == 2 and "%|" not in lines[0]


def test_a_worker_of_a_cluster_sends_it_to_who_has_the_bar(
    tiny: LoopbackHub, no_pauses: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = SweepConfig(("user/tiny",), tmp_path, revisions="step1", probes=("head_spectrum",), tasks=(), device="cpu")
    job = prepare(asked)
    worker = Measurer(job, 1)
    assert worker.begin() is None
    tiny.fail("model.safetensors", "503", 2)
    looked, (told,) = worker.look(job.visits[0], audit=True)
    assert isinstance(looked, Looked)
    assert "model.safetensors: the Hub is away or busy (" in told.line and not told.once
    assert "away or busy" not in capsys.readouterr().err


def test_a_worker_of_a_cluster_keeps_no_notice_after_its_last_event(
    tiny: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = SweepConfig(("user/tiny",), tmp_path, revisions="step1", probes=("head_spectrum",), tasks=(), device="cpu")
    job = prepare(asked)
    worker = Measurer(job, 1)
    assert worker.begin() is None
    looked, _ = worker.look(job.visits[0], audit=True)
    assert isinstance(looked, Looked)

    def measure(*_: object) -> Iterator[Event]:
        yield Opened()
        notice("late")

    monkeypatch.setattr(worker._worker, "measure", measure)
    assert worker.measure(job.visits[0], looked.checkpoint, looked.units) == Opened()
    assert [worker.next(), worker.next()] == [Said("late", once=False), None]


def test_each_outage_is_told_though_it_says_the_same(
    hub: LoopbackHub,
    series: Path,
    no_pauses: list[float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.add_model("user/tiny", {step: series / step for step in ("step0", "step1")})
    monkeypatch.setattr(patience, "in_short", lambda error: "The read operation timed out")
    leave = Desk.leave

    def leave_and_fail(desk: Desk, visit: Visit) -> None:
        leave(desk, visit)
        hub.fail("model.safetensors", "503", 2)

    monkeypatch.setattr(Desk, "leave", leave_and_fail)
    hub.fail("model.safetensors", "503", 2)
    asked = ["--probes", "head_spectrum", "--tasks", "none", "--no-report", "--revisions", "all", "--no-audit"]
    assert main(["sweep", "user/tiny", "--out", str(tmp_path / "run"), *asked]) == 0
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "away or busy" in line]
    assert len(lines) == len(set(lines)) == 2
    assert all(line.startswith("user/tiny at ") for line in lines)
