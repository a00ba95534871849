"""Figures of models by size: final losses with their law, and the shapes of task scores."""

from collections.abc import Sequence

from lm_probe.reports._analysis import Analysis
from lm_probe.reports._data import RunData
from lm_probe.reports._figure_sizes import loss_by_size, scores_by_size
from lm_probe.reports._markdown import count
from lm_probe.reports._means import taken_apart
from lm_probe.reports._pictures import Picture
from lm_probe.reports._scaling_findings import TaskCurve
from lm_probe.reports._series import Measure
from lm_probe.reports._verdicts import metric_order

FEWEST = 3
"""Models in a figure over size; two are a line whatever they do."""
MOST_PANELS = 12
_SAYING_LITTLE = ("flat", "undetermined")


def scaling_pictures(data: RunData, analysis: Analysis) -> list[Picture]:
    """Final losses over size."""
    found = analysis.scaling
    if found is None or len(found.losses) < FEWEST:
        return []
    places = {model: place for place, model in enumerate(data.models)}
    law = " A broken line is the law over the sizes of its models; a hollow marker was left out of the fit." * bool(
        found.laws
    )
    caption = f"Loss at the last checkpoint of each model, with 95 % intervals.{law}"
    return [Picture("loss_by_size", "Final loss over model size", lambda: loss_by_size(found, places), caption)]


def emergence_pictures(analysis: Analysis) -> list[Picture]:
    """A panel for one score of each task, those with a shape first."""
    tasks: dict[str | None, dict[Measure, list[TaskCurve]]] = {}
    for one in analysis.curves:
        tasks.setdefault(one.measure.task, {}).setdefault(one.measure, []).append(one)
    scores = [metrics[min(metrics, key=metric_order)] for metrics in tasks.values()]
    if not scores:
        return []
    scores.sort(key=_order)
    shown = scores[:MOST_PANELS]
    families = list(dict.fromkeys(one.family for one in analysis.curves))
    some = "" if len(shown) == len(scores) else f" of {count(len(shown))} of {count(len(scores))} tasks"
    caption = (
        f"One score{some or ' of each task'} at the last checkpoints, with 95 % intervals and the shape from the table "
        "below. A dotted line is what guessing scores, where that is known."
    )
    title = "Scores over model size"
    return [Picture("scores_by_size", title, lambda: scores_by_size(shown, families), caption)]


def _order(curves: Sequence[TaskCurve]) -> tuple[bool, bool]:
    """Scores with a shape first, and the parts of a suite after whole tasks."""
    task = curves[0].measure.task or ""
    return all(one.shape in _SAYING_LITTLE for one in curves), taken_apart(task).is_part
