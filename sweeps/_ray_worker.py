"""What runs on the machines of a Ray cluster: a worker that measures the checkpoints it is handed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from lm_probe.model_adapters import Checkpoint, UserError, notices_to
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._units import Unit
from lm_probe.sweeps._work import Event, Failed, Looked, Said, Worker, failed


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
