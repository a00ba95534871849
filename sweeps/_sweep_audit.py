"""The audit of a sweep: each checkpoint looked at before it is measured, what was seen before not read again."""

from collections.abc import Callable
from functools import partial

from lm_probe.model_adapters import UserError
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

    def ahead(self, now: Callable[[Visit], None], say: Callable[[str], None]) -> list[Finding]:
        """Looks at all checkpoints before any is measured, save those whose heads the measuring reads from the Hub.

        Args:
            now: is told which is looked at.
            say: takes notices.
        """
        for visit in self._job.visits:
            if not self._job.reads_tensors_of(visit):
                now(visit)
                if not self.knows(visit):
                    self.keep(look(visit, partial(open_to_look, visit, say)))
        return self.finish()

    def knows(self, visit: Visit) -> bool:
        """Whether a checkpoint was looked at, now or by an earlier sweep."""
        if visit not in self._looks and (known := _known(self._store, visit)) is not None:
            self._looks[visit] = known
        return visit in self._looks

    def keep(self, seen: Look) -> None:
        """Takes what was seen of a checkpoint."""
        if not any(kind in ("unreadable", "tokenizer") for kind, _ in seen.faults):  # what is installed may cure these
            keep_look(self._store, seen)
        self._looks[seen.visit] = seen

    def finish(self) -> list[Finding]:
        """Compares what was seen, keeps what is wrong, and gives it."""
        looks = [self._looks[visit] for visit in self._job.visits if visit in self._looks]
        findings = judge(looks)
        keep_findings(self._store, looks, findings)
        return findings


def _known(store: RunStore, visit: Visit) -> Look | None:
    try:
        return find_look(store, visit, identity_to_look_at(visit))
    except UserError:
        return None
