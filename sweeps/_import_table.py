"""Reads a tidy table of scores: a row a value."""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lm_probe.model_adapters import UserError
from lm_probe.probes import Reading
from lm_probe.sweeps._imported import (
    LARGEST,
    LARGEST_SCORE,
    FileContent,
    Imported,
    Origin,
    shots_in_name,
    task_measurement,
)
from lm_probe.sweeps._records import UNSEEN, CheckpointKey, Conditions

NEEDED = ("model", "step", "task", "metric", "value")
KNOWN = (*NEEDED, "suite", "variant", "shots", "stderr", "higher_is_better")
_TRUTH = {**dict.fromkeys(("true", "yes", "1"), True), **dict.fromkeys(("false", "no", "0"), False)}
_EMPTY = frozenset({"", "nan", "na", "n/a", "none"})


class _Row(NamedTuple):
    model: str
    step: int | None
    task: str
    shots: int | None
    suite: str | None
    variant: str | None
    score: Reading
    higher_is_better: bool | None
    """None where nobody says it."""


def read_table(name: str, text: str, sha256: str) -> FileContent:
    """The scores of a table, by checkpoint.

    Args:
        name: of the file.
        text: its content; the first line names the columns.
        sha256: of its bytes.

    Raises:
        UserError: a needed column is missing, or there are no rows.
    """
    lines = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = lines.fieldnames or ()
    except csv.Error as error:
        raise UserError(f"is no table ({error})") from error
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        shown = ", ".join(columns)[:80]
        raise UserError(
            f"has no column {', '.join(missing)}: needed are {', '.join(NEEDED)}, and the first line is {shown!r}"
        )
    content = FileContent()
    if extra := [column for column in columns if column not in KNOWN]:
        content.notices.append(f"left out columns that have no place in a run: {', '.join(extra)}")
    checkpoints: dict[tuple[str, int | None], dict[tuple[str, int | None], list[_Row]]] = {}
    for row in _rows(lines, content):
        tasks = checkpoints.setdefault((row.model, row.step), {})
        tasks.setdefault((row.task, row.shots), []).append(row)
    if not checkpoints:
        raise UserError("is a table without scores")
    origin = Origin(name, sha256, None)
    repeated: list[_Row] = []
    for (model, step), tasks in checkpoints.items():
        measurements = []
        for (task, shots), rows in tasks.items():
            last = rows[-1]
            own = {row.score.metric: row for row in rows if (row.suite, row.variant) == (last.suite, last.variant)}
            repeated += [row for row in rows if own.get(row.score.metric) is not row]
            asked = {"suite": last.suite, "variant": last.variant}
            scores = [row.score for row in own.values()]
            said = {r.score.metric: r.higher_is_better for r in own.values() if r.higher_is_better is not None}
            made = Conditions(details={"higher_is_better": said} if said else {})
            measurements.append(task_measurement(origin, task, shots, scores, asked, made))
        key = CheckpointKey(model, None if step is None else f"step{step}", step, UNSEEN, model)
        content.checkpoints.append(Imported(key, measurements))
    if repeated:
        one = repeated[0]
        where = "" if one.step is None else f" at step {one.step}"
        content.notices.append(
            f"{len(repeated)} row{' is' if len(repeated) == 1 else 's are'} followed by others for the same model, "
            "step, task and shots, and those count: "
            f"first {one.task} of {one.model}{where}"
        )
    content.notices += _contradicted(row for tasks in checkpoints.values() for rows in tasks.values() for row in rows)
    return content


def _contradicted(rows: Iterable[_Row]) -> Iterator[str]:
    """A line on each metric that rows call better where it is high and others where it is low."""
    said: dict[tuple[str, int | None, str], set[bool | None]] = {}
    for row in rows:
        said.setdefault((row.task, row.shots, row.score.metric), set()).add(row.higher_is_better)
    for (task, _, metric), ways in said.items():
        if {True, False} <= ways:
            yield f"higher_is_better is true in some rows of {task} {metric} and false in others: the last counts"


def _rows(lines: "csv.DictReader[str]", content: FileContent) -> Iterator[_Row]:
    """The rows that hold a score; the others are counted by what is wrong with them."""
    wrong: Counter[str] = Counter()
    first: dict[str, int] = {}
    while True:
        try:
            cells = next(lines, None)
            if cells is None:
                break
            yield _row(cells)
        except (UserError, csv.Error) as error:
            wrong[str(error)] += 1
            first.setdefault(str(error), lines.line_num)
    for reason, count in wrong.items():
        rows = f"line {first[reason]} is" if count == 1 else f"{count} lines, first {first[reason]}, are"
        content.problems.append(f"{rows} left out: {reason}")


def _row(cells: Mapping[str, str | None]) -> _Row:
    if None in cells or None in cells.values():
        raise UserError("more or fewer cells than columns")
    said = {column: (cells.get(column) or "").strip() for column in KNOWN}
    for column in ("model", "task", "metric"):
        if not said[column]:
            raise UserError(f"no {column}")
    if any("\0" in cell for cell in said.values()):
        raise UserError("a name with a zero byte in it")
    value, error = _number(said, "value"), _number(said, "stderr")
    if value is None:
        raise UserError("no value")
    if error is not None and error < 0:
        raise UserError("stderr is negative")
    shots = _whole(said, "shots")
    task, shots = shots_in_name(said["task"]) if shots is None else (said["task"], shots)
    return _Row(
        said["model"],
        _whole(said, "step"),
        task,
        shots,
        said["suite"] or None,
        said["variant"] or None,
        Reading(said["metric"], value, stderr=error),
        _truth(said, "higher_is_better"),
    )


def _number(said: Mapping[str, str], column: str) -> float | None:
    if said[column].lower() in _EMPTY:
        return None
    try:
        number = float(said[column])
    except ValueError:
        raise UserError(f"{column} is no number") from None
    if not math.isfinite(number):
        raise UserError(f"{column} is not finite")
    if abs(number) > LARGEST_SCORE:
        raise UserError(f"{column} is beyond {LARGEST_SCORE:g}, which is no score")
    return number


def _truth(said: Mapping[str, str], column: str) -> bool | None:
    cell = said[column].lower()
    if cell in _EMPTY:
        return None
    if cell not in _TRUTH:
        raise UserError(f"{column} is neither true nor false")
    return _TRUTH[cell]


def _whole(said: Mapping[str, str], column: str) -> int | None:
    number = _number(said, column)
    if number is None:
        return None
    if number != int(number) or not 0 <= number < LARGEST:
        raise UserError(f"{column} is no whole number from 0")
    return int(number)
