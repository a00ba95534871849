"""Starts a Ray on this machine or joins a cluster, by a driver in a process of its own, and lets go of it again."""

import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from lm_probe.model_adapters import UserError, in_short
from lm_probe.sweeps._ray import LOCAL, Spread
from lm_probe.sweeps._ray_driver import CLOSE, Driver

_OBJECT_STORE = 200 * 2**20  # bytes: the text and the settings go through it, no weights
_LONGEST_FOLDER = 40  # characters that the path of a socket leaves to it
_AT_ONCE = 5.0  # seconds to let go in, when told to stop
_AT_LENGTH = 60.0  # and otherwise
_SIGNAL = 2.0  # seconds: a batch system that stops the cluster tells us too, a little later
# With the paths of this process, whatever lies in the folder that it stands in.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from lm_probe.sweeps._ray_driver import main; main()"


@contextmanager
def cluster(spread: Spread, *, debug: bool = False) -> Iterator[Driver]:
    """A driver, connected. A Ray that this program has joined itself is used as it is, and from this process.

    Args:
        spread: which cluster.
        debug: let Ray and the workers print, and keep what a local Ray logs.

    Raises:
        UserError: Ray does not start, there is no cluster at the address, or later it is gone.
    """
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        driver = Driver(ray)
        try:
            yield driver
        finally:
            driver.close()
        return
    address = reachable(spread.address)
    folder = _short_folder() if address == LOCAL else None
    try:
        with _process(address, debug) as apart:
            apart.connect({} if folder is None else _local_options(folder))
            yield cast(Driver, apart)
    finally:
        if folder is not None and not debug:
            shutil.rmtree(folder, ignore_errors=True)


def cluster_words(spread: Spread) -> str:
    """What `cluster` is about to do."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return "using the Ray that this program has joined"
    if spread.address == LOCAL:
        return "starting a Ray on this machine"
    named = os.environ.get("RAY_ADDRESS") if spread.address == "auto" else None
    return f"joining the Ray cluster at {named or spread.address}"


class _Apart:
    """The methods of a driver in another process."""

    def __init__(self, questions: IO[bytes], answers: IO[bytes], address: str, debug: bool) -> None:
        self._questions = questions
        self._answers = answers
        self._address = address
        self._debug = debug

    def connect(self, options: Mapping[str, Any]) -> None:
        """As `ray.init`."""
        level = "INFO" if self._debug else "CRITICAL"
        asked = dict(address=self._address, log_to_driver=self._debug, logging_level=level, **options)
        try:
            self._ask("connect", (asked,))
        except Exception as error:
            said = " ".join(str(error).split())[:240]
            if self._address == LOCAL:
                raise UserError(
                    f"Ray does not start on this machine ({said}): leave --ray out, or see with --debug what it logs"
                ) from error
            raise UserError(
                f"--ray {self._address} cannot be joined ({said}): it needs the same Python and Ray as here, and where "
                f"it asks for a token RAY_AUTH_MODE=token; --debug shows more"
            ) from error

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *given: self._asked(method, given)

    def end(self) -> None:
        """Asks for nothing more; a program that forked keeps the pipe open, so closing it would not say so."""
        with suppress(OSError):
            self._write(CLOSE, ())

    def _asked(self, method: str, given: Sequence[Any]) -> Any:
        try:
            return self._ask(method, given)
        except _Gone as gone:
            where = "Ray on this machine" if self._address == LOCAL else f"the Ray cluster at {self._address}"
            raise UserError(
                f"{where} is gone ({gone}): what was finished is stored; run the same command again to go on, and see "
                f"with --debug what Ray says"
            ) from gone

    def _ask(self, method: str, given: Sequence[Any]) -> Any:
        try:
            self._write(method, given)
            failed, answer = pickle.load(self._answers)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            time.sleep(_SIGNAL)
            raise _Gone("Ray ended its driver") from error
        if not failed:
            return answer
        if isinstance(answer, OSError) or type(answer).__module__.startswith("ray."):
            raise _Gone(in_short(answer)) from answer
        raise answer

    def _write(self, method: str, given: Sequence[Any]) -> None:
        pickle.dump((method, given), self._questions)
        self._questions.flush()


class _Gone(Exception):
    """The driver's process has ended, or Ray there says that it cannot go on."""


@contextmanager
def _process(address: str, debug: bool) -> Iterator[_Apart]:
    """The driver's process, which ends with the context."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if debug else subprocess.DEVNULL,
        env={"RAY_USAGE_STATS_ENABLED": "0", **os.environ},
        start_new_session=True,  # Ctrl-C is for us
    )
    questions, answers = process.stdin, process.stdout
    assert questions is not None and answers is not None
    within = _AT_LENGTH
    apart = _Apart(questions, answers, address, debug)
    try:
        yield apart
    except KeyboardInterrupt:  # perhaps amid a question
        within = _AT_ONCE
        raise
    finally:
        if within != _AT_ONCE:
            apart.end()
        for pipe in (questions, answers):
            with suppress(OSError):
                pipe.close()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(within)
        finally:
            process.kill()
            process.wait()


def rooms(nodes: Sequence[Mapping[str, Any]], cpus: int, gpus: float) -> dict[str, int]:
    """How many workers each machine of the cluster would hold if nothing else ran, by Ray's name of the machine."""
    found = {}
    for node in nodes:
        if node["Alive"]:
            has = node["Resources"]
            room = int(has.get("CPU", 0)) // cpus
            if gpus:
                whole = int(has.get("GPU", 0))  # a share lies within one GPU
                room = min(room, whole * int(1 / gpus + 1e-9) if gpus < 1 else whole // int(gpus))
            if room:
                found[node["NodeID"]] = room
    return found


def have_gpus(nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a machine of the cluster has any."""
    return any(node["Alive"] and node["Resources"].get("GPU", 0) for node in nodes)


def reachable(address: str) -> str:
    """The address, once somebody answers there: Ray itself would try for minutes.

    Raises:
        UserError: nobody does.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(
                f"no Ray answers at {address} ({error.strerror or error}): start one there with ray start --head, or "
                f"give --ray without an address"
            ) from error
    return address


def _local_options(folder: Path) -> dict[str, Any]:
    options = dict(include_dashboard=False, object_store_memory=_OBJECT_STORE, _temp_dir=str(folder))
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    if mine is not None and mine < (os.cpu_count() or 1):
        options["num_cpus"] = mine  # what a batch system gave; Ray itself sees a container's share only
    return options


def _short_folder() -> Path:
    roomy = len(tempfile.gettempdir()) <= _LONGEST_FOLDER - len("/lm-probe-12345678")
    return Path(tempfile.mkdtemp(prefix="lm-probe-", dir=None if roomy else "/tmp"))
