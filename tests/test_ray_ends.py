"""How a sweep over a Ray ends before it is through: stopped, without its Ray, or without ever having one."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ray_sweeps import measurements, sweep_over, twelve_checkpoints

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lm-probe[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would starve its workers beside other tests


def _command(series: Path, run: Path, text: Path) -> list[str]:
    command = [
        sys.executable,
        "-c",
        "import sys; from lm_probe.cli import main; sys.exit(main())",
        "sweep",
        str(series),
    ]
    command += ["--out", str(run), "--text", str(text), "--tokens", "600", "--context", "32", "--tasks", "none"]
    return [*command, "--probes", "loss,geometry", "--no-report", "--ray"]


@pytest.mark.parametrize(
    ("lost", "told"),
    [((), True), (("gcs_server", "raylet"), True), (("gcs_server", "raylet"), False)],
    ids=["told to stop", "head gone and told to stop", "head gone"],
)
def test_stopped_it_takes_its_ray_along_and_goes_on_later(
    lost: tuple[str, ...], told: bool, tokenizer: Any, text_file: Path, tmp_path: Path
) -> None:
    """Also where the batch system has stopped the cluster's head already, for which Ray ends its driver."""
    run, series = tmp_path / "run", twelve_checkpoints(tmp_path / "series", tokenizer)
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as temporary:  # the path of a socket has 107 characters
        pipe = subprocess.PIPE
        # Ray itself waits a minute for a head.
        environment = {**os.environ, "TMPDIR": temporary, "RAY_gcs_rpc_server_reconnect_timeout_s": "4"}
        sweeping = subprocess.Popen(
            _command(series, run, text_file), env=environment, stdout=pipe, stderr=pipe, text=True
        )
        while measurements(run) < 3 and sweeping.poll() is None:
            time.sleep(0.05)
        started = psutil.Process(sweeping.pid).children(recursive=True)
        assert any("raylet" in child.name() for child in started) and list(Path(temporary).glob("lm-probe-*"))
        for child in started:
            if child.name() in lost:
                child.kill()
        if told:
            sweeping.send_signal(signal.SIGTERM)
        out, said = sweeping.communicate(timeout=60)
        assert sweeping.returncode == (128 + signal.SIGTERM if told else 2), said
        expected = (
            "stopped; what was finished is stored"
            if told
            else "Ray on this machine is gone (Ray ended its driver): what was finished"
        )
        assert expected in said and "Traceback" not in said and not out
        assert said.index("starting a Ray on this machine ...") < said.index(" on 1 machine: loading torch")
        for child in started if lost else ():  # without a head they take their time
            with suppress(psutil.NoSuchProcess):
                child.kill()
        assert not psutil.wait_procs(started, timeout=60)[1], "something of Ray is still there"
        assert not list(Path(temporary).glob("lm-probe-*"))
    kept = measurements(run)
    assert 3 <= kept < 24
    done = sweep_over(series, run, text_file, None, probes=("loss", "geometry"))
    assert (done.measured, done.finished_before, done.failures) == (24 - kept, kept, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_can_be_stopped_while_it_joins_a_cluster_that_does_not_answer(
    number: signal.Signals, series: Path, text_file: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, tempfile.TemporaryDirectory() as folder:
        command = [*_command(series, Path(folder) / "run", text_file), f"127.0.0.1:{mute.getsockname()[1]}"]
        sweeping = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not (driver := psutil.Process(sweeping.pid).children()) and sweeping.poll() is None:
            time.sleep(0.05)
        time.sleep(4)  # it is seen by nobody how far Ray is
        sweeping.send_signal(number)
        _, said = sweeping.communicate(timeout=30)  # Ray itself would try for minutes
        assert driver and not psutil.wait_procs(driver, timeout=30)[1], "Ray's driver is still there"
    if number == signal.SIGTERM:
        assert sweeping.returncode == 128 + number and "stopped; what was finished is stored" in said


def test_a_driver_that_ends_before_it_is_connected_stored_nothing(
    series: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("import os; os._exit(1)")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    }
    command = [*_command(series, tmp_path / "run", text_file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Ray does not start on this machine (Ray ended its driver)" in done.stderr
