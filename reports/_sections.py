"""The parts of report.md, as markdown."""

from collections.abc import Iterable, Sequence

from lm_probe.reports._counting import TASKS, Cell, cells, counting_task, last_counted, task_metrics
from lm_probe.reports._data import Checkpoint, RunData, Score
from lm_probe.reports._markdown import MISSING, count, counted, escape, number, table, with_error
from lm_probe.reports._pictures import Picture
from lm_probe.reports._provenance import common, duration, memory, per_checkpoint, warnings
from lm_probe.reports._statistics import extreme, final, of_model
from lm_probe.reports._summary import Column
from lm_probe.reports._thin import thinned

ROWS = 30
COUNTING_HEADER = (
    *("model", "revision", "step", "question", "m", "metric"),
    *("full", "full_stderr", "binary", "binary_stderr", "gap", "gap_stderr", "n"),
)
_MEASURES = (
    ("count_query", "mae"),
    ("count_query", "acc"),
    ("most_frequent_word", "acc"),
    ("most_frequent_count", "acc"),
)
_MEANING = {"mae": "mean absolute error", "acc": "accuracy"}


def figures(pictures: Sequence[Picture]) -> list[str]:
    """Figures with their captions."""
    return [f"![{picture.title}](figures/{picture.name}.svg)\n\n{picture.caption}" for picture in pictures]


def step_cell(one: Checkpoint) -> str:
    """A checkpoint in a table of its model."""
    return count(one.step) if one.step is not None else escape(one.when)


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
                *(with_error(column.scores.get(one)) for column in columns),
            ]
            for one in shown
        ]
        parts += [f"### {escape(model)}", table(["step", *(column.title for column in columns)], rows)]
        if len(shown) < len(known):
            parts.append(f"{len(shown)} of {len(known)} checkpoints are shown; the rest is in the full table.")
    return parts


def counting(data: RunData) -> list[str]:
    """The counting tasks on the last checkpoint of each model: both arms and the paired gap."""
    rows = [
        [
            escape(model),
            step_cell(cell.checkpoint),
            cell.kind.replace("_", " "),
            _MEANING[metric],
            str(cell.m),
            *(with_error(score, 3) for score in (cell.full, cell.binary, cell.gap)),
            _n(cell),
        ]
        for model, known in data.checkpoints.items()
        for kind, metric in _MEASURES
        for cell in last_counted(data, kind, metric, known)
    ]
    if not rows:
        return []
    header = ["model", "step", "question", "measure", "m", "full", "binary", "gap (paired)", "n"]
    parts = [
        "The comparison of many different words with a binary control of the same length follows the design of "
        "arXiv 2407.15160. A gap above 0 means that the full list is harder than its control; it is the mean of the "
        "differences inside each document, and its standard error is that of the paired difference.",
        table(header, rows, text_columns=4),
    ]
    return parts + _width(data)


def _n(cell: Cell) -> str:
    sizes = [score.n for score in (cell.full, cell.binary) if score is not None and score.n is not None]
    return count(sizes[0]) if sizes else MISSING


def _width(data: RunData) -> list[str]:
    """Says where a list has more different words than the head is wide; says nothing of an unknown width."""
    sizes = [named[1] for task, _ in task_metrics(data) if (named := counting_task(task))]
    widths = {one.model: len(sigma) for one, sigma in data.vectors["singular_values"].items()}
    known = {model: width for model, width in widths.items() if any(one.model == model for one in _counted(data))}
    if not known:
        return []
    beyond = {model: [m for m in sorted(set(sizes)) if m > width] for model, width in known.items()}
    wide = [
        f"{escape(model)} (width {known[model]}: m = {', '.join(map(str, found))})"
        for model, found in beyond.items()
        if found
    ]
    if not wide:
        return ["No list here has more different words than its model's head has dimensions."]
    rest = "" if len(wide) == len(known) else " Elsewhere m stays within the width."
    return [f"More different words than the head has dimensions: {'; '.join(wide)}.{rest}"]


def _counted(data: RunData) -> set[Checkpoint]:
    return {
        one for task, metric in task_metrics(data) if counting_task(task) for one in data.scores(TASKS, metric, task)
    }


def other_tasks(data: RunData) -> list[str]:
    """Scores of every other lm-eval task at the first and the last checkpoint that has them."""
    rows = []
    for task, metric in task_metrics(data):
        if counting_task(task):
            continue
        scores = data.scores(TASKS, metric, task)
        for model, known in data.checkpoints.items():
            own = of_model(scores, known)
            if own:
                first, last = next(iter(own)), final(own)
                rows.append([escape(task), escape(metric), escape(model), *_ends(own[first], first, own[last], last)])
    header = ["task", "metric", "model", "first", "at step", "last", "at step", "n"]
    return [table(header, rows, text_columns=3)] if rows else []


def _ends(first: Score, at_first: Checkpoint, last: Score, at_last: Checkpoint) -> list[str]:
    size = MISSING if last.n is None else count(last.n)
    return [with_error(first), step_cell(at_first), with_error(last), step_cell(at_last), size]


def failures(data: RunData) -> list[str]:
    """What went wrong."""
    rows = [
        [escape(row.checkpoint.model), step_cell(row.checkpoint), escape(row.probe or "(opening)"), escape(row.error)]
        for row in data.failed
    ]
    return [table(["model", "step", "probe or task", "error"], rows, text_columns=4)] if rows else []


def provenance(data: RunData) -> list[str]:
    """Settings of the whole run, and identity and cost of each checkpoint."""
    parts = [table(["what", "value"], [[name, said] for name, said in common(data)], text_columns=2)]
    everything = per_checkpoint(data)
    total = sum(row.seconds for row in everything)
    parts.append(
        f"{counted(len(everything), 'measured checkpoint')}, {duration(total)} in probes and tasks, without loading. "
        "An identity is the Hub's commit, or for a local folder a hash of its weights; seconds are the sum over "
        "probes, memory the highest of the process or the GPU."
    )
    shown = {one for known in data.checkpoints.values() for one in thinned(known, ROWS)}
    rows = [
        [
            escape(row.checkpoint.model),
            step_cell(row.checkpoint),
            escape(row.identity),
            number(row.seconds, 3),
            memory(row.peak_memory),
        ]
        for row in everything
        if row.checkpoint in shown
    ]
    fold = table(["model", "step", "identity", "seconds", "peak memory"], rows, text_columns=3)
    remark = (
        "" if len(rows) == len(everything) else f" ({len(rows)} of {len(everything)}; all in tables/provenance.csv)"
    )
    return [*parts, f"<details><summary>Checkpoints{remark}</summary>\n\n{fold}\n\n</details>"]


def warning_lines(data: RunData) -> list[str]:
    """Warnings as one list."""
    found = warnings(data)
    return ["\n".join(f"- {line}" for line in found)] if found else []


def counting_rows(data: RunData) -> Iterable[list[object]]:
    """All cells of all checkpoints, for tables/counting.csv."""
    for known in data.checkpoints.values():
        for kind, metric in _MEASURES:
            for cell in cells(data, kind, metric, known):
                row: list[object] = [*cell.checkpoint, kind, cell.m, metric]
                for score in (cell.full, cell.binary, cell.gap):
                    row += [None, None] if score is None else [score.value, score.stderr]
                yield [*row, None if (first := cell.full or cell.binary) is None else first.n]
