"""A sweep over the workers of a real Ray: the numbers, deaths, refusals, and what is left behind."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
import torch

from lm_probe.sweeps import Progress, RunStore, Spread, SweepConfig, UserError, _ray_introduction
from lm_probe.sweeps._job import prepare
from lm_probe.sweeps._ray_cluster import cluster, cluster_words, reachable, rooms
from lm_probe.sweeps._ray_worker import Measurer
from tests.loopback_hub import LoopbackHub
from tests.ray_sweeps import STEPS, measurements, sweep_over, twelve_checkpoints

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lm-probe[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would starve its workers beside other tests

PROBES = """
import os, signal, sys, time
from pathlib import Path
from lm_probe.probes import Reading

class _Probe:
    version, needs = 1, frozenset({"head"})

    def read(self, weights, context):
        yield Reading("fine", self.look(weights.folder.name))

class Poison(_Probe):
    name = "poison"

    def look(self, checkpoint):
        if checkpoint == "step8":
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

class Fragile(_Probe):
    name = "fragile"

    def look(self, checkpoint):
        if checkpoint == "step8" and not (died := Path(__file__).with_name("died")).exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

class Slow(_Probe):
    name = "slow"

    def look(self, checkpoint):
        time.sleep(1)
        return 1.0

class Listening(_Probe):
    name = "listening"

    def __init__(self):
        self.look = lambda checkpoint: float(not sys.stdin.read())  # which pickle does not take

class Token(_Probe):
    name = "token"

    def look(self, checkpoint):
        return float(os.environ.get("HF_TOKEN") == "hf_of_this_test")
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As a worker has: what is summed by more threads is rounded otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def long_series(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return twelve_checkpoints(tmp_path_factory.mktemp("sources") / "long", tokenizer)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed package with probes of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "deadly_probes.py").write_text(PROBES)
    about = folder / "deadly_probes-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly-probes\nVersion: 1.0\n")
    names = ("poison", "fragile", "slow", "token", "listening")
    lines = "".join(f"{name} = deadly_probes:{name.title()}\n" for name in names)
    (about / "entry_points.txt").write_text(f"[lm_probe.probes]\n{lines}")
    return folder


@pytest.fixture(scope="module")
def ray(plugin: Path) -> Iterator[SimpleNamespace]:
    """A Ray of two CPUs that the tests share: how a sweep joins it, and the folder of its logs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(plugin), os.environ.get("PYTHONPATH")))))
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or the token of this one would have to be told to those who join
        with cluster(Spread()) as driver:
            (node,) = driver.nodes()
            assert node["Resources"]["CPU"] >= 1
            logs = Path(node["RayletSocketName"]).parents[1]
            (head,) = (one for one in psutil.Process().children(recursive=True) if one.name() == "gcs_server")
            told = next(word for word in head.cmdline() if word.startswith("--gcs_server_port=")).partition("=")[2]
            port = told if told != "0" else next(logs.glob("gcs_server_port*")).read_text()
            yield SimpleNamespace(spread=Spread(f"{node['NodeManagerAddress']}:{port}"), logs=logs)


def test_what_is_joined_is_told_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster_words(Spread()) == "starting a Ray on this machine"
    assert cluster_words(Spread("auto")) == "joining the Ray cluster at auto"
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert cluster_words(Spread("auto")) == "joining the Ray cluster at ray://head:10001"
    assert cluster_words(Spread("other:6379")) == "joining the Ray cluster at other:6379"


def _values(run: Path) -> pd.DataFrame:
    with RunStore(run) as store:
        return store.values(provenance=True)


def _workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "ray::" in child.name()]


def _kill_one_after(run: Path, number: int, killed: list[int]) -> None:
    while measurements(run) < number:
        time.sleep(0.05)
    busy = next(worker for worker in _workers() if "Actor" in worker.name())
    killed.append(busy.pid)
    busy.kill()


def test_a_killed_worker_costs_no_value(
    long_series: Path,
    tmp_path: Path,
    text_file: Path,
    ray: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began: list[int] = []
    monkeypatch.setattr(Progress, "begin", lambda self, at_once=0: began.append(at_once))
    asked = dict(
        probes=("loss", "head_spectrum", "geometry"), reference="step16", tasks=("count_query_m5",), task_documents=2
    )
    killed: list[int] = []
    hand = threading.Thread(target=_kill_one_after, args=(tmp_path / "spread", 9, killed), daemon=True)
    hand.start()
    done = sweep_over(long_series, tmp_path / "spread", text_file, ray.spread, **asked)
    hand.join()
    assert (done.checkpoints, done.measured, done.failures) == (12, 48, [])
    assert killed and not psutil.pid_exists(killed[0])
    assert "its worker died" in capsys.readouterr().err
    assert len(began) == 1 and began[0] >= 4 and began[0] % 4 == 0, "four measurements of a checkpoint, by all workers"
    assert not sweep_over(long_series, tmp_path / "alone", text_file, None, **asked).failures
    pd.testing.assert_frame_equal(_values(tmp_path / "spread"), _values(tmp_path / "alone"), check_exact=True)
    files = sorted(path.parent.name for path in (tmp_path / "spread" / "lm_eval").rglob("results_*.json"))
    assert files == sorted(f"step{step}" for step in STEPS)


def test_a_copy_that_nobody_knew_waits_for_its_original(
    series: Path, tmp_path: Path, text_file: Path, ray: SimpleNamespace
) -> None:
    """Two workers have begun with the same when they find out."""
    source = tmp_path / "twins"
    for step in range(4):
        shutil.copytree(series / "step1", source / f"step{step}")
    asked = dict(probes=("slow", "head_spectrum"), audit=False)
    done = sweep_over(source, tmp_path / "spread", text_file, ray.spread, **asked)
    assert (done.checkpoints, done.measured, done.copied, done.failures) == (4, 2, 6, [])
    assert sweep_over(source, tmp_path / "alone", text_file, None, **asked).copied == 6
    pd.testing.assert_frame_equal(_values(tmp_path / "spread"), _values(tmp_path / "alone"), check_exact=True)


def test_heads_are_read_from_the_hub_by_every_worker(
    series: Path, tmp_path: Path, text_file: Path, ray: SimpleNamespace, hub: LoopbackHub, monkeypatch: Any
) -> None:
    """Values, findings, bytes and which one was measured are those of a serial sweep; two steps are one commit."""
    for name, value in {"ENDPOINT": hub.url, "HUB_OFFLINE": "0", "HUB_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(f"HF_{name}", value)
    names = {"step0": "step1", "step1": "step1", "step8": "step8", "step9": "step0"}
    hub.add_model("user/tiny", {name: series / folder for name, folder in names.items()})
    runs = {}
    for name, spread in {"spread": ray.spread, "alone": None}.items():
        hub.forget_requests()
        asked = dict(probes=("slow", "head_spectrum"), revisions="all")
        done = sweep_over(Path("user/tiny"), tmp_path / name, text_file, spread, **asked)
        assert (done.checkpoints, done.measured, done.copied, done.failures) == (4, 6, 2, [])
        assert [(one.revision, one.kind, one.twin) for one in done.findings] == [("step1", "copy", "step0")]
        runs[name] = sum(request.bytes_sent for request in hub.requests if request.path.endswith(".safetensors"))
    pd.testing.assert_frame_equal(_values(tmp_path / "spread"), _values(tmp_path / "alone"), check_exact=True)
    assert _origins(tmp_path / "spread") == _origins(tmp_path / "alone")
    # Each worker reads the head that all are compared with.
    head = 320 * 16 * 4
    assert 3 * head < runs["alone"] <= runs["spread"] < runs["alone"] + 2.5 * head
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def _origins(run: Path) -> list[tuple[str, str | None]]:
    with RunStore(run) as store:
        made = store.measurements()
    return [(row["revision"], row["details"].get("copied_from")) for row in made.to_dict("records")]


def test_deaths_and_bad_files_cost_only_what_they_touch(
    series: Path,
    tmp_path: Path,
    text_file: Path,
    ray: SimpleNamespace,
    plugin: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """At step 8 `fragile` kills its worker once and `poison` every worker; step 2 is truncated."""
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    source = Path(shutil.copytree(series, tmp_path / "bad"))
    shutil.copytree(series / "step1", source / "step2")
    weights = source / "step2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-200])
    done = sweep_over(
        source, tmp_path / "run", text_file, replace(ray.spread, tries=2), probes=("token", "fragile", "poison", "loss")
    )
    assert (plugin / "died").exists()
    # Measured again after the first death, `token` of step 8 would be one more.
    assert (done.checkpoints, done.measured, done.finished_before) == (4, 10, 0)
    said = {failure.checkpoint: failure.error for failure in done.failures}
    assert set(said) == {"bad step2", "bad step8"} and "damaged or truncated" in said["bad step2"]
    assert said["bad step8"].startswith("its worker died 2 times (out of memory?): at poison on ")
    assert "Worker unexpectedly exits" in said["bad step8"] and "common causes" not in said["bad step8"]
    values = _values(tmp_path / "run")
    assert set(values[values.step == 8].probe) == {"token", "fragile"}
    assert set(values[values.probe == "loss"].step) == {0, 1}
    assert values[values.probe == "token"].value.tolist() == [1.0, 1.0, 1.0]  # it reached the workers, and no log
    logs = [path for path in ray.logs.rglob("*") if path.is_file()]
    assert logs and not [path for path in logs if b"hf_of_this_test" in path.read_bytes()]
    assert "hf_of_this_test" not in "".join(capfd.readouterr())


def test_a_probe_may_hold_functions_and_hears_nothing_of_what_is_asked(
    series: Path, tmp_path: Path, text_file: Path, ray: SimpleNamespace
) -> None:
    done = sweep_over(series, tmp_path / "run", text_file, ray.spread, probes=("listening",))
    assert (done.measured, done.failures) == (3, [])


OWN = """
import sys
from pathlib import Path
from lm_probe.sweeps import Spread, SweepConfig, sweep

source, out, text, address = sys.argv[1:]
config = SweepConfig((source,), Path(out), text=text, tokens=600, context=32, tasks=(), probes=("own",), device="cpu")
print(sweep(config, spread=Spread(address), silent=True))
"""


def test_a_script_finds_its_own_probes_in_the_workers(
    series: Path, text_file: Path, tmp_path: Path, ray: SimpleNamespace
) -> None:
    """Beside the script, which stands in another folder, and without a guard."""
    scripts, about = tmp_path / "scripts", tmp_path / "scripts" / "own_probe-1.0.dist-info"
    about.mkdir(parents=True)
    (scripts / "own.py").write_text(OWN)
    probe = PROBES.replace("class Slow(_Probe):", "class Own(_Probe):").replace('name = "slow"', 'name = "own"')
    (scripts / "own_probe.py").write_text(probe)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: own-probe\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[lm_probe.probes]\nown = own_probe:Own\n")
    asked = [str(series), str(tmp_path / "run"), str(text_file), ray.spread.address]
    done = subprocess.run(
        [sys.executable, str(scripts / "own.py"), *asked], cwd="/", capture_output=True, text=True, timeout=120
    )
    assert "measured=3" in done.stdout, done.stderr


def test_a_text_that_cannot_be_used_stops_the_sweep(series: Path, tmp_path: Path, ray: SimpleNamespace) -> None:
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(UserError, match="one context is 32: give a longer --text"):
        sweep_over(series / "step8", tmp_path / "run", tmp_path / "short.txt", ray.spread)


def test_machines_that_are_not_fit_are_refused(
    series: Path,
    tmp_path: Path,
    text_file: Path,
    ray: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match="no machine of the cluster has 999 CPUs for a worker: lower --cpus-per-task"):
        sweep_over(series, tmp_path, text_file, replace(ray.spread, cpus=999))
    with pytest.raises(UserError, match="no machine of the cluster has 1 CPU and 1 GPU for a worker"):
        sweep_over(series, tmp_path, text_file, replace(ray.spread, gpus=1))
    here = _ray_introduction.recorded_versions()
    monkeypatch.setattr(_ray_introduction, "recorded_versions", lambda: {**here, "torch": "1.0"})
    with pytest.raises(UserError, match=rf": it has torch {here['torch'].replace('+', '.')} and not 1\.0, .*install"):
        sweep_over(series / "step8", tmp_path, text_file, ray.spread)
    assert not measurements(tmp_path)


def test_a_worker_says_what_it_lacks(series: Path, tmp_path: Path, text_file: Path) -> None:
    moved = tmp_path / "here"
    moved.symlink_to(series)
    config = SweepConfig(sources=(str(moved),), out=tmp_path / "run", text=str(text_file), tasks=(), device="cpu")
    job = prepare(config)
    assert Measurer(job, 1).begin() is None
    assert "device cuda:7 cannot be used" in str(
        Measurer(prepare(replace(config, device="cuda:7"), Spread()), 1).begin()
    )
    moved.unlink()
    assert Measurer(job, 1).begin() == f"{moved} is not there: put it on a disk that all machines share"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (dict(address="runs/tiny"), "--ray runs/tiny is no address: give auto"),
        (dict(cpus=0), "--cpus-per-task 0"),
        (dict(gpus=1.5), "--gpus-per-task 1.5 cannot be given"),
        (dict(tries=0), "--tries 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Spread(**asked)


def test_a_share_lies_within_one_gpu() -> None:
    node = {"Alive": True, "NodeID": "a", "Resources": {"CPU": 64.0, "GPU": 8.0}}
    dead = {"Alive": False, "NodeID": "b", "Resources": {"CPU": 64.0, "GPU": 8.0}}
    asked = {0: 64, 0.33: 24, 0.4: 16, 0.5: 16, 1: 8, 2: 4, 3: 2}
    assert {gpus: rooms([node, dead], 1, gpus).get("a", 0) for gpus in asked} == asked
    assert (rooms([node, dead], 16, 1), rooms([node, dead], 1, 9)) == ({"a": 4}, {})


@pytest.mark.parametrize("script", sorted((Path(__file__).parents[1] / "examples").glob("*.sh")), ids=lambda p: p.name)
def test_the_examples_are_sound_shell(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True).stderr == ""


def test_where_nobody_answers_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no Ray answers at 127\.0\.0\.1:9 \(Connection refused\): start one there"):
        reachable("127.0.0.1:9")
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:9")
    with pytest.raises(UserError, match="no Ray answers at ray://127"):
        reachable("auto")


def test_without_ray_it_says_what_to_install(
    series: Path, tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"not installed: pip install 'lm-probe\[ray\]'"):
        sweep_over(series, tmp_path, text_file, Spread())
    assert not list(tmp_path.iterdir())
