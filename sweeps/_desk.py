"""The one that writes: says what a checkpoint lacks, stores what comes of it, and counts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._copies import copy_measurement, identities_of
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._look import Finding
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._progress import Progress
from lm_probe.sweeps._records import CheckpointKey
from lm_probe.sweeps._result_files import folder_of, record_with_results
from lm_probe.sweeps._samples import keep_samples
from lm_probe.sweeps._store import RunStore, StoreError
from lm_probe.sweeps._sweep_audit import SweepAudit
from lm_probe.sweeps._units import Unit
from lm_probe.sweeps._work import Event, Failed, Looked, Measured, Now, Opened, Said, failed


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
    unmade: int = 0
    """Measurements that failed, by themselves or with their checkpoint: with the three above all that was asked."""
    failures: list[Failure] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """What the audit found."""


class Desk:
    """Where everything about a sweep comes together, whoever measures, and in whichever order."""

    def __init__(self, job: Job, store: RunStore, progress: Progress) -> None:
        """Starts with every checkpoint to come."""
        self._job = job
        self._config = job.config
        self._store = store
        self.progress = progress
        self._audit = SweepAudit(job, store) if job.config.audit else None
        self._lines: set[str] = set()
        self._said: set[tuple[str, str, str]] = set()
        self._left: dict[Visit, int] = {}
        self._failed: set[tuple[Visit, str]] = set()
        self._whole: set[Visit] = set()
        self._ahead: Sequence[Finding] = ()
        self.summary = Summary()

    def audit_ahead(self) -> None:
        """Looks at what costs little beside measuring it, before days go into what is not what it seems."""
        if self._audit is not None:
            now = self.progress.now
            self._ahead = self._audit.ahead(lambda visit: now(visit.name, "audit"), self.progress.say)
            self._tell(self._ahead)

    def copies(self) -> dict[Visit, Visit]:
        """The checkpoints that are known to hold the same as an earlier one, with that one."""
        named = {(visit.model, visit.revision): visit for visit in self._job.visits}
        found = {
            named[one.model, one.revision]: named[one.model, one.twin] for one in self._ahead if one.kind == "copy"
        }
        commits: dict[tuple[str, str], Visit] = {}
        for visit in self._job.visits:
            if visit.commit is not None and (first := commits.setdefault((visit.model, visit.commit), visit)) != visit:
                found[visit] = first
        return found

    def same_as(self, key: CheckpointKey) -> Sequence[str]:
        """The identities under which the run knows what a checkpoint holds."""
        return identities_of(self._store, key)

    def finish_audit(self) -> None:
        """Compares all that was looked at."""
        if self._audit is not None:
            self.summary.findings = self._audit.finish()
            self._tell(self.summary.findings)

    def wants_look(self, visit: Visit) -> bool:
        """Whether the audit has not seen a checkpoint yet."""
        return self._audit is not None and not self._audit.knows(visit)

    def lacks(self, visit: Visit, key: CheckpointKey, looked: Looked) -> Sequence[Unit]:
        """What is neither finished nor has failed in this sweep.

        Raises:
            UserError: the run holds other weights under this name.
        """
        if self._audit is not None and looked.seen is not None:
            self._audit.keep(looked.seen)
            self._tell(looked.seen.findings)
        other = self._store.namesake(key)
        if other is not None:
            raise UserError(
                f"{self._config.out} already holds other weights under the name {visit.name}, from {other}: "
                f"rename a folder, or choose another --out"
            )
        pending = [unit for unit in looked.units if not self._store.has(key, unit.probe, unit.config)]
        self._store.show(key, [(unit.probe, unit.config) for unit in looked.units if unit not in pending])
        if visit not in self._left:  # a second look follows the death of a worker
            finished = len(looked.units) - len(pending)
            self._left[visit] = len(pending)
            self.summary.finished_before += finished
            self.progress.skip(finished)
        return self._copy(visit, key, [unit for unit in pending if (visit, unit.name) not in self._failed])

    def take(self, visit: Visit, key: CheckpointKey, event: Event) -> None:
        """Stores or shows an event."""
        match event:
            case Now(doing):
                self.progress.now(visit.name, doing)
            case Said():
                self.tell([event])
            case Opened():
                self._store.clear_failure(visit.model, visit.revision, "")
            case Measured():
                self._keep(visit, key, event)
            case Failed():
                self.fail(visit, event)

    def fail(self, visit: Visit, event: Failed) -> None:
        """Records a failure."""
        probe, line = event.probe, event.line
        self.summary.failures.append(Failure(visit.name, probe, line))
        self._store.record_failure(visit.model, visit.revision, visit.step, probe, line)
        named = f" · {probe}" if probe and not line.startswith(f"{probe}:") else ""
        if (visit.model, probe, line) not in self._said:  # not again for each checkpoint of a series
            self._said.add((visit.model, probe, line))
            self.say_once(f"{visit.name}{named}: {line}")
        if self._config.debug:
            self.progress.say(event.trace)
        if probe:
            self._failed.add((visit, probe))
            self.summary.unmade += 1
            self._done(visit, 1)
        else:
            self._whole.add(visit)

    def tell(self, notices: Sequence[Said]) -> None:
        """Shows notices."""
        for line, once in notices:
            (self.say_once if once else self.progress.say)(line)

    def say_once(self, line: str) -> None:
        """Prints a line that may come again with every checkpoint."""
        if line not in self._lines:
            self._lines.add(line)
            self.progress.say(line)

    def leave(self, visit: Visit) -> None:
        """Ends a checkpoint; what was passed over counts as done on the bar."""
        left = self._left.pop(visit, self._job.pieces(visit))
        self.summary.checkpoints += 1
        self.summary.unmade += left
        if visit in self._whole:
            self._store.record_unmade(visit.model, visit.revision, left)
        self.progress.done(left)
        self.progress.leave(visit.name)

    def _copy(self, visit: Visit, key: CheckpointKey, pending: Sequence[Unit]) -> list[Unit]:
        """Takes over what was measured of the same content, and gives what is left to measure."""
        if not pending:
            return []
        same = identities_of(self._store, key)
        left = [unit for unit in pending if not copy_measurement(self._store, key, unit.probe, unit.config, same)]
        self.summary.copied += len(pending) - len(left)
        self._done(visit, len(pending) - len(left))
        return left

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
                self.fail(visit, failed(unit.name, error))
            return
        self.summary.measured += len(came.units)
        self._done(visit, len(came.units))

    def _tell(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self.say_once(f"{finding.checkpoint}: {finding.line}")

    def _done(self, visit: Visit, pieces: int) -> None:
        self._left[visit] -= pieces
        self.progress.done(pieces)
