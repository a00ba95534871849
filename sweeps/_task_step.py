"""Runs a checkpoint's lm-eval tasks on the model that is already loaded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lm_probe.model_adapters import OpenCheckpoint
from lm_probe.probes import Reading
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._memory import Passes, ran_out, with_smaller_batches
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._records import TASK_PROBE, Conditions, Measurement
from lm_probe.sweeps._resources import conditions, measured
from lm_probe.sweeps._samples import pack
from lm_probe.sweeps._units import Unit

if TYPE_CHECKING:
    from lm_probe.sweeps.lm_eval_bridge import TaskRun


@dataclass(frozen=True)
class TasksDone:
    """What came of tasks that ran together."""

    units: Sequence[Unit]
    measurements: Sequence[Measurement] = ()
    run: "TaskRun | None" = None
    samples: Mapping[str, bytes] = field(default_factory=dict)
    """By task, packed: the prompts would be tens of megabytes to send between processes."""
    error: Exception | None = None


def run_task_units(
    opened: OpenCheckpoint, units: Sequence[Unit], config: SweepConfig, visit: Visit, say: Callable[[str], None]
) -> Iterator[TasksDone]:
    """Runs all tasks in one call; where one of them cannot run, each by itself, so that it takes no other with it."""
    try:
        yield _run_together(opened, units, config, visit, say)
        return
    except Exception as error:
        if len(units) == 1 or ran_out(error):
            yield TasksDone(units, error=error)
            return
    # Outside the handler: an error may hold the memory that ran out.
    for unit in units:
        yield from run_task_units(opened, [unit], config, visit, say)


def _run_together(
    opened: OpenCheckpoint, units: Sequence[Unit], config: SweepConfig, visit: Visit, say: Callable[[str], None]
) -> TasksDone:
    from lm_probe.sweeps.lm_eval_bridge import run_tasks

    model = opened.model

    def ask(passes: Passes) -> "TaskRun":
        with passes.watched(model):
            return run_tasks(
                model,
                opened.needed_tokenizer(),
                [unit.name for unit in units],
                batch_size=passes.limit,
                num_docs=config.task_documents,
                seed=config.seed,
                metadata=config.metadata,
                model_args={"pretrained": visit.model, "revision": visit.revision, "sha": opened.checkpoint.identity},
            )

    with measured(config.where) as cost:
        run, batch = with_smaller_batches(ask, config.batch_size, say)
    asked = {} if config.task_documents is None else {"task_documents": config.task_documents}
    details = {"tasks_together": len(units), **asked, **batch.details()}
    made = conditions(model, cost, seed=config.seed, details=details)
    measurements = [
        Measurement(
            TASK_PROBE,
            unit.config,
            [
                Reading(score.metric, score.value, component=score.task, stderr=score.stderr, n=score.n)
                for score in run.scores
                if score.task == unit.name
            ],
            _with_directions(made, run, unit.name),
        )
        for unit in units
    ]
    hashes = ("doc_hash", "prompt_hash", "target_hash")  # all that lm-eval's result file says of the samples
    slim = {task: [{name: row[name] for name in hashes} for row in rows] for task, rows in run.samples.items()}
    packed = {task: pack(rows) for task, rows in run.samples.items()}
    return TasksDone(units, measurements, run._replace(samples=slim), packed)


def _with_directions(made: Conditions, run: "TaskRun", task: str) -> Conditions:
    """With what lm-eval says of the task's metrics: which of them are better where they are high."""
    said = {
        metric: higher
        for metric, higher in run.results["higher_is_better"].get(task, {}).items()
        if higher in (True, False)
    }
    return replace(made, details={**made.details, "higher_is_better": said}) if said else made
