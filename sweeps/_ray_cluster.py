"""Starts a Ray on this machine or joins a cluster, and lets go of it again."""

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._ray import LOCAL, Spread

_OBJECT_STORE = 200 * 2**20  # bytes: the text and the settings go through it, no weights
_LONGEST_FOLDER = 40  # characters that the path of a socket leaves to it
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_GRACE = 5.0  # seconds to let go in, when told to stop: a batch system stops the cluster's head along with us


@contextmanager
def cluster(spread: Spread, *, debug: bool = False) -> Iterator[Any]:
    """The `ray` module, connected; one that was connected before is used and stays so.

    Args:
        spread: which cluster.
        debug: let Ray and the workers print, and keep what a local Ray logs.

    Raises:
        UserError: Ray is not installed, does not start, or there is no cluster at the address.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    address = reachable(spread.address)
    folder = _short_folder() if address == LOCAL else None
    options = {} if folder is None else _local_options(folder)
    try:
        # Ray prints what it has to say of a dead worker to stdout, whatever its log level is.
        with (
            open(os.devnull, "w") as nowhere,
            redirect_stdout(sys.stdout if debug else nowhere),
            letting_go(ray.shutdown),
        ):
            _connect(ray, address, debug, options)
            yield ray
    finally:
        if folder is not None and not debug:
            shutil.rmtree(folder, ignore_errors=True)


def apart(call: Callable[..., Any], *given: Any, within: float | None = None) -> Any:
    """What a call of Ray gives, made in a thread of its own so that a signal is heard meanwhile.

    For a head that is gone Ray itself waits a minute, deaf to signals, and then ends the process.

    Args:
        call: what to call.
        given: with what.
        within: seconds after which it is left to itself.

    Raises:
        TimeoutError: it takes longer.
    """
    answer: Future[Any] = Future()

    def ask() -> None:
        try:
            answer.set_result(call(*given))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(within)


@contextmanager
def letting_go(call: Callable[[], Any]) -> Iterator[None]:
    """Makes a call at the end, and if it was told to stop gives that call little time."""
    within = None
    try:
        yield
    except KeyboardInterrupt:
        within = _GRACE
        raise
    finally:
        with suppress(TimeoutError):
            apart(call, within=within)


def rooms(ray: Any, cpus: int, gpus: float) -> dict[str, int]:
    """How many workers each machine of the cluster would hold if nothing else ran, by Ray's name of the machine."""
    found = {}
    for node in apart(ray.nodes):
        if node["Alive"]:
            has = node["Resources"]
            room = int(has.get("CPU", 0)) // cpus
            if gpus:
                whole = int(has.get("GPU", 0))  # a share lies within one GPU
                room = min(room, whole * int(1 / gpus + 1e-9) if gpus < 1 else whole // int(gpus))
            if room:
                found[node["NodeID"]] = room
    return found


def has_gpus(ray: Any) -> bool:
    """Whether a machine of the cluster has any."""
    return any(node["Alive"] and node["Resources"].get("GPU", 0) for node in apart(ray.nodes))


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported
    import ray

    return ray


def _connect(ray: Any, address: str, debug: bool, options: dict[str, Any]) -> None:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    level = logging.INFO if debug else logging.CRITICAL
    try:
        ray.init(address=address, log_to_driver=debug, logging_level=level, **options)
    except SystemExit as stop:  # what Ray makes of SIGTERM
        _put_back(before)
        signal.raise_signal(signal.SIGTERM)
        raise stop
    except Exception as error:
        said = " ".join(str(error).split())[:240]
        if address == LOCAL:
            raise UserError(
                f"Ray does not start on this machine ({said}): leave --ray out, or see with --debug what it logs"
            ) from error
        raise UserError(
            f"--ray {address} cannot be joined ({said}): it needs the same Python and Ray as here, and where it "
            f"asks for a token RAY_AUTH_MODE=token; --debug shows more"
        ) from error
    finally:
        _put_back(before)


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    """Ray takes SIGTERM for itself, for good."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


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
