"""The main job: every checkpoint once through loss, probes and tasks, with what was finished left alone."""

from lm_probe.model_adapters import Checkpoint, notices_to
from lm_probe.sweeps._asked import keep_asked
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._desk import Desk, Summary
from lm_probe.sweeps._downloads import shortage, to_download
from lm_probe.sweeps._dry_run import outline
from lm_probe.sweeps._fetched import Fetched
from lm_probe.sweeps._job import Job, key_of, prepare
from lm_probe.sweeps._lock import exclusive
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._plan_words import summarised
from lm_probe.sweeps._progress import Progress
from lm_probe.sweeps._ray import Spread
from lm_probe.sweeps._result_files import settle
from lm_probe.sweeps._store import RunStore, StoreError
from lm_probe.sweeps._tokens import TextError
from lm_probe.sweeps._work import Worker, failed


def sweep(config: SweepConfig, *, spread: Spread | None = None, silent: bool = False) -> Summary:
    """Measures every checkpoint of the sources into the run, and goes on where an earlier sweep stopped.

    Each (checkpoint, probe) is stored in one transaction as soon as it is measured. What fails is recorded against
    its checkpoint and the sweep goes on. The plan is told first, in a few lines (see `dry_run`). Before anything is
    measured the series is audited (see `audit`): from headers and heads, of local checkpoints and of those on the Hub
    that are downloaded whole; where single tensors are read from the Hub, each checkpoint just before it is measured,
    from the same bytes. What the audit finds is told and kept, and stops nothing.

    Args:
        config: what is measured, and where it is stored.
        spread: the Ray cluster whose workers measure, several checkpoints at a time; this process stores. None
            measures here, one after the other. The numbers are the same where a worker has as many threads.
        silent: show neither the plan nor a bar.

    Raises:
        UserError: the settings, the text, the run or the cluster cannot be used, so that nothing more could be
            measured.
    """
    job = prepare(config, spread)
    with (
        exclusive(config.out),
        RunStore.create(config.out) as store,
        Progress(sum(map(job.pieces, job.visits)), silent=silent) as progress,
    ):
        settle(store)
        keep_asked(store, job)
        desk = Desk(job, store, progress)
        with notices_to(desk.progress.say):  # a second outage is news, whatever it says
            _run(job, store, spread, desk, silent)
        return desk.summary


def _run(job: Job, store: RunStore, spread: Spread | None, desk: Desk, silent: bool) -> None:
    for line in job.notices():
        desk.progress.say(line)
    if not silent:
        ahead = outline(job, store, spread, say=desk.say_once)
        for line in (*summarised(ahead.planned, spread), *ahead.held):
            desk.progress.say(line)
    desk.audit_ahead()
    if spread is None:
        _measure_here(job, store, desk)
    else:
        from lm_probe.sweeps._ray_pool import measure_on_cluster

        measure_on_cluster(job, spread, desk, (lambda line: None) if silent else desk.progress.say)
    desk.finish_audit()


def _measure_here(job: Job, store: RunStore, desk: Desk) -> None:
    worker = Worker(job)
    worker.say(desk.say_once)
    job.step.fetched = Fetched(job.config.out, job.config.cache_gb)
    downloads = to_download(job, store)
    short = shortage(downloads, job.config.cache_gb)
    if short is not None:
        desk.progress.say(short)
    desk.progress.begin()
    try:
        for number, visit in enumerate(job.visits):
            later = (other.locate() for other in job.visits[number + 1 :] if other in downloads)
            _measure(worker, visit, desk, next(later, None))
        job.step.finish()
    finally:
        job.step.stop()


def _measure(worker: Worker, visit: Visit, desk: Desk, ahead: Checkpoint | None = None) -> None:
    """Measures here what one checkpoint still lacks, while the one ahead is downloaded."""
    desk.progress.now(visit.name, "opening")
    try:
        looked = worker.look(visit, audit=desk.wants_look(visit))
        key = key_of(visit, looked.checkpoint)
        pending = desk.lacks(visit, key, looked)
        if pending:
            for event in worker.measure(visit, looked.checkpoint, pending, ahead):
                desk.take(visit, key, event)
    except (StoreError, TextError):
        raise
    except Exception as error:
        # Also what nobody foresaw: one bad checkpoint must not end a sweep of days.
        desk.fail(visit, failed("", error))
    desk.leave(visit)
