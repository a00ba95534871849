"""Figures of what the verdicts up front are about: perplexities of tasks and means over tasks, over steps."""

import re
from functools import partial

from lm_probe.reports._analysis import Analysis
from lm_probe.reports._counting import TASKS
from lm_probe.reports._data import RunData, Score, Scores
from lm_probe.reports._figure_trend import has_lines, trend
from lm_probe.reports._markdown import count, escape
from lm_probe.reports._pictures import Picture, View
from lm_probe.reports._series import Measure, Series

_MOST = 6
_LATE = "The last nine tenths of training, or its last eight checkpoints where fewer lie there."


def saturation_pictures(data: RunData, analysis: Analysis) -> list[Picture]:
    """One for each measure of the first list beside the loss, which has a section of its own."""
    means = {one.series.measure for one in analysis.headline if one.series.tasks}
    found: dict[Measure, Scores] = {}
    for one in analysis.headline:
        if one.series.measure.task is not None:
            found.setdefault(one.series.measure, {}).update(_scores(one.series))
    return [
        Picture(
            f"saturation_{_file_name(measure.name, place)}",
            f"{measure.name} over training",
            partial(trend, scores, data.checkpoints, measure.name, {}, late=True),
            f"{escape(measure.name)}{_documents(data, measure)}; bands are 95 % intervals where an error is known.",
            View("trend", TASKS, measure.metric, measure.name, measure.task, late=True)
            if measure not in means
            else View("trend", "", measure.metric, measure.name, measure.task, late=True, derived=scores),
            _LATE if has_lines(scores) else "",
        )
        for place, (measure, scores) in enumerate(list(found.items())[:_MOST])
    ]


def _documents(data: RunData, measure: Measure) -> str:
    """Over how many documents a task's score is; a mean over tasks is not one of the run's scores and has none."""
    sizes = sorted({one.n for one in data.scores(TASKS, measure.metric, measure.task).values() if one.n})
    if not sizes:
        return ""
    return f", n = {' to '.join(count(size) for size in dict.fromkeys((sizes[0], sizes[-1])))} documents"


def _scores(series: Series) -> Scores:
    errors = [None] * len(series.values) if series.stderr is None else [float(error) for error in series.stderr]
    return {
        one: Score(float(value), error, None)
        for one, value, error in zip(series.checkpoints, series.values, errors, strict=True)
    }


def _file_name(name: str, place: int) -> str:
    return f"{place}_{re.sub(r'[^a-z0-9]+', '_', name.lower())[:40].strip('_')}"
