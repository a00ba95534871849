"""The main job: every checkpoint once through loss, probes and tasks, with what was finished left alone."""

import gc
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lm_probe.model_adapters import Checkpoint, OpenCheckpoint, UserError
from lm_probe.probes import ForwardProbe, GeometryProbe
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._job import Job, key_of, prepare
from lm_probe.sweeps._lock import exclusive
from lm_probe.sweeps._measure import Outcome
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._progress import Progress
from lm_probe.sweeps._records import CheckpointKey, Conditions, Measurement
from lm_probe.sweeps._store import RunStore, StoreError
from lm_probe.sweeps._task_step import run_task_units
from lm_probe.sweeps._tokens import TextError
from lm_probe.sweeps._units import Unit


class Failure(NamedTuple):
    """What went wrong, where."""

    checkpoint: str
    probe: str
    error: str


@dataclass
class Summary:
    """What a sweep did."""

    checkpoints: int = 0
    measured: int = 0
    finished_before: int = 0
    failures: list[Failure] = field(default_factory=list)


def sweep(config: SweepConfig, *, silent: bool = False) -> Summary:
    """Measures every checkpoint of the sources into the run, and goes on where an earlier sweep stopped.

    Each (checkpoint, probe) is stored in one transaction as soon as it is measured. What fails is recorded against
    its checkpoint and the sweep goes on.

    Raises:
        UserError: the settings, the text or the run cannot be used, so that nothing more could be measured.
    """
    job = prepare(config)
    with (
        exclusive(config.out),
        RunStore.create(config.out) as store,
        Progress(len(job.visits) * job.pieces, silent=silent) as progress,
    ):
        work = _Sweep(job, store, progress)
        for visit in job.visits:
            work.visit(visit)
        return work.summary


class _Sweep:
    def __init__(self, job: Job, store: RunStore, progress: Progress) -> None:
        self._job = job
        self._config = job.config
        self._step = job.step
        self._step.say = progress.say
        self._store = store
        self._progress = progress
        self._said: set[tuple[str, str, str]] = set()
        self.summary = Summary()

    def visit(self, visit: Visit) -> None:
        """Measures what one checkpoint still lacks."""
        self.summary.checkpoints += 1
        units = self._job.pieces
        self._progress.now(visit.name, "opening")
        try:
            checkpoint = visit.locate()
            key = key_of(visit, checkpoint)
            other = self._store.namesake(key)
            if other is not None:
                raise UserError(
                    f"{self._config.out} already holds other weights under the name {visit.name}, from {other}: "
                    f"rename a folder, or choose another --out"
                )
            asked = self._job.units(visit, checkpoint)
            pending = [unit for unit in asked if not self._store.has(key, unit.probe, unit.config)]
            self._store.show(key, [(unit.probe, unit.config) for unit in asked if unit not in pending])
            self.summary.finished_before += units - len(pending)
            self._progress.skip(units - len(pending))
            if pending:
                self._measure(visit, key, checkpoint, pending)
        except (StoreError, TextError):
            raise
        except Exception as error:
            # Also what nobody foresaw: one bad checkpoint must not end a sweep of days.
            self._fail(visit, "", error)
        self._progress.reach(units * self.summary.checkpoints)

    def _measure(self, visit: Visit, key: CheckpointKey, checkpoint: Checkpoint, pending: list[Unit]) -> None:
        by_name = {unit.name: unit for unit in pending}
        forward = [probe for probe in self._job.probes if isinstance(probe, ForwardProbe) and probe.name in by_name]
        controls = [name for name in self._job.controls if name in by_name]
        tasks = [unit for unit in pending if unit.name in self._job.tasks]
        if forward or controls or tasks:
            # The model is needed anyway: once on this machine, its weights are read from there.
            self._progress.now(visit.name, "fetching")
            checkpoint = self._step.download(checkpoint)
        for reader in self._job.weight_probes(set(by_name)):
            self._progress.now(visit.name, reader.name)
            outcome, made = self._step.weights(visit.source, checkpoint, reader)
            self._keep(visit, key, by_name[reader.name], outcome, made)
        if not forward and not controls and not tasks:
            return
        self._progress.now(visit.name, "loading")
        try:
            self._step.prepare(visit.source, forward)
        except UserError as error:
            compared = [probe for probe in forward if isinstance(probe, GeometryProbe)]
            forward = [probe for probe in forward if probe not in compared]
            for probe in compared:
                self._fail(visit, probe.name, error)
        opened = self._step.open(checkpoint)
        self._store.clear_failure(visit.model, visit.revision, "")
        try:
            if forward:
                self._progress.now(visit.name, " + ".join(probe.name for probe in forward))
                self._read_forward(visit, key, opened, forward, by_name)
            for name in controls:
                self._progress.now(visit.name, name)
                self._read_control(visit, key, opened, by_name[name])
            if tasks:
                self._progress.now(visit.name, f"{len(tasks)} tasks")
                self._run_tasks(visit, key, opened, tasks)
        finally:
            del opened
            gc.collect()

    def _read_forward(
        self,
        visit: Visit,
        key: CheckpointKey,
        opened: OpenCheckpoint,
        forward: Sequence[ForwardProbe],
        by_name: dict[str, Unit],
    ) -> None:
        try:
            outcomes, made = self._step.forward(visit.source, opened, forward)
        except (StoreError, TextError):
            raise
        except Exception as error:
            for probe in forward:
                self._fail(visit, probe.name, error)
            return
        for probe, outcome in zip(forward, outcomes, strict=True):
            self._keep(visit, key, by_name[probe.name], outcome, made)

    def _read_control(self, visit: Visit, key: CheckpointKey, opened: OpenCheckpoint, unit: Unit) -> None:
        try:
            outcome, made = self._step.control(opened, *self._job.controls[unit.name])
        except (StoreError, TextError):
            raise
        except Exception as error:
            self._fail(visit, unit.name, error)
            return
        self._keep(visit, key, unit, outcome, made)

    def _run_tasks(self, visit: Visit, key: CheckpointKey, opened: OpenCheckpoint, units: Sequence[Unit]) -> None:
        for done in run_task_units(opened, units, self._config, visit):
            if done.error is not None:
                for unit in done.units:
                    self._fail(visit, unit.name, done.error)
            else:
                # Together: a later run of only some of them would batch, and so round, differently.
                self._store.record(key, done.measurements)
                self.summary.measured += len(done.units)
            self._progress.done(len(done.units))

    def _keep(self, visit: Visit, key: CheckpointKey, unit: Unit, outcome: Outcome, made: Conditions) -> None:
        if outcome.error is None:
            try:
                self._store.record(key, [Measurement(unit.probe, unit.config, outcome.readings, made)])
                self.summary.measured += 1
            except StoreError:
                raise
            except UserError as error:
                self._fail(visit, unit.name, error)
        else:
            self._fail(visit, unit.name, UserError(outcome.error))
        self._progress.done()

    def _fail(self, visit: Visit, probe: str, error: Exception) -> None:
        said = " ".join(str(error).split())
        line = said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
        self.summary.failures.append(Failure(visit.name, probe, line))
        self._store.record_failure(visit.model, visit.revision, visit.step, probe, line)
        named = f" · {probe}" if probe and not line.startswith(f"{probe}:") else ""
        if (visit.model, probe, line) not in self._said:  # not again for each checkpoint of a series
            self._said.add((visit.model, probe, line))
            self._progress.say(f"{visit.name}{named}: {line}")
        if self._config.debug:
            self._progress.say("".join(traceback.format_exception(error)))
