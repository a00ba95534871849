"""The main job: every checkpoint once through loss, probes and tasks, with what was finished left alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._copies import copy_measurement, identities_of
from lm_probe.sweeps._job import Job, key_of, prepare
from lm_probe.sweeps._lock import exclusive
from lm_probe.sweeps._look import Finding
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._progress import Progress
from lm_probe.sweeps._records import CheckpointKey
from lm_probe.sweeps._result_files import folder_of, record_with_results, settle
from lm_probe.sweeps._samples import keep_samples
from lm_probe.sweeps._store import RunStore, StoreError
from lm_probe.sweeps._sweep_audit import SweepAudit
from lm_probe.sweeps._tokens import TextError
from lm_probe.sweeps._units import Unit
from lm_probe.sweeps._work import Event, Failed, Measured, Now, Opened, Worker, failed


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
    copied: int = 0
    """Measurements taken over from a checkpoint of the series that holds the same."""
    failures: list[Failure] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """What the audit found."""


def sweep(config: SweepConfig, *, silent: bool = False) -> Summary:
    """Measures every checkpoint of the sources into the run, and goes on where an earlier sweep stopped.

    Each (checkpoint, probe) is stored in one transaction as soon as it is measured. What fails is recorded against
    its checkpoint and the sweep goes on. Before anything is measured the series is audited (see `audit`): from headers
    and heads, of local checkpoints and of those on the Hub that are downloaded whole; where single tensors are read
    from the Hub, each checkpoint just before it is measured, from the same bytes. What the audit finds is told and
    kept, and stops nothing.

    Raises:
        UserError: the settings, the text or the run cannot be used, so that nothing more could be measured.
    """
    job = prepare(config)
    with (
        exclusive(config.out),
        RunStore.create(config.out) as store,
        Progress(len(job.visits) * job.pieces, silent=silent) as progress,
    ):
        settle(store)
        work = _Sweep(job, store, progress)
        work.audit_ahead()
        for visit in job.visits:
            work.visit(visit)
        work.finish_audit()
        return work.summary


class _Sweep:
    """The one that writes: asks what a checkpoint lacks, and stores what comes of it."""

    def __init__(self, job: Job, store: RunStore, progress: Progress) -> None:
        self._job = job
        self._config = job.config
        job.step.say = self._say_once
        self._worker = Worker(job)
        self._store = store
        self._progress = progress
        self._audit = SweepAudit(job, store) if job.config.audit else None
        self._lines: set[str] = set()
        self._said: set[tuple[str, str, str]] = set()
        self.summary = Summary()

    def audit_ahead(self) -> None:
        """Looks at what costs little beside measuring it, before days go into what is not what it seems."""
        if self._audit is not None:
            self._tell(self._audit.ahead(lambda visit: self._progress.now(visit.name, "audit")))

    def finish_audit(self) -> None:
        """Compares all that was looked at."""
        if self._audit is not None:
            self.summary.findings = self._audit.finish()
            self._tell(self.summary.findings)

    def visit(self, visit: Visit) -> None:
        """Measures what one checkpoint still lacks."""
        self.summary.checkpoints += 1
        units = self._job.pieces
        self._progress.now(visit.name, "opening")
        try:
            if self._audit is not None:
                self._tell(self._audit.look(visit).findings)
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
            pending = self._copy(key, pending)
            if pending:
                for event in self._worker.measure(visit, checkpoint, pending):
                    self._take(visit, key, event)
        except (StoreError, TextError):
            raise
        except Exception as error:
            # Also what nobody foresaw: one bad checkpoint must not end a sweep of days.
            self._fail(visit, failed("", error))
        self._progress.reach(units * self.summary.checkpoints)

    def _copy(self, key: CheckpointKey, pending: Sequence[Unit]) -> list[Unit]:
        """Takes over what was measured of the same content, and gives what is left to measure."""
        if not pending:
            return []
        same = identities_of(self._store, key)
        left = [unit for unit in pending if not copy_measurement(self._store, key, unit.probe, unit.config, same)]
        self.summary.copied += len(pending) - len(left)
        self._progress.done(len(pending) - len(left))
        return left

    def _tell(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self._say_once(f"{finding.checkpoint}: {finding.line}")

    def _say_once(self, line: str) -> None:
        if line not in self._lines:
            self._lines.add(line)
            self._progress.say(line)

    def _take(self, visit: Visit, key: CheckpointKey, event: Event) -> None:
        match event:
            case Now(doing):
                self._progress.now(visit.name, doing)
            case Opened():
                self._store.clear_failure(visit.model, visit.revision, "")
            case Measured():
                self._keep(visit, key, event)
            case Failed():
                self._fail(visit, event)

    def _keep(self, visit: Visit, key: CheckpointKey, came: Measured) -> None:
        measurements = came.measurements
        try:
            if came.run is None:
                self._store.record(key, measurements)
            else:
                folder = folder_of(visit)
                measurements = keep_samples(self._config.out, folder, key, measurements, came.samples or {})
                record_with_results(self._store, folder, key, measurements, came.run)
        except StoreError:
            raise
        except Exception as error:
            for unit in came.units:
                self._fail(visit, failed(unit.name, error))
            return
        self.summary.measured += len(came.units)
        self._progress.done(len(came.units))

    def _fail(self, visit: Visit, event: Failed) -> None:
        probe, line = event.probe, event.line
        self.summary.failures.append(Failure(visit.name, probe, line))
        self._store.record_failure(visit.model, visit.revision, visit.step, probe, line)
        named = f" · {probe}" if probe and not line.startswith(f"{probe}:") else ""
        if (visit.model, probe, line) not in self._said:  # not again for each checkpoint of a series
            self._said.add((visit.model, probe, line))
            self._say_once(f"{visit.name}{named}: {line}")
        if self._config.debug:
            self._progress.say(event.trace)
        if probe:
            self._progress.done()
