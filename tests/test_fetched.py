"""Downloads while something else is measured, and a Hub cache in bounds that keeps what the user had."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, scan_cache_dir, snapshot_download

from lm_probe.model_adapters import Checkpoint
from lm_probe.sweeps import RunStore, Summary, SweepConfig, UserError, _downloads, sweep
from lm_probe.sweeps._fetched import Fetched
from lm_probe.sweeps._prefetch import Prefetch
from lm_probe.sweeps._probe_step import ProbeStep
from lm_probe.sweeps._ray import Spread
from tests.hub_in_process import hub_in_process
from tests.loopback_hub import LoopbackHub

STEPS = ("step0", "step1", "step8")
CACHE = "cache"


@pytest.fixture
def hub(tmp_path: Path, series: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub that has the series."""
    with hub_in_process(tmp_path / CACHE, monkeypatch) as server:
        server.commits = server.add_model("user/tiny", {step: series / step for step in STEPS})
        yield server


def _sweep(out: Path, **changed: Any) -> Summary:
    asked = dict(revisions="all", probes=("loss",), tasks=(), tokens=300, context=32, device="cpu", audit=False)
    return sweep(SweepConfig(("user/tiny",), out, **{**asked, **changed}), silent=True)


def _asked_for(hub: LoopbackHub) -> list[str]:
    """The revisions whose weights were sent, in order."""
    names = {sha: step for step, sha in hub.commits.items()}
    sent = [request.path for request in hub.requests if request.bytes_sent and "safetensors" in request.path]
    return [name for path in sent for sha, name in names.items() if sha in path]


def _in_cache(hub: LoopbackHub) -> set[str]:
    there = {
        revision.commit_hash for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos for revision in repo.revisions
    }
    return {step for step, sha in hub.commits.items() if sha in there}


def test_the_next_checkpoint_comes_while_this_one_is_measured(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    measure = ProbeStep.forward

    def forward(self: ProbeStep, *args: Any) -> Any:
        if self._prefetch._thread is not None:
            self._prefetch._thread.join()
        seen.append(_asked_for(hub))
        return measure(self, *args)

    monkeypatch.setattr(ProbeStep, "forward", forward)
    assert not _sweep(tmp_path / "run").failures
    assert seen == [list(STEPS[:2]), list(STEPS), list(STEPS)], "one ahead, each once"
    with RunStore(tmp_path / "run") as store:
        assert set(store.values().step) == {0, 1, 8}


def test_only_what_is_measured_with_a_model_is_downloaded(hub: LoopbackHub, tmp_path: Path) -> None:
    _sweep(tmp_path / "run", revisions="1")
    _sweep(tmp_path / "run", revisions="0,1", probes=("loss", "head_spectrum"))
    assert "step8" not in _asked_for(hub)
    hub.forget_requests()
    assert _sweep(tmp_path / "run", revisions="0,1").measured == 0
    assert not _asked_for(hub)


def test_an_error_ahead_is_told_at_its_own_turn(hub: LoopbackHub, series: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(series, tmp_path / "broken"))
    (broken / "step1" / "model.safetensors").unlink()
    hub.commits = hub.add_model("user/tiny", {step: broken / step for step in STEPS})
    (failure,) = _sweep(tmp_path / "run").failures
    assert failure.checkpoint == "user/tiny step1" and "has no weights" in failure.error
    with RunStore(tmp_path / "run") as store:
        assert set(store.values().step) == {0, 8}


def test_a_download_that_is_not_wanted_is_broken_off(hub: LoopbackHub) -> None:
    hub.fail("model.safetensors", "stall")
    ahead, checkpoint = Prefetch(), Checkpoint("user/tiny", "step1", 1, hub.commits["step1"], None)
    ahead.begin(checkpoint)
    while not any("safetensors" in request.path for request in hub.requests):
        time.sleep(0.01)
    ahead.wait_for(Checkpoint("user/tiny", "step8", 8, hub.commits["step8"], None))
    assert not list(Path(constants.HF_HUB_CACHE).glob("*/snapshots/*/model.safetensors"))


_STALLED = """
import sys
from lm_probe.cli import main
from lm_probe.sweeps._probe_step import ProbeStep
from lm_probe.sweeps._ray import Spread
measure = ProbeStep.forward
def forward(self, *args):
    print("measuring", flush=True)
    self._prefetch._thread.join()
    return measure(self, *args)
ProbeStep.forward = forward
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_does_not_wait_for_a_download(kind: signal.Signals, series: Path, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        hub.add_model("user/tiny", {step: series / step for step in STEPS})
        sha = hub.add_model("user/tiny", {step: series / step for step in STEPS})["step1"]
        hub.fail(f"{sha}/model.safetensors", "stall", float("inf"))
        asked = ["sweep", "user/tiny", "--revisions", "all", "--out", str(tmp_path / "run"), "--probes", "loss"]
        asked += ["--tasks", "none", "--tokens", "300", "--context", "32", "--device", "cpu", "--no-audit"]
        child = subprocess.Popen(
            [sys.executable, "-c", _STALLED, *asked],
            env=hub.environment(tmp_path / "home") | {"HF_HUB_DOWNLOAD_TIMEOUT": "600"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert child.stdout is not None and child.stdout.readline() == "measuring\n", child.communicate()[1]
            child.send_signal(kind)
            _, said = child.communicate(timeout=300)  # half of what the transfer is waited for
        finally:
            child.kill()
    assert child.returncode == 128 + kind and "run the same command again to go on" in said


@pytest.mark.parametrize("audit", [False, True])
def test_what_is_finished_makes_room_and_what_was_there_stays(audit: bool, hub: LoopbackHub, tmp_path: Path) -> None:
    kept = Path(snapshot_download("user/tiny", revision=hub.commits["step1"]))
    _sweep(tmp_path / "run", cache_gb=0.0, probes=("loss", "head_spectrum"), audit=audit)
    assert _in_cache(hub) == {"step1"}
    assert (kept / "tokenizer.json").read_text() and (kept / "model.safetensors").read_bytes()
    assert json.loads((tmp_path / "run" / "fetched.json").read_text()) == {}
    _sweep(tmp_path / "whole", probes=("loss", "head_spectrum"))
    assert _in_cache(hub) == set(STEPS)
    with RunStore(tmp_path / "run") as store, RunStore(tmp_path / "whole") as whole:
        assert store.values().equals(whole.values())


def test_a_bound_keeps_what_was_used_last(hub: LoopbackHub, series: Path, tmp_path: Path) -> None:
    one = sum(file.stat().st_size for file in (series / "step8").iterdir())
    _sweep(tmp_path / "run", cache_gb=2.2 * one / 1e9)
    assert _in_cache(hub) == {"step1", "step8"}


def test_never_more_than_the_one_at_hand_and_the_next(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, there = ProbeStep.forward, []

    def forward(self: ProbeStep, *args: Any) -> Any:
        if self._prefetch._thread is not None:
            self._prefetch._thread.join()
        there.append(_in_cache(hub))
        return measure(self, *args)

    monkeypatch.setattr(ProbeStep, "forward", forward)
    _sweep(tmp_path / "run", cache_gb=0.0)
    assert there == [{"step0", "step1"}, {"step1", "step8"}, {"step8"}]
    assert not _in_cache(hub)


def test_a_sweep_that_was_stopped_still_knows_what_it_fetched(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(ProbeStep, "forward", stop)
        with pytest.raises(KeyboardInterrupt):
            _sweep(tmp_path / "run")
    assert "step0" in _in_cache(hub)
    _sweep(tmp_path / "run", cache_gb=0.0)
    assert not _in_cache(hub)


def test_what_is_going_to_be_fetched_is_noted_first(hub: LoopbackHub, tmp_path: Path) -> None:
    """A kill between note and download leaves a note of nothing; one after it, a note of what is there."""
    (tmp_path / "run").mkdir()
    checkpoints = {step: Checkpoint("user/tiny", step, None, sha, None) for step, sha in hub.commits.items()}
    fetched = Fetched(tmp_path / "run", 0.0)
    fetched.using(checkpoints["step0"])
    fetched.using(checkpoints["step1"])
    snapshot_download("user/tiny", revision=hub.commits["step1"])
    snapshot_download("user/tiny", revision=hub.commits["step8"])
    assert Fetched(tmp_path / "run", 0.0).give_back() == [hub.commits["step1"]]
    assert _in_cache(hub) == {"step8"}
    (tmp_path / "run" / "fetched.json").write_text('{"')
    assert Fetched(tmp_path / "run", 0.0).give_back() == []


def test_a_disk_that_is_too_small_is_told_before(
    hub: LoopbackHub, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = (series / "step0" / "model.safetensors").stat().st_size
    monkeypatch.setattr(_downloads, "free_space", lambda: 2 * one)
    asked = dict(revisions="all", probes=("loss",), tasks=(), tokens=300, context=32, device="cpu")
    sweep(SweepConfig(("user/tiny",), tmp_path / "run", **asked))
    assert "GB free: give --cache-gb, which deletes what is finished" in capsys.readouterr().err
    sweep(SweepConfig(("user/tiny",), tmp_path / "bound", cache_gb=0.0, **asked))
    assert "GB free" not in capsys.readouterr().err
    with pytest.raises(UserError, match="--cache-gb bounds the Hub cache of this machine alone"):
        sweep(SweepConfig(("user/tiny",), tmp_path / "run", cache_gb=0.0, **asked), spread=Spread())
    with pytest.raises(UserError, match="--cache-gb -1 is no size"):
        SweepConfig(("user/tiny",), tmp_path / "run", cache_gb=-1, **asked)
