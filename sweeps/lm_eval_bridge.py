"""All contact between the sweep and lm-eval: which tasks a name means, running them on a loaded model, result files.

Two of lm-eval's options are never used here. `use_cache` keys a response by the request alone, so a second checkpoint
would get the first one's answers; `cache_requests` keys a prompt by the task's name alone, so another seed would get
the old prompts. What was measured already is the run store's business.
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lm_probe.eval_tasks import TaskError, fingerprint, task_manager, task_names, tokenizer_at_hand
from lm_probe.model_adapters import UserError, device_of
from lm_probe.sweeps._lm_eval_names import expand_tasks, folders_of, is_ours, our_tasks, what_it_asks
from lm_probe.sweeps._lm_eval_quiet import quiet, same_random_state, system_report_once
from lm_probe.sweeps._task_values import about_lists, clustered_stderr, list_clusters, vocabulary_geometry

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["TaskRun", "TaskScore", "expand_tasks", "run_tasks", "save_results", "task_config_hash"]


class TaskScore(NamedTuple):
    """One metric of one task; the metric's name carries lm-eval's filter only where there is one."""

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int  # documents


class TaskRun(NamedTuple):
    """What one checkpoint scored. Plain Python throughout, so that it travels between processes."""

    scores: list[TaskScore]
    results: dict[str, Any]  # lm-eval's result file, less the samples
    samples: dict[str, list[dict[str, Any]]]  # task -> one row per document
    seconds: float


def run_tasks(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    tasks: Sequence[str],
    *,
    batch_size: int = 16,
    num_docs: int | None = None,
    seed: int = 1234,
    metadata: Mapping[str, Any] | None = None,
    model_args: Mapping[str, Any],
) -> TaskRun:
    """Run lm-eval tasks on a loaded model, all in one call.

    The model, the tokenizer and the global random generators are given back as they were.

    Args:
        model: A causal language model, on the device where it is to run.
        tokenizer: Its tokenizer; lm-eval works on a copy.
        tasks: Names of tasks, groups or tags.
        batch_size: Prompts per forward pass.
        num_docs: Documents per task: ours draw that many, others stop there. None means 200 and all.
        seed: Which documents ours draw, and which examples lm-eval's tasks show.
        metadata: Further options of ours, as lm-eval's `--metadata`.
        model_args: What the result file says of the model: `pretrained` (its name), `revision`, `sha`, and more.

    Raises:
        UserError: no tasks, an unknown one, an option that it cannot have, too few words in the tokenizer, a prompt
            that does not fit the model's context, a model that gives NaN.
    """
    from lm_eval import simple_evaluate

    from lm_probe.sweeps.hf_probe import HFProbe

    started = time.perf_counter()
    names = expand_tasks(tasks)
    if not names:
        raise UserError("no tasks to run; name some with --tasks, for example --tasks word_counting_small")
    was_training = model.training
    try:
        with quiet(), same_random_state(), system_report_once():
            # A copy: lm-eval sets the padding token and the padding side of the tokenizer it is given.
            wrapped = HFProbe(
                pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size, checkpoint=model_args
            )
            with tokenizer_at_hand(tokenizer, wrapped.max_length):
                results = simple_evaluate(
                    model=wrapped,
                    model_args=dict(model_args),
                    tasks=_load(names, num_docs, seed, metadata or {}, model_args),
                    batch_size=batch_size,
                    device=str(device_of(model)),
                    limit=None if all(map(is_ours, names)) else num_docs,
                    use_cache=None,
                    cache_requests=False,
                    bootstrap_iters=1000,  # for tasks whose metric is no mean; at the default an f1 takes minutes
                    fewshot_random_seed=seed,
                    task_manager=our_tasks(),
                )
    except TaskError as error:
        raise UserError(str(error)) from error
    finally:
        model.train(was_training)
    plain = _plain(results)
    plain["config"]["model"] = "hf-probe"  # lm-eval has the class's name here
    samples = plain.pop("samples")
    scores = _scores(plain, samples)
    for name in filter(is_ours, names):
        told = vocabulary_geometry(samples[name], model, tokenizer) | about_lists(samples[name])
        scores += [TaskScore(name, metric, *number, len(samples[name])) for metric, number in told.items()]
    return TaskRun(scores, plain, samples, time.perf_counter() - started)


def save_results(task_run: TaskRun, folder: Path, *, samples: bool = False) -> Path:
    """Write lm-eval's own result file into the folder.

    Args:
        task_run: What a checkpoint scored.
        folder: Where to; made if it is not there.
        samples: Also a file per task with every request, as lm-eval's --log_samples. Each request repeats its prompt:
            48 MB a checkpoint for `word_counting_small`, against 31 kB.

    Returns:
        The result file, `results_<time>.json`.

    Raises:
        UserError: the folder cannot be written to (lm-eval itself would only log that).
    """
    from lm_eval.loggers import EvaluationTracker

    results = copy.deepcopy(task_run.results)
    before = set(folder.glob("results_*.json"))
    # With a path that ends in .json lm-eval adds no folder named after the model: all revisions would share that one.
    tracker = EvaluationTracker(output_path=str(folder / "results.json"))
    general = tracker.general_config_tracker
    general.log_experiment_args("hf-probe", results["config"]["model_args"], None, None, False)
    general.start_time = time.perf_counter() - task_run.seconds
    with quiet():
        tracker.save_results_aggregated(results, task_run.samples)
        for task, rows in task_run.samples.items() if samples else ():
            tracker.save_results_samples(task, copy.deepcopy(rows))  # it rewrites the rows
    written = set(folder.glob("results_*.json")) - before
    try:  # lm-eval only logs what goes wrong, and half a file stays where there was no room for the whole
        path = written.pop()
        json.loads(path.read_bytes())
    except (KeyError, ValueError, OSError) as error:
        raise UserError(
            f"lm-eval's results could not be written to {folder}; is it a folder, and is there room?"
        ) from error
    return path


def task_config_hash(task: str, num_docs: int | None, seed: int, metadata: Mapping[str, Any] | None = None) -> str:
    """A hash of what the task asks, the same on every machine: scores may be compared and kept where it is equal.

    Which words a tokenizer leaves to our tasks is in it within `tokenizer_at_hand` only; the word lists always are.
    """
    if task in task_names():
        return fingerprint(task, num_docs, seed, metadata)
    from lm_eval import __version__

    return hashlib.sha256(json.dumps([what_it_asks(task), __version__, num_docs, seed]).encode()).hexdigest()


def _load(
    names: list[str],
    num_docs: int | None,
    seed: int,
    options: Mapping[str, Any],
    model_args: Mapping[str, Any],
) -> list["Task"]:
    """The tasks as objects: only ours are asked for our options, which others may use for something else."""
    ours = [name for name in names if is_ours(name)]
    others = [name for name in names if not is_ours(name)]
    metadata = {**options, "seed": seed}
    if num_docs is not None:
        metadata["num_docs"] = num_docs
    found = dict(our_tasks(metadata).load(ours)["tasks"])
    if others:
        # lm-eval hands the model's arguments to a task's generator, so a new manager it is; over these folders it is
        # quick to make.
        found |= task_manager(model_args, folders_of(others)).load(others)["tasks"]
    return list(found.values())


def _plain(results: Any) -> dict[str, Any]:
    """lm-eval's results as plain Python: numbers, strings, lists and dictionaries."""
    from lm_eval.utils import handle_non_serializable

    plain: dict[str, Any] = json.loads(json.dumps(results, default=handle_non_serializable))
    return plain


def _scores(results: dict[str, Any], samples: Mapping[str, list[dict[str, Any]]]) -> list[TaskScore]:
    """The scores; of ours a slope over equal counts or an error over no answers is not a number, and is left out."""
    scores = []
    for task in results["configs"]:
        values = results["results"][task]
        clusters = list_clusters(samples[task]) if is_ours(task) else None
        for key, value in values.items():
            metric, comma, task_filter = key.rpartition(",")
            if not comma or metric.endswith("_stderr") or (is_ours(task) and math.isnan(value)):
                continue
            found = values.get(f"{metric}_stderr,{task_filter}")
            stderr = None if found in (None, "N/A") else float(found)
            if stderr is not None and is_ours(task):
                own = [float(row[metric]) for row in samples[task]]
                stderr = stderr if clusters is None else clustered_stderr(own, clusters)
                if len({*own}) == 1:  # a floor: lm-eval's sum over documents leaves rounding in its mean and error
                    value, stderr = own[0], None if stderr is None else 0.0
            scores.append(
                TaskScore(
                    task=task,
                    metric=metric if task_filter == "none" else key,
                    value=float(value),
                    stderr=stderr,
                    n=int(results["n-samples"][task]["effective"]),
                )
            )
    return scores
