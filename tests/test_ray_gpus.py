"""GPUs for the workers of a real Ray, which hands them out by number whether or not the machine has any."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lm_probe.sweeps import Spread, SweepConfig, UserError, sweep
from lm_probe.sweeps._job import prepare
from lm_probe.sweeps._ray_worker import Measurer
from tests.conftest import make_model

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'lm-probe[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
os.environ.setdefault("RAY_worker_niceness", "0")

# Each worker waits until as many are at work as should be: with fewer it gives up, and more would be counted.
PROBE = """
import os, time
from pathlib import Path
from lm_probe.probes import Reading

class Meeting:
    name, version, needs = "meeting", 1, frozenset({"head"})

    def read(self, weights, context):
        place = weights.folder.parent
        (place / f"worker-{os.getpid()}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "not set"))
        end = time.monotonic() + 60
        while len(list(place.glob("worker-*"))) < int((place / "awaited").read_text()):
            if time.monotonic() > end:
                raise ValueError("the others do not come")
            time.sleep(0.05)
        yield Reading("fine", 1.0)
"""


@pytest.fixture(scope="module", autouse=True)
def two_gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    plugin = tmp_path_factory.mktemp("plugin")
    about = plugin / "meeting-1.0.dist-info"
    about.mkdir()
    (plugin / "meeting.py").write_text(PROBE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: meeting\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[lm_probe.probes]\nmeeting = meeting:Meeting\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(plugin), os.environ.get("PYTHONPATH")))))
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        store = 100 * 2**20
        ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, logging_level="CRITICAL", object_store_memory=store)
        yield
        ray.shutdown()


def _config(series: Path, out: Path, **changed: Any) -> SweepConfig:
    return SweepConfig(sources=(str(series),), out=out, **{"tasks": (), "probes": ("meeting",), **changed})


@pytest.mark.parametrize(
    ("share", "cpus", "seen"),
    [(0.5, 1, {"0": 2, "1": 2}), (None, 1, {"0": 1, "1": 1}), (2, 1, {"0,1": 1}), (0, 4, {"": 1})],
)
def test_as_many_work_at_a_time_as_the_shares_allow_and_each_sees_its_own(
    share: float | None, cpus: int, seen: dict[str, int], tmp_path: Path, tokenizer: Any
) -> None:
    series = tmp_path / "series"
    for step in range(6):
        make_model("gpt_neox", seed=step).save_pretrained(series / f"step{step}")
    (series / "awaited").write_text(str(sum(seen.values())))
    done = sweep(_config(series, tmp_path / "run", audit=False), spread=Spread(cpus=cpus, gpus=share), silent=True)
    assert (done.measured, done.failures) == (6, [])
    assert Counter(file.read_text() for file in series.glob("worker-*")) == seen


@pytest.mark.parametrize(
    ("share", "changed", "said"),
    [
        (3, {}, "no machine of the cluster has 1 CPU and 3 GPUs for a worker: lower --cpus-per-task or --gpus-per-"),
        (1.5, {}, "--gpus-per-task 1.5 cannot be given: a share of one GPU, e.g. 0.5, or a whole number"),
        (-1, {}, "--gpus-per-task -1 cannot be given: a share"),
        (float("nan"), {}, "--gpus-per-task nan cannot be given: a share"),
        (0, {"device": "cuda"}, "--gpus-per-task 0 leaves a worker no GPU for --device cuda: leave out one of them"),
    ],
)
def test_a_share_that_is_none_is_refused(
    share: float, changed: dict[str, Any], said: str, series: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        sweep(_config(series, tmp_path / "run", **changed), spread=Spread(gpus=share), silent=True)


def test_a_share_of_a_gpu_is_a_share_of_its_memory(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    cuda = SimpleNamespace(is_available=lambda: True, set_per_process_memory_fraction=limits.append)
    job = prepare(_config(series, tmp_path / "run", device="cpu"))
    monkeypatch.setattr(torch, "cuda", cuda)
    for share in (0, 0.25, 1, 2):
        assert Measurer(job, 1, share).begin() is None
    assert limits == [0.25]
