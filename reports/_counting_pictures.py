"""The figures of the counting tasks: both arms over m, and the paired gap."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lm_probe.reports._counting import TASKS, Cell, last_counted
from lm_probe.reports._data import RunData
from lm_probe.reports._figure_counting import arms, gaps
from lm_probe.reports._markdown import sentences
from lm_probe.reports._pictures import Picture, View
from lm_probe.reports._provenance import machine

_ARMS = (
    ("counting_error", "count_query", "mae", "Counting a word", "mean absolute error (words)"),
    ("most_frequent_word", "most_frequent_word", "acc", "Most frequent word", "accuracy (fraction right)"),
    ("most_frequent_count", "most_frequent_count", "mae_relative", "Count of the most frequent word", "relative error"),
)
_LAST = "The last checkpoint of each model."


def counting_said(data: RunData) -> list[str]:
    """What the figures of all questions show."""
    shown = [cells for _, kind, metric, *_ in _ARMS if (cells := _last(data, kind, metric))]
    if not shown:
        return []
    floors = any(cell.floor or cell.binary_floor for cells in shown for own in cells.values() for cell in own)
    blind = " A blind answer is the best constant or one of the words in the list: dotted, of the control dash-dotted."
    return [
        "Full lists of m different words stand against controls of two words with the same length, the same question "
        f"and the same answers; bars are 95 % intervals.{blind * floors}{machine(data, 'lm_eval')}"
    ]


def counting_pictures(data: RunData) -> list[Picture]:
    """Both arms of each question over m, and the gap between them, at the last checkpoint of each model."""
    pictures = []
    for name, kind, metric, title, ylabel in _ARMS:
        cells = _last(data, kind, metric)
        if cells:
            caption = sentences(_documents(cells), _remark(kind))

            def draw(cells: Mapping[str, Sequence[Cell]] = cells, metric: str = metric, ylabel: str = ylabel) -> Figure:
                return arms(cells, data.models, metric, ylabel)

            pictures.append(Picture(name, title, draw, caption, View("arms", TASKS, metric, ylabel, kind), _LAST))
    counted = {model: own for model, own in _last(data, "count_query", "mae").items() if any(cell.gap for cell in own)}
    if counted:
        caption = (
            "Error in the full list less error in its control, mean of the differences inside each document (paired), "
            "with 95 % intervals: what more different words add at the same length. It says nothing where the control "
            f"itself is not better than a blind answer. {_documents(counted)}"
        )
        view = View("gap", TASKS, "mae", "full less control (words)", "count_query")
        pictures.append(
            Picture(
                "counting_gap",
                "What the vocabulary adds",
                lambda: gaps(counted, data.models, "mae"),
                caption,
                view,
                _LAST,
            )
        )
    return pictures


def _last(data: RunData, kind: str, metric: str) -> dict[str, list[Cell]]:
    return {
        model: found for model, known in data.checkpoints.items() if (found := last_counted(data, kind, metric, known))
    }


def _remark(kind: str) -> str:
    if kind != "most_frequent_count":
        return ""
    return (
        "Relative error is the mean of the absolute error over the true count."
        " In a list of two words the most frequent one makes up half at least, so the control's counts are larger: "
        "the two arms differ in more than vocabulary."
    )


def _documents(cells: Mapping[str, Sequence[Cell]]) -> str:
    sizes = sorted(
        {score.n for own in cells.values() for cell in own if (score := cell.full or cell.binary) and score.n}
    )
    if not sizes:
        return ""
    return f"n = {sizes[0]:,} lists." if len(sizes) == 1 else f"n = {sizes[0]:,} to {sizes[-1]:,} lists."
