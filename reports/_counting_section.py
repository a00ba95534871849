"""The counting tasks in the report: the table of both arms, what it shows and what it cannot show."""

from collections.abc import Iterable

from lm_probe.reports._counting import (
    MEASURES,
    TASKS,
    Cell,
    cells,
    counting_task,
    different_words,
    last_counted,
    task_metrics,
)
from lm_probe.reports._counting_findings import Counted, counted_questions
from lm_probe.reports._data import Checkpoint, NotAsked, RunData, Score
from lm_probe.reports._intervals import interval
from lm_probe.reports._markdown import (
    MISSING,
    count,
    counted,
    escape,
    listed,
    number,
    reading,
    settings,
    step_cell,
    table,
    with_interval,
)

HEADER = (
    *("model", "revision", "step", "question", "m", "metric"),
    *("full", "full_stderr", "binary", "binary_stderr", "gap", "gap_stderr", "floor", "binary_floor", "n"),
)
_NAMED = 6
_MEANING = {"mae": "MAE (words)", "acc": "accuracy", "mae_relative": "relative error"}


def section(data: RunData) -> list[str]:
    """The last checkpoint of each model: what stands out, the table, and what cannot be told."""
    rows = [
        [
            escape(model),
            step_cell(cell.checkpoint),
            cell.kind.replace("_", " "),
            _MEANING[metric],
            str(cell.m),
            _words(cell.words),
            _shown(metric, cell.full),
            _shown(f"{metric}_binary", cell.binary),
            _shown(f"{metric}_gap", cell.gap),
            _blind(cell.floor),
            _blind(cell.binary_floor),
            _n(cell),
        ]
        for model, known in data.checkpoints.items()
        for kind, metric in MEASURES
        for cell in last_counted(data, kind, metric, known)
    ]
    if not rows:
        return not_asked(data)
    header = ["model", "step", "question", "measure", "m", "words", "full", "binary", "gap (paired)"]
    header += ["blind, full", "blind, binary", "lists"]
    parts = [
        "A gap above 0 means that the full list is harder than its control. The comparison follows the design of "
        "arXiv 2407.15160." + _options(data),
        reading(
            "The gap is the mean of the differences inside each document. MAE is the mean absolute error, the relative "
            "error the mean of that over the true count. Brackets are 95 % intervals (Wilson for accuracies, Agresti "
            "and Min for their paired difference, normal otherwise). Blind is what the best constant answer reaches on "
            "all documents of the task, or naming one of the words in the list: one of m in the full one, one of two "
            "in the control."
        ),
        *not_asked(data),
        *findings(data),
        table(header, rows, text_columns=4),
    ]
    return parts + _coherence(data) + _split_answers(data) + _width(data)


def not_asked(data: RunData) -> list[str]:
    """A sentence for each model on the tasks that it cannot have, so that a missing row is not taken for a failure."""
    return [_not_asked(data, one) for one in data.not_asked]


def _not_asked(data: RunData, one: NotAsked) -> str:
    model = one.checkpoints[0].model
    whole = len(one.checkpoints) >= len(data.checkpoints.get(model, ()))
    where = "" if whole else f" at {counted(len(one.checkpoints), 'checkpoint')} of {len(data.checkpoints[model])}"
    tasks = list(map(escape, one.tasks))
    named = listed(tasks if len(tasks) <= _NAMED else [*tasks[:_NAMED], f"{len(tasks) - _NAMED} more"])
    return (
        f"Not asked of {escape(model)}{where}, whose tokenizer or context cannot have it: {named} ({escape(one.why)})."
    )


def _options(data: RunData) -> str:
    """Options that the tasks were given, so that an unusual list is not taken for a usual one."""
    given = {settings(row.config["options"]) for row in data.made if row.config.get("options")}
    return "" if not given else f" Options of the tasks: {escape('; '.join(sorted(given)))}."


def _coherence(data: RunData) -> list[str]:
    """How alike the lists' words are to the model: the quantity that the theory is about."""
    names = ("vocabulary_max_cos", "vocabulary_mean_cos", "vocabulary_effective_rank")
    rows = []
    for model, known in data.checkpoints.items():
        for cell in last_counted(data, "count_query", "acc", known):
            task = next(
                task
                for task, _ in task_metrics(data)
                if (said := counting_task(task)) and said[0] == cell.kind and different_words(data, task) == cell.m
            )
            values = [data.scores(TASKS, name, task).get(cell.checkpoint) for name in names]
            if all(values):
                rows.append([escape(model), str(cell.m), *(number(value.value, 3) for value in values if value)])
    if not rows:
        return []
    header = ["model", "m", "largest abs. cosine", "mean abs. cosine", "effective rank"]
    meaning = (
        "Coherence of the input embeddings of a list's m words, mean over lists: the less alike the words, the easier "
        "one is told from another."
    )
    return [meaning, table(header, rows, text_columns=1)]


def _split_answers(data: RunData) -> list[str]:
    found = {
        task: share
        for task, metric in task_metrics(data)
        if metric == "answers_one_token" and counting_task(task)
        for share in [min(score.value for score in data.scores(TASKS, metric, task).values())]
        if share < 1
    }
    if not found:
        return []
    return [
        "Answers of several tokens, which their length favours or penalises in log-likelihood: in "
        f"{listed(sorted(found))}."
    ]


def findings(data: RunData) -> list[str]:
    """For each question: which models count at all, and what the vocabulary adds to the length."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in counted_questions(data):
        alike.setdefault((one.kind.replace("_", " "), _finding(one)), []).append(escape(one.model))
    return [f"**{listed(models)}, {kind}.** {said}" for (kind, said), models in alike.items()]


def _finding(one: Counted) -> str:
    if not one.counts:
        words = one.kind == "most_frequent_word"
        blind = "naming one of its two words blindly" if words else "always giving the best constant answer"
        return (
            f"At no m is the control better than {blind} would be, so counting is not seen here, and gaps say nothing "
            "about vocabulary."
        )
    said = f"The control is better than a blind answer at m = {listed([str(m) for m in one.sizes])}."
    if one.widest is None:
        return said
    gap = _shown(f"{one.gap_metric}_gap", one.widest.gap)
    at = f"{said} At m = {one.widest.m} the full list"
    if one.harder is None:
        return f"{at} differs from it by {gap}: no difference is shown."
    if one.kind == "most_frequent_count":
        way = "harder" if one.harder else "easier"
        return f"{at} is {way} by {gap} of the count, and its counts are smaller: not the vocabulary's doing alone."
    if one.harder:
        return f"{at} is harder by {gap}: more different words cost more than length alone."
    return f"{at} is easier by {gap}."


def _words(score: Score | None) -> str:
    """Words of a list: a whole number where all lists have as many."""
    if score is None:
        return MISSING
    return count(round(score.value)) if score.value == round(score.value) else number(score.value, 4)


def _blind(score: Score | None) -> str:
    return MISSING if score is None else number(score.value, 3)


def _shown(metric: str, score: Score | None) -> str:
    return MISSING if score is None else with_interval(score.value, interval(metric, score))


def _n(cell: Cell) -> str:
    sizes = [score.n for score in (cell.full, cell.binary) if score is not None and score.n is not None]
    return count(sizes[0]) if sizes else MISSING


def _width(data: RunData) -> list[str]:
    """Says where a list has more different words than the head is wide; says nothing of an unknown width."""
    sizes = [different_words(data, task) for task, _ in task_metrics(data) if counting_task(task)]
    widths = {one.model: len(sigma) for one, sigma in data.vectors["singular_values"].items()}
    known = {model: width for model, width in widths.items() if any(one.model == model for one in _counted(data))}
    if not known:
        return ["How m compares with the models' width is not known here: it comes with the probe head_spectrum."]
    beyond = {model: [m for m in sorted(set(sizes)) if m > width] for model, width in known.items()}
    wide = [
        f"{escape(model)} (width {known[model]}: m = {', '.join(map(str, found))})"
        for model, found in beyond.items()
        if found
    ]
    if not wide:
        return [
            f"No list here has more different words (m = {max(sizes)} at most) than its model's head has dimensions "
            f"({min(known.values())} at least): a failure to count is no test of the claim that counting breaks where "
            "the vocabulary exceeds the width."
        ]
    rest = "" if len(wide) == len(known) else " Elsewhere m stays within the width."
    return [f"More different words than the head has dimensions: {'; '.join(wide)}.{rest}"]


def _counted(data: RunData) -> set[Checkpoint]:
    return {
        one for task, metric in task_metrics(data) if counting_task(task) for one in data.scores(TASKS, metric, task)
    }


def rows(data: RunData) -> Iterable[list[object]]:
    """All cells of all checkpoints, for tables/counting.csv."""
    for known in data.checkpoints.values():
        for kind, metric in MEASURES:
            for cell in cells(data, kind, metric, known):
                row: list[object] = [*cell.checkpoint, kind, cell.m, metric]
                for score in (cell.full, cell.binary, cell.gap):
                    row += [None, None] if score is None else [score.value, score.stderr]
                row += [None if floor is None else floor.value for floor in (cell.floor, cell.binary_floor)]
                yield [*row, None if (first := cell.full or cell.binary) is None else first.n]
