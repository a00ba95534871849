"""The counting tasks among the stored task scores."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from lm_probe.reports._data import Checkpoint, RunData, Score
from lm_probe.reports._intervals import interval

TASKS = "lm_eval"
MEASURES = (
    ("count_query", "mae"),
    ("count_query", "acc"),
    ("most_frequent_word", "acc"),
    ("most_frequent_count", "mae_relative"),
    ("most_frequent_count", "acc"),
)
FLOORS = {
    ("count_query", "mae"): "floor_constant_mae",
    ("count_query", "acc"): "floor_constant_acc",
    ("most_frequent_word", "acc"): "floor_chance_acc",
    ("most_frequent_count", "mae"): "floor_constant_mae",
    ("most_frequent_count", "mae_relative"): "floor_constant_mae_relative",
    ("most_frequent_count", "acc"): "floor_constant_acc",
}
"""What a blind answer reaches in the full list; with `_binary` what it reaches in the control."""
BETWEEN_TWO = Score(0.5, None, None)
"""Whoever names one of the two words of a control without counting is right in half of them."""
ALIKE = 30
"""Documents with the same error from which at most a tenth of all others differs (95 %, the rule of three)."""
_NAME = re.compile(r"(count_query|most_frequent_word|most_frequent_count)_m(\d+)")


class Cell(NamedTuple):
    """A counting task at one vocabulary size on one checkpoint."""

    checkpoint: Checkpoint
    kind: str
    m: int
    full: Score | None
    binary: Score | None
    gap: Score | None
    """Mean of the differences inside each document: binary less full for accuracy, full less binary for error."""
    floor: Score | None = None
    """What a blind answer reaches on the task's documents: the best constant one, or one word of the list."""
    words: Score | None = None
    """Words in a list, mean over documents."""
    binary_floor: Score | None = None
    """The same as `floor` for the control, whose lists hold two words and may have other right answers."""


def task_metrics(data: RunData) -> list[tuple[str, str]]:
    """All (task, metric) that have a value."""
    return sorted({(task or "", metric) for probe, metric, task in data.indexed if probe == TASKS})


def counting_task(task: str) -> tuple[str, int] | None:
    """Kind and m of a counting task; None for any other."""
    found = _NAME.fullmatch(task)
    return None if found is None else (found[1], int(found[2]))


def beats(metric: str, score: Score | None, blind: Score | None) -> bool:
    """Whether the interval of a counting score lies beyond what an answer without counting reaches.

    Equal errors on `ALIKE` documents or more have no interval, and count as what they are.
    """
    if score is None or blind is None:
        return False
    ends = interval(metric, score)
    if ends is None:
        return score.stderr == 0 and (score.n or 0) >= ALIKE and score.value < blind.value
    return ends.low > blind.value if metric.startswith("acc") else ends.high < blind.value


def never_counts(data: RunData, task: str, checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether none of these checkpoints is seen to count in the full list: the same criterion for all of its metrics.

    False where nobody knows what a blind answer reaches, as of scores from a table.
    """
    said = counting_task(task)
    assert said is not None
    metric, floor = ("acc", "floor_chance_acc") if said[0] == "most_frequent_word" else ("mae", "floor_constant_mae")
    scores, floors = data.scores(TASKS, metric, task), data.scores(TASKS, floor, task)
    told = [one for one in checkpoints if one in scores and one in floors]
    return bool(told) and not any(beats(metric, scores[one], floors[one]) for one in told)


def different_words(data: RunData, task: str) -> int:
    """M of a counting task: what its lists were drawn from, which an option may have set; else what its name says."""
    said = counting_task(task)
    measured = data.scores(TASKS, "different_words", task)
    if measured:
        return round(next(reversed(measured.values())).value)
    assert said is not None
    return said[1]


def cells(data: RunData, kind: str, metric: str, checkpoints: Sequence[Checkpoint]) -> list[Cell]:
    """The cells of a kind on these checkpoints, by checkpoint and ascending m."""
    named = {task for task, _ in task_metrics(data) if (said := counting_task(task)) and said[0] == kind}
    tasks = sorted((different_words(data, task), task) for task in named)
    floor = FLOORS.get((kind, metric), "")
    names = [metric, f"{metric}_binary", f"{metric}_gap", floor, "list_words", f"{floor}_binary"]
    found = {task: [data.scores(TASKS, name, task) for name in names] for _, task in tasks}
    read = [
        Cell(checkpoint, kind, m, *(scores.get(checkpoint) for scores in found[task]))
        for checkpoint in checkpoints
        for m, task in tasks
        if checkpoint in found[task][0] or checkpoint in found[task][1]
    ]
    return [one._replace(binary_floor=BETWEEN_TWO) for one in read] if kind == "most_frequent_word" else read


def last_counted(data: RunData, kind: str, metric: str, checkpoints: Sequence[Checkpoint]) -> list[Cell]:
    """The cells of the last of these checkpoints that has any: the one with the highest step, if there are steps."""
    everything = cells(data, kind, metric, checkpoints)
    counted = [cell.checkpoint for cell in everything]
    stepped = [checkpoint for checkpoint in counted if checkpoint.step is not None]
    last = (stepped or counted)[-1:]
    return [cell for cell in everything if cell.checkpoint in last]


def shown_size(data: RunData) -> int | None:
    """The vocabulary size that summaries show: 10, or the smallest where that was not measured."""
    sizes = sorted(
        {named[1] for task, _ in task_metrics(data) if (named := counting_task(task)) and named[0] == "count_query"}
    )
    return 10 if 10 in sizes else next(iter(sizes), None)
