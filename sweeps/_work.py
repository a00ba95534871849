"""Measures one checkpoint and tells what comes of it, piece by piece; storing is the business of whoever listens."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lm_probe.model_adapters import Checkpoint, OpenCheckpoint, UserError, counted
from lm_probe.probes import ForwardProbe, GeometryProbe
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._look import Look, look
from lm_probe.sweeps._memory import no_memory, ran_out
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._records import Conditions, Measurement
from lm_probe.sweeps._task_step import run_task_units
from lm_probe.sweeps._tokens import TextError
from lm_probe.sweeps._units import Unit

if TYPE_CHECKING:
    from lm_probe.sweeps._measure import Outcome
    from lm_probe.sweeps.lm_eval_bridge import TaskRun


class Now(NamedTuple):
    """What is being worked on."""

    doing: str


class Said(NamedTuple):
    """A notice for whoever watches."""

    line: str
    once: bool = True
    """Whether it is left out where it comes again, as with each checkpoint; that a server is away is told each time."""


class Opened(NamedTuple):
    """The model loaded: that it once did not no longer stands."""


class Measured(NamedTuple):
    """Finished units, to be stored together or not at all."""

    units: Sequence[Unit]
    measurements: Sequence[Measurement]
    run: "TaskRun | None" = None
    """What lm-eval said, where the units are tasks."""
    samples: Mapping[str, bytes] | None = None
    """By task, what the model answered to each document; see `pack`."""


class Failed(NamedTuple):
    """What went wrong; `probe` is '' where the checkpoint did not open."""

    probe: str
    line: str
    trace: str


Event = Now | Said | Opened | Measured | Failed
"""Plain Python and numpy throughout, so that it travels between processes."""


class Looked(NamedTuple):
    """A checkpoint with its identity, and what is asked of it."""

    checkpoint: Checkpoint
    units: Sequence[Unit]
    seen: Look | None = None
    """What an audit sees of it, where it was to be looked at."""


def failed(probe: str, error: Exception) -> Failed:
    """An error as an event: a user's in its own words, another with its kind."""
    said = " ".join(str(error).split())
    line = said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
    if ran_out(error) and "memory ran out" not in line:  # also while loading, which finds other words for it
        line = no_memory(error)
    return Failed(probe, line, "".join(traceback.format_exception(error)))


class Worker:
    """Measures the checkpoints of a job, one after the other; what they share is read once."""

    def __init__(self, job: Job) -> None:
        """Starts with nothing read."""
        self._job = job
        self._step = job.step

    def say(self, say: Callable[[str], None]) -> None:
        """Sends notices there."""
        self._step.say = say

    def look(self, visit: Visit, *, audit: bool = False) -> Looked:
        """Establishes a checkpoint's identity, and from it what is asked.

        Args:
            visit: which checkpoint.
            audit: look at its head and headers too; what that reads from the Hub is there for the probes.

        Raises:
            UserError: a local checkpoint is not sound.
        """
        seen = look(visit, lambda: self._step.weights_of(visit.locate())) if audit else None
        checkpoint = visit.locate()
        return Looked(checkpoint, self._job.units(visit, checkpoint), seen)

    def measure(
        self, visit: Visit, checkpoint: Checkpoint, pending: Sequence[Unit], ahead: Checkpoint | None = None
    ) -> Iterator[Event]:
        """Measures the units that a checkpoint still lacks: one pass over each of weights, text and tasks.

        Args:
            visit: the checkpoint in the plan.
            checkpoint: the checkpoint.
            pending: what it lacks.
            ahead: what is going to be downloaded next, and can be while this one is measured.

        Raises:
            TextError: the text cannot be used, so that no other checkpoint can be measured either.
        """
        try:
            yield from self._measure(visit, checkpoint, {unit.name: unit for unit in pending}, ahead)
        except TextError:
            raise
        except Exception as error:
            # Also what nobody foresaw: one bad checkpoint must not end a sweep of days.
            yield failed("", error)

    def _measure(
        self, visit: Visit, checkpoint: Checkpoint, asked: dict[str, Unit], ahead: Checkpoint | None
    ) -> Iterator[Event]:
        forward = [probe for probe in self._job.probes if isinstance(probe, ForwardProbe) and probe.name in asked]
        controls = [name for name in self._job.controls if name in asked]
        tasks = [unit for unit in asked.values() if unit.name in self._job.tasks]
        if forward or controls or tasks:
            # The model is needed anyway: once on this machine, its weights are read from there.
            yield Now("fetching")
            checkpoint = self._step.download(checkpoint)
        if ahead is not None:
            self._step.download_ahead(ahead)
        for reader in self._job.weight_probes(set(asked)):
            yield Now(reader.name)
            yield _came(asked[reader.name], *self._step.weights(visit.source, checkpoint, reader))
        if not forward and not controls and not tasks:
            return
        yield Now("loading")
        try:
            self._step.prepare(visit.source, forward)
        except UserError as error:
            compared = [probe for probe in forward if isinstance(probe, GeometryProbe)]
            forward = [probe for probe in forward if probe not in compared]
            yield from (failed(probe.name, error) for probe in compared)
        opened = self._step.open(checkpoint)
        yield Opened()
        if forward:
            yield Now(" + ".join(probe.name for probe in forward))
            yield from self._forward(visit, opened, forward, asked)
        for name in controls:
            yield Now(name)
            yield self._control(opened, asked[name])
        if tasks:
            yield Now(counted(len(tasks), "task"))
            yield from self._tasks(visit, opened, tasks)

    def _forward(
        self, visit: Visit, opened: OpenCheckpoint, probes: Sequence[ForwardProbe], asked: dict[str, Unit]
    ) -> Iterator[Event]:
        try:
            outcomes, made = self._step.forward(visit.source, opened, probes)
        except TextError:
            raise
        except Exception as error:
            yield from (failed(probe.name, error) for probe in probes)
            return
        for probe, outcome in zip(probes, outcomes, strict=True):
            yield _came(asked[probe.name], outcome, made)

    def _control(self, opened: OpenCheckpoint, unit: Unit) -> Event:
        try:
            return _came(unit, *self._step.control(opened, *self._job.controls[unit.name]))
        except TextError:
            raise
        except Exception as error:
            return failed(unit.name, error)

    def _tasks(self, visit: Visit, opened: OpenCheckpoint, units: Sequence[Unit]) -> Iterator[Event]:
        for done in run_task_units(opened, units, self._job.config, visit, self._step.say):
            if done.error is not None:
                for unit in done.units:
                    yield failed(unit.name, done.error)
            else:
                # Together: a later run of only some of them would batch, and so round, differently.
                yield Measured(done.units, done.measurements, done.run, done.samples)


def _came(unit: Unit, outcome: "Outcome", made: Conditions) -> Event:
    if outcome.error is not None:
        return failed(unit.name, UserError(outcome.error))
    return Measured([unit], [Measurement(unit.probe, unit.config, outcome.readings, made)])
