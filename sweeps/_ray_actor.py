"""The class that becomes a Ray actor: how a worker begins, before it is known to have lm-probe."""

from collections.abc import Mapping
from typing import Any


def actor() -> type:
    """It is made in a function so that Ray sends its code.

    A machine without lm-probe, or with another version, can then say so, and the environment is set before anything
    reads it. The environment goes as an argument, because Ray writes a `runtime_env` with all tokens in it to its log.
    """

    class Actor:
        def __init__(self) -> None:
            self._does: Any = self

        def call(self, method: str, given: bytes) -> bytes:
            """A method of the measurer, by name; before there is one, of this class."""
            import pickle

            return pickle.dumps(getattr(self._does, method)(*pickle.loads(given)))

        def introduce(
            self, environment: Mapping[str, str], folder: str, versions: Mapping[str, str]
        ) -> tuple[str, str | None]:
            """The machine's name, and what makes it unfit."""
            import contextlib
            import os
            import socket

            os.environ.update(environment)
            with contextlib.suppress(OSError):
                os.chdir(folder)  # so that a relative source is the same one
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

        def begin(self, job: bytes, cpus: int, gpus: float) -> bytes:
            """Takes the job; says what is missing for it."""
            import pickle

            from lm_probe.sweeps._ray_worker import Measurer

            self._does = Measurer(pickle.loads(job), cpus, gpus)
            return pickle.dumps(self._does.begin())

    return Actor
