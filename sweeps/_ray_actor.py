"""The actor: how a worker begins, before it is known to have lm-probe.

Ray is told to send the code of this file itself, which therefore imports nothing of ours: a machine without lm-probe,
or with another version, can then say so, and the environment is set before anything reads it.
"""

import os
import pickle
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any


class Actor:
    """Answers with bytes, which whoever started the sweep unpacks: whether it is an error, and the answer."""

    def __init__(self) -> None:
        """Can be introduced, and nothing else."""
        self._measurer: Any = None

    def introduce(self, given: bytes) -> bytes:
        """See `_introduced`."""
        return packed(_introduced, *pickle.loads(given))

    def begin(self, job: bytes, cpus: int, gpus: float) -> bytes:
        """Takes the job; says what is missing for it."""

        def begun() -> str | None:
            from lm_probe.sweeps._ray_worker import Measurer

            self._measurer = Measurer(pickle.loads(job), cpus, gpus)
            missing: str | None = self._measurer.begin()
            return missing

        return packed(begun)

    def call(self, method: str, given: bytes) -> bytes:
        """A method of the measurer."""
        return packed(getattr(self._measurer, method), *pickle.loads(given))


def packed(call: Callable[..., Any], *given: Any) -> bytes:
    """Whether a call fails, and what it gives or raises; of an error that cannot travel its name and words."""
    try:
        return pickle.dumps((False, call(*given)))
    except Exception as error:
        try:
            answer = pickle.dumps((True, error))
            pickle.loads(answer)
        except Exception:
            return pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}")))
        return answer


def _introduced(
    environment: Mapping[str, str], folder: str, script_folder: str | None, versions: Mapping[str, str]
) -> tuple[str, str | None]:
    """The machine's name, and what makes it unfit.

    The environment goes as an argument, because Ray writes a `runtime_env` with all tokens in it to its log.
    """
    os.environ.update(environment)
    with suppress(OSError):
        os.chdir(folder)  # so that a relative source is the same one
    if script_folder is not None and script_folder not in sys.path:
        sys.path.append(script_folder)  # where probes may lie
    host = socket.gethostname()
    try:
        from lm_probe.sweeps._versions import recorded_versions as installed
    except ImportError as error:
        return host, f"lm-probe does not start there ({error}): install it as on this machine"
    there = installed()
    other = [
        f"{name} {there.get(name)} and not {version}"
        for name, version in versions.items()
        if there.get(name) != version
    ]
    if other:
        return host, f"it has {', '.join(other)}, which would be another measurement: install the same"
    return host, None
