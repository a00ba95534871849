"""What several models say together: scaling laws over their final losses, and the shape of each score over size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lm_probe.reports._compare_metrics import MetricComparison, compare_metrics
from lm_probe.reports._counting import FLOORS, TASKS, counting_task
from lm_probe.reports._data import Checkpoint, RunData, Score
from lm_probe.reports._fit_scaling_law import NoFitError, fit_scaling_law
from lm_probe.reports._outcomes import shared
from lm_probe.reports._scaling_curve import ScalingCurve, classify_scaling_curve
from lm_probe.reports._scaling_law import ScalingLaw
from lm_probe.reports._series import Measure, measures
from lm_probe.reports._sizes import Size, family_in_name
from lm_probe.reports._statistics import final, of_model

SMALLEST = 4
"""Sizes from which the shape over size is looked at."""
_SAME_DATA = {"B": 0.0, "beta": 1.0}
FEWEST_OF_A_LAW = 5
"""Models: two more than a law of one size has constants."""


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
class FamilyLaw:
    """The law of one family over its final losses, or why there is none."""

    family: str
    """What the models' names begin with."""
    models: Sequence[str]
    """By size, also those that the law was not fitted to."""
    law: ScalingLaw | None
    """L = E + A / N^alpha at the number of tokens that all fitted models had seen."""
    refusal: str
    """Why there is none; '' where there is."""


@dataclass(frozen=True)
class Scaling:
    """Final losses by size, and the laws through those that are not called saturated."""

    losses: Sequence[FinalLoss]
    families: Sequence[FamilyLaw]
    """By name: each may have learned from other data, so that no law is of two."""

    @property
    def laws(self) -> list[FamilyLaw]:
        """The families that have a law."""
        return [one for one in self.families if one.law]


@dataclass(frozen=True)
class TaskCurve:
    """A task's final scores over the sizes of one family."""

    measure: Measure
    family: str
    """What the models' names begin with."""
    models: Sequence[str]
    sizes: Sequence[float]
    """Parameters of each."""
    scores: Sequence[Score]
    found: ScalingCurve
    chance: float | None = None
    """What guessing scores, where that is known."""
    left_out: Sequence[str] = ()
    """Models as large as another of the family with a shorter name."""
    comparison: MetricComparison | None = None
    """The same documents under other metrics, where sample logs hold their log-likelihoods."""

    @property
    def shape(self) -> str:
        """The label; `jump` for an emergence of which nobody knows whether it begins at chance."""
        return "jump" if self.found.label == "emergent" and self.chance is None else self.found.label


def scaling(data: RunData, saturated: Sequence[str]) -> Scaling | None:
    """The laws over final losses, one for each family; None for fewer than two models of known size with a loss."""
    losses = data.scores("loss", "loss")
    families: dict[str, list[FinalLoss]] = {}
    for model, size in data.sizes.items():
        own = of_model(losses, data.curve(model))
        if own:
            last = final(own)
            one = FinalLoss(model, last, size, own[last], fitted=model not in saturated)
            families.setdefault(family_in_name(model), []).append(one)
    if sum(map(len, families.values())) < 2:
        return None
    laws = [_law(data, family, members) for family, members in sorted(families.items())]
    found = [one for law in laws for one in _predicted(law.law, families[law.family])]
    return Scaling(sorted(found, key=lambda one: one.size.parameters), laws)


def _law(data: RunData, family: str, members: Sequence[FinalLoss]) -> FamilyLaw:
    """The law of one family.

    All must have read the same tokens as text, stopped at the same step (which stands for the same number of training
    tokens: E then holds what more data would take away), and have counted parameters.
    """
    names = [one.model for one in members]
    fitted = [one for one in members if one.fitted]
    samples, steps = {data.sample(one.checkpoint) for one in members}, {one.checkpoint.step for one in fitted}
    refusal = ""
    if len(samples) > 1 or None in samples:
        refusal = "the losses are not over the same tokens, so they do not compare between models"
    elif not all(one.size.counted for one in members):
        refusal = "the number of parameters of some models is known from their names only"
    elif len(steps) > 1 or None in steps:
        refusal = "the models' last checkpoints are at different steps, and so after different data"
    elif len(fitted) < FEWEST_OF_A_LAW:
        refusal = (
            f"its three constants (E, A and alpha) take {FEWEST_OF_A_LAW} models or more that are not called "
            f"saturated, and here {'is' if len(fitted) == 1 else 'are'} {len(fitted)}"
        )
    else:
        sizes, reached = [one.size.parameters for one in fitted], [one.measured.value for one in fitted]
        try:
            law = fit_scaling_law(sizes, [1.0] * len(fitted), reached, held=_SAME_DATA)
            return FamilyLaw(family, names, law, "")
        except NoFitError as error:
            refusal = error.reason
    return FamilyLaw(family, names, None, refusal)


def _predicted(law: ScalingLaw | None, members: Sequence[FinalLoss]) -> Iterator[FinalLoss]:
    for one in members:
        predicted = None if law is None else float(law.loss(one.size.parameters, 1.0))
        yield replace(one, predicted=predicted, fitted=one.fitted and law is not None)


def task_curves(data: RunData) -> list[TaskCurve]:
    """The shape of each task's final scores over size, at the level 5 % divided by the number of tasks."""
    points: list[tuple[Measure, str, dict[str, Checkpoint], list[str]]] = []
    for measure in measures(data):
        assert measure.task is not None
        scores = data.scores(TASKS, measure.metric, measure.task)
        own = {model: of_model(scores, data.curve(model)) for model in data.sizes}
        last = {model: final(found) for model, found in own.items() if found}
        for family, sized, left_out in _families(data, list(last)):
            errors = [error for model in sized if (error := scores[last[model]].stderr) is not None]
            if len(sized) >= SMALLEST and len(errors) == len(sized) and any(errors):
                points.append((measure, family, {model: last[model] for model in sized}, left_out))
    compared: set[tuple[str | None, str]] = set()
    curves = []
    for measure, family, last, left_out in points:
        reached = [data.scores(TASKS, measure.metric, measure.task)[one] for one in last.values()]
        sizes = [data.sizes[model].parameters for model in last]
        values = [score.value for score in reached]
        chance = _chance(data, measure, next(iter(last.values())))
        curve = classify_scaling_curve(
            sizes,
            values,
            [score.stderr or 0.0 for score in reached],
            lower_is_better=measure.lower_is_better,
            chance=chance,
            alpha=0.05 / len(points),
        )
        key = measure.task, family
        comparison = None if key in compared else _comparison(data, measure, sizes, list(last.values()))
        if comparison:
            compared.add(key)
        curves.append(TaskCurve(measure, family, list(last), sizes, reached, curve, chance, left_out, comparison))
    return curves


def sizes_of_families(data: RunData) -> dict[str, int]:
    """How many sizes of each family have a score of any task."""
    scored = {row.checkpoint.model for row in data.made if row.probe == TASKS}
    families = _families(data, [model for model in data.sizes if model in scored])
    return {family: len(sized) for family, sized, _ in families}


def _families(data: RunData, models: Sequence[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each family with its models by size, one of each size, and those that are left out: other data, other curve."""
    members: dict[str, dict[float, list[str]]] = {}
    for model in models:
        members.setdefault(family_in_name(model), {}).setdefault(data.sizes[model].parameters, []).append(model)
    for family, sizes in sorted(members.items()):
        by_name = [sorted(sizes[size], key=lambda model: (len(model), model)) for size in sorted(sizes)]
        yield family, [names[0] for names in by_name], [name for names in by_name for name in names[1:]]


def _chance(data: RunData, measure: Measure, smallest: Checkpoint) -> float | None:
    """What guessing scores, where the counting tasks' floors or the choices in a samples file say it."""
    assert measure.task is not None
    if counting := counting_task(measure.task):
        floor = data.scores(TASKS, FLOORS.get((counting[0], measure.metric), ""), measure.task).get(smallest)
        return None if floor is None else floor.value
    logged = data.samples.get((smallest, measure.task)) if measure.metric == "acc" else None
    return None if logged is None else logged.chance.get("accuracy")


def _comparison(
    data: RunData, measure: Measure, sizes: Sequence[float], last: Sequence[Checkpoint]
) -> MetricComparison | None:
    """Once for a task: emergence under accuracy and under the log-likelihood of the right answer."""
    assert measure.task is not None
    logs = [data.samples.get((one, measure.task)) for one in last]
    found = [one for one in logs if one is not None and one.recomputed]
    current = all(data.by_document(one, measure.task, measure.metric) is not None for one in last)
    if len(found) < len(last) or not current or not shared(found):
        return None
    names = [name for name in found[0].recomputed if all(name in one.recomputed for one in found)]
    return compare_metrics(
        sizes, {name: np.array([one.recomputed[name] for one in found]) for name in names}, chance=found[0].chance
    )
