"""Which of our tasks a checkpoint cannot be asked, from its tokenizer and context, before anything is measured."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from lm_probe.eval_tasks import TaskError
from lm_probe.model_adapters import UserError, load_tokenizer, tokenizer_digest
from lm_probe.sweeps._audit import open_to_look
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._plan import Visit

Unfit = Mapping[Visit, Mapping[str, str]]
"""By checkpoint and task why it cannot be asked."""

_LISTED = 4  # names of tasks in a line


def unfit_tasks(tasks: Sequence[str], visits: Sequence[Visit], config: SweepConfig) -> Unfit:
    """The tasks that a tokenizer has too few words for, or whose prompts are longer than the model's context.

    Folders with the same tokenizer and context are looked at once. On the Hub the first and the last checkpoint stand
    for their repository in what they both lack: their configs and tokenizers are fetched. What cannot be looked at
    counts as fit, and is told at its turn.
    """
    from lm_probe.sweeps._lm_eval_names import is_ours

    ours = [task for task in tasks if is_ours(task)]
    ends: dict[str, tuple[Visit, Visit]] = {}
    for visit in visits:
        if visit.commit is not None:
            ends[visit.source] = ends.get(visit.source, (visit, visit))[0], visit
    known: dict[Any, dict[str, str]] = {}
    found = {}
    for visit in visits if ours else ():
        with suppress(UserError):  # a checkpoint at fault is told at its own turn
            lacking = [_known(known, one, ours, config) for one in ends.get(visit.source, (visit,))]
            found[visit] = {task: why for task, why in lacking[0].items() if task in lacking[-1]}
    return {visit: reasons for visit, reasons in found.items() if reasons}


def refuse_unfit(unfit: Unfit, visits: Sequence[Visit], tasks: Sequence[str]) -> None:
    """Refuses tasks that were asked for by name and can be asked of none of the checkpoints.

    Raises:
        UserError: there are any.
    """
    never = [task for task in tasks if all(task in unfit.get(visit, ()) for visit in visits)]
    if never:
        fit = [task for task in tasks if task not in never]
        others = f", or give --tasks {','.join(fit) or 'none'}" if len(fit) <= _LISTED else ""
        raise UserError(
            f"--tasks: {_named(never, tasks)} cannot be asked of any checkpoint: {unfit[visits[0]][never[0]]}{others}"
        )


def left_out(unfit: Unfit, visits: Sequence[Visit], tasks: Sequence[str]) -> list[str]:
    """A line for all checkpoints that lack the same tasks for the same reasons."""
    alike: defaultdict[tuple[tuple[str, str], ...], list[Visit]] = defaultdict(list)
    for visit, reasons in unfit.items():
        alike[tuple(reasons.items())].append(visit)
    return [
        f"{_models(them, visits)}: left out: {_named([name for name, _ in reasons], tasks)}: {reasons[0][1]}"
        for reasons, them in alike.items()
    ]


def _models(some: Sequence[Visit], visits: Sequence[Visit]) -> str:
    whole = Counter(visit.model for visit in visits)
    return ", ".join(
        model if number == whole[model] else f"{model} ({number} of {whole[model]} checkpoints)"
        for model, number in Counter(visit.model for visit in some).items()
    )


def _named(some: Sequence[str], tasks: Sequence[str]) -> str:
    if len(some) <= _LISTED:
        return ", ".join(some)
    return f"all {len(tasks)} tasks" if len(some) == len(tasks) else f"{some[0]} and {len(some) - 1} more of the tasks"


def _known(known: dict[Any, dict[str, str]], visit: Visit, ours: Sequence[str], config: SweepConfig) -> dict[str, str]:
    key: Any = visit
    if visit.commit is None:
        weights = open_to_look(visit)
        key = tokenizer_digest(weights.folder), weights.max_context
    if key not in known:
        known[key] = {}  # where it cannot be looked at: patience is not spent on every checkpoint
        with suppress(UserError):
            known[key] = _reasons(visit, ours, config)
    return known[key]


def _reasons(visit: Visit, ours: Sequence[str], config: SweepConfig) -> dict[str, str]:
    from lm_probe.sweeps._task_tokens import requests_of_task

    weights = open_to_look(visit)
    tokenizer = load_tokenizer(weights.folder, config.trust_remote_code)
    reasons: dict[str, str] = {}
    if tokenizer is None:  # told at its own turn, with what else needs one
        return reasons
    for task in ours:
        try:
            requests_of_task(task, tokenizer, weights.max_context, config.task_options())
        except TaskError as error:
            reasons[task] = str(error).removeprefix(f"{task}: ")
        except Exception:  # of whatever kind: told at its own turn, and must not end a sweep before it begins
            continue
    return reasons
