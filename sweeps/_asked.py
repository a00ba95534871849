"""What a sweep asks of its models and what it leaves out, kept in the run: a report tells failures by it."""

from lm_probe.sweeps._job import Job
from lm_probe.sweeps._store import RunStore


def keep_asked(store: RunStore, job: Job) -> None:
    """Marks the failures of the sweep's models that it does not ask for again, and keeps which tasks it leaves out.

    A failure to open stands as long as its checkpoint is asked anything.
    """
    asked = {(visit.model, visit.revision or ""): {"", *job.names(visit)} for visit in job.visits}
    models = {visit.model for visit in job.visits}
    failed = [tuple(row) for row in store._rows("SELECT model, revision, probe FROM failures")]
    with store._transaction() as db:
        for model in models:
            for table in ("earlier_failures", "left_out"):
                db.execute(f"DELETE FROM {table} WHERE model = ?", (model,))
        for model, revision, probe in failed:
            if model in models and probe not in asked.get((model, revision), ()):
                db.execute("INSERT INTO earlier_failures VALUES (?, ?, ?)", (model, revision, probe))
        for visit, reasons in job.unfit.items():
            for task, why in reasons.items():
                db.execute(
                    "INSERT OR REPLACE INTO left_out VALUES (?, ?, ?, ?)",
                    (visit.model, visit.revision or "", task, why),
                )
