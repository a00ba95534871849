"""What runs on the machines of a Ray cluster: a worker that measures the checkpoints it is handed."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from lm_probe.model_adapters import Checkpoint, UserError, notices_to
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._units import Unit
from lm_probe.sweeps._work import Event, Failed, Looked, Said, Worker, failed


def actor() -> type:
    """The class that becomes a Ray actor.

    It is made in a function so that Ray sends its code: a machine without lm-probe, or with another version, can then
    say so, and the environment is set before anything reads it. The environment goes as an argument, because Ray
    writes a `runtime_env` with all tokens in it to its log.
    """

    class Actor:
        def introduce(
            self, environment: Mapping[str, str], folder: str, versions: Mapping[str, str]
        ) -> tuple[str, str | None]:
            """The machine's name, and what makes it unfit."""
            os.environ.update(environment)
            with suppress(OSError):
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

        def begin(self, job: Any, cpus: int, gpus: float) -> str | None:
            """Takes the job; says what is missing for it."""
            from lm_probe.sweeps._ray_worker import Measurer

            self._measurer = Measurer(job, cpus, gpus)
            return self._measurer.begin()

        def look(self, visit: Any, audit: bool) -> Any:
            return self._measurer.look(visit, audit)

        def measure(self, visit: Any, checkpoint: Any, pending: Any) -> Any:
            return self._measurer.measure(visit, checkpoint, pending)

        def next(self) -> Any:
            return self._measurer.next()

    return Actor


class Measurer:
    """A worker whose events are asked for one by one: with Ray's client too, and never far ahead of what is stored."""

    def __init__(self, job: Job, cpus: int, gpus: float = 0) -> None:
        """Takes the job."""
        self._job = job
        self._cpus = cpus
        self._gpus = gpus
        self._notices: list[Said] = []
        self._events: Iterator[Event] = iter(())

    def begin(self) -> str | None:
        """Gets ready; says what is missing on this machine."""
        torch.set_num_threads(self._cpus)
        if 0 < self._gpus < 1 and torch.cuda.is_available():
            # Its share of the memory too, or how large a batch may be hangs on what the others are at.
            torch.cuda.set_per_process_memory_fraction(self._gpus)
        for source in dict.fromkeys(visit.source for visit in self._job.visits if visit.commit is None):
            if not Path(source).expanduser().exists():
                return f"{Path(source).absolute()} is not there: put it on a disk that all machines share"
        try:
            self._job.config.refuse_device()
        except UserError as error:
            return str(error)
        self._worker = Worker(self._job)
        self._worker.say(lambda line: self._notices.append(Said(line)))
        return None

    def look(self, visit: Visit, audit: bool) -> tuple[Looked | Failed, list[Said]]:
        """As `Worker.look`, with what was said meanwhile."""
        try:
            with notices_to(self._notice):
                looked = self._worker.look(visit, audit=audit)
        except Exception as error:
            return failed("", error), list(self._flushed())
        return looked, list(self._flushed())

    def measure(self, visit: Visit, checkpoint: Checkpoint, pending: Sequence[Unit]) -> Event | None:
        """Begins with a checkpoint; gives the first event."""
        self._events = self._told(self._worker.measure(visit, checkpoint, pending))
        return self.next()

    def next(self) -> Event | None:
        """The next event; None where there is none."""
        with notices_to(self._notice):
            return next(self._events, None)

    def _told(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield from self._flushed()
            yield event
        yield from self._flushed()

    def _flushed(self) -> Iterator[Said]:
        while self._notices:
            yield self._notices.pop(0)

    def _notice(self, line: str) -> None:
        self._notices.append(Said(line, once=False))
