"""What a sweep asks of its models and what it leaves out, kept in the run: a report tells failures by it."""

from lm_probe.sweeps._job import Job
from lm_probe.sweeps._store import RunStore


def keep_asked(store: RunStore, job: Job) -> None:
    """Marks the failures of the sweep's checkpoints that it does not ask for again, and keeps what tasks it leaves out.

    A failure to open stands as long as its checkpoint is asked anything.
    """
    asked = {(visit.model, visit.revision or ""): {"", *job.names(visit)} for visit in job.visits}
    failed = [tuple(row) for row in store._rows("SELECT model, revision, probe FROM failures")]
    with store._transaction() as db:
        for checkpoint in asked:
            for table in ("earlier_failures", "left_out"):
                db.execute(f"DELETE FROM {table} WHERE (model, revision) = (?, ?)", checkpoint)
        for model, revision, probe in failed:
            if probe not in asked.get((model, revision), {probe}):
                db.execute("INSERT INTO earlier_failures VALUES (?, ?, ?)", (model, revision, probe))
        for visit, reasons in job.unfit.items():
            for task, why in reasons.items():
                db.execute(
                    "INSERT OR REPLACE INTO left_out VALUES (?, ?, ?, ?)",
                    (visit.model, visit.revision or "", task, why),
                )
