"""The parts of report.md, as markdown."""

from collections.abc import Sequence
from math import hypot
from typing import NamedTuple

from lm_probe.reports._counting import TASKS, counting_task, task_metrics
from lm_probe.reports._data import Checkpoint, RunData, Score
from lm_probe.reports._markdown import (
    MISSING,
    count,
    counted,
    escape,
    few,
    fold,
    number,
    step_cell,
    table,
    with_error,
)
from lm_probe.reports._origins import origins
from lm_probe.reports._pictures import Picture
from lm_probe.reports._provenance import Cost, common, duration, memory, per_checkpoint, warnings
from lm_probe.reports._statistics import extreme, final, of_model
from lm_probe.reports._summary import Column
from lm_probe.reports._thin import thinned
from lm_probe.sweeps import UNSEEN

ROWS = 30
NAMED = 4
MOST_NAMED = 30
"""Checkpoints, and probes or tasks, that failed in one way; all are in the table beside the report."""
MOST_ROWS = 200
OTHER_TASKS = (
    "task",
    "metric",
    "model",
    "first_step",
    "first",
    "first_stderr",
    "last_step",
    "last",
    "last_stderr",
    "n",
)
"""Head of tables/other_tasks.csv."""


def figures(pictures: Sequence[Picture]) -> list[str]:
    """Figures with their captions."""
    return [
        f"![{escape(one.title)}](figures/{one.name}.svg)\n\n{f'{one.caption} {one.drawing}'.strip()}"
        for one in pictures
    ]


def summary(data: RunData, columns: Sequence[Column]) -> list[str]:
    """A table a model, thinned where the series is long."""
    parts = []
    losses = data.scores("loss", "loss")
    for model, known in data.checkpoints.items():
        own = of_model(losses, known)
        best = extreme(own, min) if own else None
        shown = thinned(known, ROWS, {best, final(own)} if best else ())
        rows = [
            [
                f"**{step_cell(one)}**" if one == best and len(own) > 1 else step_cell(one),
                *(column.shown(one) for column in columns),
            ]
            for one in shown
        ]
        parts += [f"### {escape(model)}", table(["step", *(column.title for column in columns)], rows)]
        if len(shown) < len(known):
            parts.append(f"{len(shown)} of {len(known)} checkpoints are shown; the rest is in the full table.")
    return parts


class _Ends(NamedTuple):
    """A score of a task at the first and the last checkpoint of a model that have it."""

    task: str
    metric: str
    model: str
    at_first: Checkpoint
    first: Score
    at_last: Checkpoint
    last: Score

    @property
    def moved(self) -> float:
        """How many standard errors of both lie between them; 0 where that is not known."""
        error = hypot(self.first.stderr or 0.0, self.last.stderr or 0.0)
        return abs(self.last.value - self.first.value) / error if error else 0.0


def other_tasks(data: RunData) -> list[str]:
    """Scores of every other lm-eval task at the first and the last checkpoint that has them; of many those that moved.

    A page of thousands of rows hides what is below it, and GitHub shows no markdown of more than 512 kB.
    """
    everything = _other_tasks(data)
    moved = sorted(range(len(everything)), key=lambda place: -everything[place].moved)
    shown = [everything[place] for place in sorted(moved[:MOST_ROWS])]
    rows = [
        [
            escape(one.task),
            escape(one.metric),
            escape(one.model),
            *_ends(one),
        ]
        for one in shown
    ]
    header = ["task", "metric", "model", "first", "at step", "last", "at step", "n"]
    if len(shown) == len(everything):
        return [table(header, rows, text_columns=3)] if rows else []
    said = (
        f"{count(len(shown))} of {count(len(everything))} rows, those that moved by most standard errors; all are in "
        "[tables/other_tasks.csv](tables/other_tasks.csv)."
    )
    return [said, table(header, rows, text_columns=3)]


def other_tasks_rows(data: RunData) -> list[list[object]]:
    """All of them, at full precision, for tables/other_tasks.csv."""
    return [[*one[:3], one.at_first.step, *one.first[:2], one.at_last.step, *one.last] for one in _other_tasks(data)]


def _other_tasks(data: RunData) -> list[_Ends]:
    found = []
    for task, metric in task_metrics(data):
        if counting_task(task):
            continue
        scores = data.scores(TASKS, metric, task)
        for model, known in data.checkpoints.items():
            own = of_model(scores, known)
            if own:
                first, last = next(iter(own)), final(own)
                found.append(_Ends(task, metric, model, first, own[first], last, own[last]))
    return found


def _ends(one: _Ends) -> list[str]:
    size = MISSING if one.last.n is None else count(one.last.n)
    return [with_error(one.first), step_cell(one.at_first), with_error(one.last), step_cell(one.at_last), size]


def failures(data: RunData) -> list[str]:
    """What went wrong: one row for what went wrong in one way, at however many checkpoints and in whichever probes."""
    steps: dict[tuple[str, str, str], list[str]] = {}
    for row in data.failed:
        error = row.error.removeprefix(f"{row.probe}: ")  # or each task's would be another
        steps.setdefault((row.checkpoint.model, error, row.probe), []).append(step_cell(row.checkpoint))
    probes: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (model, error, probe), at in steps.items():
        probes.setdefault((model, error, tuple(at)), []).append(escape(probe or "(opening)"))
    rows = [
        [escape(model), few(at, MOST_NAMED), few(own, MOST_NAMED), escape(error)]
        for (model, error, at), own in probes.items()
    ]
    shown = [table(["model", "steps", "probe or task", "error"], rows, text_columns=4)] if rows else []
    return shown + _failed_earlier(data)


def _failed_earlier(data: RunData) -> list[str]:
    """One line on failures that the last sweep over their model gave no chance to go right."""
    if not data.failed_earlier:
        return []
    names = list(dict.fromkeys(escape(row.probe or "(opening)") for row in data.failed_earlier))
    some = few(names, NAMED)
    failed = sum(row.measurements for row in data.failed_earlier)
    return [
        f"{counted(failed, 'failed measurement')} of earlier sweeps, which the last one over the same "
        f"checkpoints did not ask for again, {'is' if failed == 1 else 'are'} not counted here "
        f"({some}): see "
        "[tables/failures.csv](tables/failures.csv)."
    ]


def provenance(data: RunData) -> list[str]:
    """Settings of the whole run, and identity and cost of each checkpoint."""
    parts = [table(["what", "value"], [[name, said] for name, said in common(data)], text_columns=2)]
    everything = per_checkpoint(data)
    total = sum(row.seconds for row in everything)
    measured = counted(len(origins(data).measured), "measured checkpoint")
    parts.append(
        f"{measured}, {duration(total)} in probes and tasks, without loading. "
        "An identity is the Hub's commit, or for a local folder a hash of its config and weights; seconds are the "
        "sum over probes, memory the highest of the process or the GPU."
        f"{_unseen(everything)}"
    )
    shown = {one for known in data.checkpoints.values() for one in thinned(known, ROWS)}
    rows = [
        [
            escape(row.checkpoint.model),
            step_cell(row.checkpoint),
            escape(row.identity),
            number(row.seconds, 3) if row.seconds else MISSING,
            memory(row.peak_memory),
        ]
        for row in everything
        if row.checkpoint in shown
    ]
    body = table(["model", "step", "identity", "seconds", "peak memory"], rows, text_columns=3)
    remark = (
        "" if len(rows) == len(everything) else f" ({len(rows)} of {len(everything)}; all in tables/provenance.csv)"
    )
    return [*parts, fold(f"Checkpoints{remark}", body)]


def _unseen(everything: Sequence[Cost]) -> str:
    if not any(UNSEEN in row.identity for row in everything):
        return ""
    return (
        f" `{UNSEEN}` stands where scores came from a file that does not say which weights it had: no checkpoint was "
        "seen."
    )


def warning_lines(data: RunData) -> list[str]:
    """Warnings as one list."""
    found = warnings(data)
    return ["\n".join(f"- {line}" for line in found)] if found else []
