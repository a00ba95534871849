"""One sweep at a time writes to a run."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._foreign import refuse_foreign


def make_folder(folder: Path) -> Path:
    """Makes a folder where there is none.

    Raises:
        UserError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): choose another --out") from error
    if not may_write(folder):
        raise UserError(f"{folder} cannot be written: choose another --out")
    return folder


def may_write(folder: Path) -> bool:
    """Whether this process may make files in a folder."""
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the run for this process; the system lets go of it however the process ends.

    Raises:
        UserError: another sweep holds it, the folder cannot be written or locked, or it holds files of somebody else's.
    """
    refuse_foreign(folder)
    path = make_folder(folder) / "run.lock"
    try:
        handle = path.open("a+b", buffering=0)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another --out") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().decode(errors="replace").strip() or "another process"
            raise UserError(f"{folder} is in use by {holder}: wait for it, stop it, or choose another --out") from None
        except OSError as error:  # network file systems without locks; SQLite could not keep a run there either
            raise UserError(
                f"{folder} cannot be locked ({error.strerror}): its file system does not keep two sweeps apart, so "
                f"choose an --out on a local disk"
            ) from error
        try:
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}): free some space, or choose another --out"
            ) from error
        yield
        handle.truncate(0)
