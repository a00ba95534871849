"""The example for SLURM as it stands, under a real SLURM of two virtual machines (slurm_cluster.sh)."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch

from lm_probe.model_adapters import UserError
from lm_probe.sweeps import RunStore, SweepConfig, sweep
from tests.conftest import make_model

_NEEDED = ("slurmctld", "slurmd", "sbatch", "munged", "unshare", "nsenter", "ip")
_LACKS = [name for name in _NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a SLURM of two virtual machines needs root"),
    pytest.mark.skipif(bool(_LACKS), reason=f"not installed: {', '.join(_LACKS)} (slurm-wlm, munge, iproute2)"),
]

HERE = Path(__file__).parent
_PATIENCE = 300.0  # seconds; only what hangs takes so long
SLOW = """
import os, socket, time
from pathlib import Path
from lm_probe.probes import Reading

class Slow:
    name, version, needs = "slow", 1, frozenset({"head"})

    def read(self, weights, context):
        with Path(__file__).with_name("hosts").open("a") as hosts:
            hosts.write(socket.gethostname() + "\\n")
        time.sleep(1)
        yield Reading("fine", 1.0)
"""


class Slurm:
    """A cluster that lives as long as the test; `folder` is seen by all of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        apart = ["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
        with (folder / "said").open("w") as said:
            self._process = subprocess.Popen(
                ["unshare", *apart, str(HERE / "slurm_cluster.sh"), str(folder)], stdout=said, stderr=said
            )

    def wait(self) -> None:
        """Until both machines are up."""
        _wait_for(self._ready)

    def run(self, *command: str) -> str:
        """What a command prints on the control machine."""
        inside = psutil.Process(self._process.pid).children()[0].pid
        enter = ["nsenter", f"--target={inside}", "--net", "--mount", "--uts", "--pid", f"--wd={self.folder}"]
        return subprocess.run(
            [*enter, *command],
            env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.strip()

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETING, COMPLETED, CANCELLED, FAILED, ..."""
        return self.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def kill_ray_of(self, node: str) -> None:
        """Ends one machine's Ray as a crash would."""
        inside = psutil.Process(self._process.pid).children(recursive=True)
        machine = next(_name_of(one) for one in inside if one.cmdline()[:4] == ["slurmd", "-D", "-N", node])
        next(one for one in inside if one.name() == "raylet" and _name_of(one) == machine).kill()

    def stop(self) -> None:
        """Everything in it ends with it."""
        self._process.kill()
        self._process.wait()

    def _ready(self) -> bool:
        try:
            return self.run("sinfo", "--noheader", "--format=%D:%t") == "2:idle"
        except (subprocess.CalledProcessError, IndexError):
            assert self._process.poll() is None, (self.folder / "said").read_text()
            return False


def _name_of(process: psutil.Process) -> str:
    """The namespace of a process's machine name."""
    return os.readlink(f"/proc/{process.pid}/ns/uts")


def _wait_for(true: Callable[[], Any]) -> None:
    end = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.2)


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as folder:  # munge goes into no folder of pytest's
        cluster = Slurm(Path(folder))
        try:
            cluster.wait()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a user has on every node: both commands, shared folders, and here a probe that takes its time."""
    commands, plugin = tmp_path / "bin", tmp_path / "plugin"
    about = plugin / "slow_probe-1.0.dist-info"
    commands.mkdir()
    about.mkdir(parents=True)
    for name, module in {"ray": "ray.scripts.scripts", "lm-probe": "lm_probe.cli"}.items():
        lines = [
            "#!/bin/sh",
            f'exec {sys.executable} -c "import sys; from {module} import main; sys.exit(main())" "$@"',
        ]
        (commands / name).write_text("\n".join(lines))
        (commands / name).chmod(0o755)
    (plugin / "slow_probe.py").write_text(SLOW)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-probe\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[lm_probe.probes]\nslow = slow_probe:Slow\n")
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}:/usr/sbin:/sbin")
    monkeypatch.setenv("PYTHONPATH", f"{plugin}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    return plugin / "hosts"


def test_the_example_stops_goes_on_and_outlives_a_node(
    tmp_path: Path, tokenizer: Any, text_file: Path, environment: Path, slurm: Slurm
) -> None:
    series, run, said = tmp_path / "series", tmp_path / "run", tmp_path / "said"
    for step in range(6):
        make_model("gpt_neox", seed=step).save_pretrained(series / f"step{step}")
        tokenizer.save_pretrained(series / f"step{step}")
    given = dict(text=str(text_file), tokens=600, context=32)
    asked = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    asked += ["--tasks", "none", "--probes", "slow,loss,geometry", "--no-report", "--out", str(run)]
    options = ["--nodes=2", "--cpus-per-task=1", "--gpus-per-node=0", f"--output={said}", "--parsable"]
    script = str(HERE.parent / "examples" / "slurm_ray.sh")

    def hosts() -> list[str]:
        return environment.read_text().split() if environment.exists() else []

    def submit(*more: str) -> str:
        return slurm.run("sbatch", *options, *more, script, str(series), *asked)

    def stored() -> bool:
        with suppress(UserError), RunStore(run) as store:  # there is none at first, and then an empty one
            return len(store.measurements()) > 0
        return False

    job = submit()
    _wait_for(stored)
    slurm.run("scancel", job)
    _wait_for(lambda: slurm.state(job) == "CANCELLED")
    _wait_for(lambda: "stopped; what was finished is stored" in said.read_text())  # the job ends before its processes
    assert "Traceback" not in said.read_text()

    environment.write_text("")
    job = submit("--open-mode=truncate")
    _wait_for(lambda: "node2" in hosts())
    slurm.kill_ray_of("node2")
    _wait_for(lambda: slurm.state(job) == "COMPLETED")
    assert " 0 finished before" not in said.read_text() and ", 0 failed" in said.read_text()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    config = SweepConfig((str(series),), tmp_path / "alone", tasks=(), probes=("loss", "geometry"), **given)
    assert not sweep(config, silent=True).failures
    torch.set_num_threads(threads)
    frames = []
    for folder in ("run", "alone"):
        with RunStore(tmp_path / folder) as store:
            values = store.values()
        frames.append(values[values.probe != "slow"].reset_index(drop=True))
    pd.testing.assert_frame_equal(*frames, check_exact=True)
