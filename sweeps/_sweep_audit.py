"""The audit of a sweep: each checkpoint looked at before it is measured, what was seen before not read again."""

from collections.abc import Callable

from lm_probe.model_adapters import UserError, Weights
from lm_probe.sweeps._audit import judge, open_to_look
from lm_probe.sweeps._audit_store import find_look, keep_findings, keep_look
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._look import Finding, Look, identity_to_look_at, look
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._store import RunStore


class SweepAudit:
    """Looks at the checkpoints of a job and keeps in the run what it sees and finds."""

    def __init__(self, job: Job, store: RunStore) -> None:
        """Has seen nothing yet."""
        self._job = job
        self._store = store
        self._looks: dict[Visit, Look] = {}

    def ahead(self, now: Callable[[Visit], None]) -> list[Finding]:
        """Looks at all checkpoints before any is measured, save those whose heads the measuring reads from the Hub.

        Args:
            now: is told which is looked at.
        """
        for visit in self._job.visits:
            if not self._job.reads_tensors_of(visit):
                now(visit)
                self.look(visit)
        return self.finish()

    def look(self, visit: Visit) -> Look:
        """Looks at one checkpoint, or remembers what was seen of it."""
        if visit not in self._looks:
            known = _known(self._store, visit)
            seen = known or look(visit, lambda: self._open(visit))
            if known is None and not any(kind == "unreadable" for kind, _ in seen.faults):
                keep_look(self._store, seen)
            self._looks[visit] = seen
        return self._looks[visit]

    def finish(self) -> list[Finding]:
        """Compares what was seen, keeps what is wrong, and gives it."""
        looks = [self._looks[visit] for visit in self._job.visits if visit in self._looks]
        findings = judge(looks)
        keep_findings(self._store, looks, findings)
        return findings

    def _open(self, visit: Visit) -> Weights:
        """What the audit reads from the Hub is there for the probes that come next."""
        if self._job.reads_tensors_of(visit):
            return self._job.step.weights_of(visit.locate())
        return open_to_look(visit, self._job.step.say)


def _known(store: RunStore, visit: Visit) -> Look | None:
    try:
        return find_look(store, visit, identity_to_look_at(visit))
    except UserError:
        return None
