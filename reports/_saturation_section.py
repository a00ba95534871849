"""Saturation in the report: the verdicts up front, and best against final checkpoint of every task."""

from collections import Counter
from collections.abc import Iterable, Sequence

from lm_probe.reports._analysis import Analysis, Verdict
from lm_probe.reports._data import RunData
from lm_probe.reports._markdown import (
    MISSING,
    count,
    counted,
    escape,
    fold,
    listed,
    number,
    reading,
    sentences,
    table,
    with_interval,
)
from lm_probe.reports._means import FEWEST_DOCUMENTS
from lm_probe.reports._saturation import EARLY, FEWEST, LEVEL
from lm_probe.reports._series import MOST_FILES, undirected, unpaired

_VERDICTS = """\
- **saturated**: the last checkpoints (or the last one) are worse than earlier ones by more than their scatter and the \
choice among them explain;
- **not worse**: a worsening by a tenth of what the series gained late in training is ruled out (95 % confidence), \
whether it still improves or went flat;
- **cannot tell**: the data leave both open."""
_LEVEL = (
    f"A worsening is from the mean of any {LEVEL} checkpoints in a row (fewer where there are fewer than {2 * LEVEL}) "
    "to that of the last. A score that answers without skill can reach may be luck in the "
    f"first {100 * EARLY:g} % of training: a worsening from there alone makes nothing saturated."
)
_RANGE = (
    "Brackets are 95 % intervals of a row by itself. The verdict judges several checkpoints together and pays for the "
    "other rows: an interval may end at 0 beside `saturated`, and keep clear of 0 beside `cannot tell`."
)
MOST_ROWS = 60
MOST_NAMED = 6
_ROW = ("model", "task", "metric", "verdict", "final less best", "% of best", "best at step", "final at step")
HEADER = (
    *("model", "task", "metric", "checkpoints", "best_step", "best", "best_corrected", "final_step", "final"),
    *("final_minus_best", "difference_corrected", "low", "high", "p", "p_adjusted", "tests", "verdict", "reason"),
)


def saturation(data: RunData, analysis: Analysis) -> list[str]:
    """Loss, perplexities and means over tasks: verdict, how sure, and where the best lies."""
    if not analysis.headline:
        return []
    rows = [
        [
            escape(one.series.model),
            escape(one.series.measure.name),
            one.found.verdict,
            _change(one),
            _best_step(one),
            _turn(one),
            *_p(one),
            str(len(one.series.checkpoints)),
            escape(one.found.reason),
        ]
        for one in analysis.headline
    ]
    header = ["model", "measure", "verdict", "final less best", "best at step", "turns at step", "p", "adj. p", "n"]
    return [
        _VERDICTS,
        sentences(
            "A verdict holds for this training run and this text or task, and says nothing of a cause.", _copies(data)
        ),
        reading(
            sentences(_LEVEL, _adjustment(analysis.headline), "n is the number of checkpoints."),
            f"Final less best compares two single checkpoints, with what picking the best adds taken off. {_RANGE} "
            f"There is none where the last is the best or as good, nor where fewer than {FEWEST} checkpoints show no "
            "scatter.",
        ),
        table([*header, "why"], rows, text_columns=3, remark=True),
        *_means(analysis),
    ]


def _copies(data: RunData) -> str:
    if not data.copies:
        return ""
    said = [f"{escape(one.model)} {escape(one.when)} (of {escape(first.when)})" for one, first in data.copies.items()]
    shown = said if len(said) <= MOST_NAMED else [*said[:MOST_NAMED], f"{len(said) - MOST_NAMED} more"]
    return f"Copies of earlier checkpoints are left out: {listed(shown)}."


def _means(analysis: Analysis) -> list[str]:
    """What the means are over, told once for all models with the same tasks."""
    said: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in analysis.headline:
        if one.series.tasks:
            said.setdefault((one.series.measure.task or "", one.series.tasks), []).append(one.series.model)
    return [
        f"{escape(name).capitalize()}{'' if len(said) == 1 else f' ({escape(listed(models))})'}: accuracy of "
        f"{escape(listed(tasks))}. Tasks of fewer than {FEWEST_DOCUMENTS} documents are left out, and parts of a suite "
        "count as one task."
        for (name, tasks), models in said.items()
    ]


def best_and_final(data: RunData, analysis: Analysis) -> list[str]:
    """Every task and metric with its verdict; of a long list the rows that say most."""
    everything = _by_model(data, analysis)
    if not everything:
        return []
    skilled = [one for one in everything if not _never_rose(one)]
    shown = _weightiest(skilled)
    lines = [f"{len(shown)} of {len(skilled)} rows; all are in tables/best_and_final.csv."] * (
        len(shown) < len(skilled)
    )
    header = [*_ROW, "p", "adj. p (tests)", "why it cannot tell"]
    return [
        *(
            [*_explained(analysis), table(header, map(_tested, shown), text_columns=4, remark=True), *lines]
            * bool(shown)
        ),
        *_blind([one for one in everything if _never_rose(one)]),
        *_left_aside(data),
    ]


def _never_rose(one: Verdict) -> bool:
    """Whether it is a counting task on which no checkpoint is better than a blind answer: nothing can be lost there."""
    return one.series.blind and not one.tests


def _weightiest(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Of a long list the rows that say most, in the order of the list."""
    by_weight = sorted(verdicts, key=lambda one: (not one.tests, not _first(one), one.p_adjusted, one.found.p_value))
    chosen = {id(one) for one in by_weight[:MOST_ROWS]}
    return [one for one in verdicts if id(one) in chosen]


def _explained(analysis: Analysis) -> list[str]:
    """The section before says what holds for both, where there is one."""
    told = [] if analysis.headline else [sentences(_RANGE, _LEVEL)]
    return [
        "The best of many checkpoints flatters; final less best has that taken off, and % of best is that difference "
        "over the best as shown. A row without p is not tested, for the reason that stands there.",
        reading(
            *told,
            sentences(
                "Brackets and levels are those of [Saturation](#saturation)." * (not told),
                _families(analysis.tasks),
                "Perplexities and means have the adjusted p of the list above; in brackets behind it stands how many "
                "tests a row's own list has.",
            ),
        ),
    ]


def _row(one: Verdict) -> list[str]:
    return [
        escape(one.series.model),
        escape(one.series.measure.task),
        escape(one.series.measure.metric),
        one.found.verdict,
        _change(one),
        _relative(one),
        f"{number(one.found.best_value)} at {count(int(one.found.best_step))}",
        f"{number(one.found.final_value)} at {count(int(one.found.final_step))}",
    ]


def _tested(one: Verdict) -> list[str]:
    p, adjusted = _p(one)
    among = f"{adjusted} ({count(one.tests)})" if one.tests else adjusted
    return [*_row(one), p, among, escape(one.found.reason) if one.found.verdict == "cannot tell" else ""]


def _blind(never: Sequence[Verdict]) -> list[str]:
    """Rows that fill a page and say nothing, folded up under a line that tells how many there are of which model."""
    if not never:
        return []
    models = Counter(escape(one.series.model) for one in never)
    said = listed([f"{model} ({rows})" for model, rows in list(models.items())[:MOST_NAMED]])
    more = f" and {counted(len(models) - MOST_NAMED, 'more model')}" if len(models) > MOST_NAMED else ""
    title = (
        f"{counted(len(never), 'score')} of counting tasks in which no checkpoint is better than a blind answer, so "
        f"that there is nothing to lose and nothing is tested: {said}{more}"
    )
    shown = _weightiest(never)
    rest = f"\n\n{len(shown)} of {len(never)} rows; all are in tables/best_and_final.csv." * (len(shown) < len(never))
    return [fold(title, table(_ROW, map(_row, shown), text_columns=4) + rest)]


def _left_aside(data: RunData) -> list[str]:
    """Scores without a verdict, and pairs that were not looked at."""
    said = []
    if unknown := undirected(data):
        shown = list(map(escape, unknown[:MOST_NAMED])) + [f"{len(unknown) - MOST_NAMED} more"] * (
            len(unknown) > MOST_NAMED
        )
        said.append(
            f"Whether low or high is better is not known of {listed(shown)}, so nothing is said of their best: "
            "lm-eval's result files of 0.4 say it, and a table may in a column `higher_is_better`."
        )
    if files := unpaired(data):
        said.append(
            f"Standard errors stand in for pairs of answers: the run keeps {count(files)} files of answers by "
            f"document, more than the {count(MOST_FILES)} that a report reads for this."
        )
    return said


def csv_rows(data: RunData, analysis: Analysis) -> Iterable[list[object]]:
    """All of them and the loss, at full precision, for tables/best_and_final.csv."""
    losses = [one for one in analysis.headline if one.series.measure.task is None]
    for one in [*losses, *_by_model(data, analysis)]:
        found = one.found
        yield [
            *(one.series.model, one.series.measure.task, one.series.measure.metric, len(one.series.checkpoints)),
            *(int(found.best_step), found.best_value, found.best_corrected, int(found.final_step), found.final_value),
            *(found.final_minus_best, found.difference, *(found.interval or (None, None))),
            *((found.p_value, one.p_adjusted) if one.tests else (None, None)),
            *(one.tests, found.verdict, found.reason),
        ]


def _by_model(data: RunData, analysis: Analysis) -> list[Verdict]:
    """The task verdicts by model, means and perplexities first."""
    verdicts = [one for one in (*analysis.headline, *analysis.tasks) if one.series.measure.task is not None]
    place = {model: index for index, model in enumerate(data.models)}
    return sorted(verdicts, key=lambda one: (place[one.series.model], not one.series.tasks, not one.series.is_loss))


def _first(one: Verdict) -> bool:
    return bool(one.series.tasks) or one.series.is_loss


def _adjustment(verdicts: Sequence[Verdict]) -> str:
    tests = max((one.tests for one in verdicts), default=0)
    if tests < 2:
        return ""
    return (
        f"The adjusted p pays for {counted(tests, 'test')} in one list (Benjamini and Hochberg): of what is called "
        f"saturated at most 5 % is expected not to be.{_roughness(verdicts)}"
    )


def _families(verdicts: Sequence[Verdict]) -> str:
    sizes = sorted({one.tests for one in verdicts if one.tests})
    if not sizes or sizes[-1] < 2:
        return ""
    tests = counted(sizes[0], "test") if len(sizes) == 1 else f"{count(sizes[0])} to {counted(sizes[-1], 'test')}"
    return (
        f"The adjusted p pays for all tasks of a model, parts of a suite apart ({tests} in a list; Benjamini and "
        "Hochberg). One metric carries a task's test, accuracy where there is one; the others follow in order, each "
        "called saturated only where all before it are. Of the tasks called saturated in a list at most 5 % are "
        f"expected to be called so by a metric that did not fall.{_roughness(verdicts)}"
    )


def _roughness(verdicts: Sequence[Verdict]) -> str:
    """A caveat where a series has neither standard errors nor answers by document."""
    if all(one.series.stderr is not None or one.series.outcomes is not None for one in verdicts if one.tests):
        return ""
    return " Where no standard errors are known, slow noise passes for a fall more often than that."


def _p(one: Verdict) -> list[str]:
    return [number(one.found.p_value, 2), number(one.p_adjusted, 2)] if one.tests else [MISSING, MISSING]


def _best_step(one: Verdict) -> str:
    step = count(int(one.found.best_step))
    if one.found.best_steps is None:
        return step
    first, last = one.found.best_steps
    return f"{step} [{count(int(first))} to {count(int(last))}]"


def _change(one: Verdict) -> str:
    return with_interval(one.found.difference, one.found.interval)


def _relative(one: Verdict) -> str:
    best, difference = one.found.best_value, one.found.difference
    return MISSING if difference is None or not best else number(100 * difference / abs(best), 3)


def _turn(one: Verdict) -> str:
    turn = one.found.change_point
    if not one.saturated or turn is None or turn.p_value > 0.05:
        return MISSING
    return f"{count(int(turn.step))} [{count(int(turn.low))} to {count(int(turn.high))}]"
