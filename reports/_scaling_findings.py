"""What several models say together: a scaling law over their final losses, and the shape of each score over size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lm_probe.reports._counting import TASKS
from lm_probe.reports._data import Checkpoint, RunData, Score
from lm_probe.reports._fit_scaling_law import fit_scaling_law
from lm_probe.reports._scaling_curve import ScalingCurve, classify_scaling_curve
from lm_probe.reports._scaling_law import ScalingLaw
from lm_probe.reports._series import Measure, Series
from lm_probe.reports._sizes import Size
from lm_probe.reports._statistics import final, of_model

SMALLEST = 4
"""Sizes from which the shape over size is looked at."""
_SAME_DATA = {"B": 0.0, "beta": 1.0}


@dataclass(frozen=True)
class FinalLoss:
    """The last checkpoint of a model, measured and as the law has it."""

    model: str
    checkpoint: Checkpoint
    size: Size
    measured: Score
    fitted: bool = False
    """Whether the law was fitted to it; its prediction is an extrapolation if not."""
    predicted: float | None = None

    @property
    def gap(self) -> float | None:
        """(measured - predicted) / predicted."""
        return None if self.predicted is None else (self.measured.value - self.predicted) / self.predicted


@dataclass(frozen=True)
class Scaling:
    """Final losses by size, and the law through those that are not saturated."""

    losses: Sequence[FinalLoss]
    law: ScalingLaw | None
    """L = E + A / N^alpha at the number of tokens that all models had seen."""
    refusal: str
    """Why there is none; '' where there is."""


@dataclass(frozen=True)
class TaskCurve:
    """A task's final scores over model size."""

    measure: Measure
    models: Sequence[str]
    scores: Sequence[Score]
    found: ScalingCurve


def scaling(data: RunData, saturated: Sequence[str]) -> Scaling | None:
    """The law over final losses; None for fewer than two models of known size with a loss.

    All models must have read the same tokens as text, stopped at the same step (which stands for the same number of
    training tokens: E then holds what more data would take away), and have counted parameters.
    """
    losses = data.scores("loss", "loss")
    found = []
    for model, size in data.sizes.items():
        own = of_model(losses, data.checkpoints[model])
        if own:
            last = final(own)
            found.append(FinalLoss(model, last, size, own[last]))
    if len(found) < 2:
        return None
    fitted = [one for one in found if one.model not in saturated]
    if len({data.sample(one.checkpoint) for one in found}) > 1 or data.sample(found[0].checkpoint) is None:
        return Scaling(found, None, "the losses are not over the same tokens, so they do not compare between models")
    if not all(one.size.counted for one in found):
        return Scaling(found, None, "the number of parameters of some models is known from their names only")
    if len({one.checkpoint.step for one in fitted}) > 1 or any(one.checkpoint.step is None for one in fitted):
        return Scaling(found, None, "the models' last checkpoints are at different steps, and so after different data")
    parameters = [one.size.parameters for one in fitted]
    try:
        law = fit_scaling_law(parameters, [1.0] * len(fitted), [o.measured.value for o in fitted], held=_SAME_DATA)
    except ValueError as error:
        return Scaling(found, None, str(error))
    predicted = [
        FinalLoss(one.model, one.checkpoint, one.size, one.measured, one in fitted, float(at))
        for one, at in zip(found, law.loss(np.array([o.size.parameters for o in found]), 1.0), strict=True)
    ]
    return Scaling(predicted, law, "")


def task_curves(data: RunData, tasks: Sequence[Series]) -> list[TaskCurve]:
    """The shape of each task's final scores over size, at the level 5 % divided by the number of tasks."""
    points = []
    for measure in dict.fromkeys(one.measure for one in tasks):
        assert measure.task is not None
        scores = data.scores(TASKS, measure.metric, measure.task)
        own = {model: of_model(scores, data.checkpoints[model]) for model in data.sizes}
        last = {model: found[final(found)] for model, found in own.items() if found}
        errors = [score.stderr for score in last.values() if score.stderr is not None]
        distinct = {data.sizes[model].parameters for model in last}
        if len(distinct) == len(last) >= SMALLEST and len(errors) == len(last) and any(errors):
            points.append((measure, last, errors))
    return [
        TaskCurve(
            measure,
            list(last),
            list(last.values()),
            classify_scaling_curve(
                [data.sizes[model].parameters for model in last],
                [score.value for score in last.values()],
                errors,
                lower_is_better=measure.lower_is_better,
                alpha=0.05 / len(points),
            ),
        )
        for measure, last, errors in points
    ]
