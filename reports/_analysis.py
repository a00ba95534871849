"""What a run's values say: verdicts, associations and laws as plain records; the words for them are made elsewhere.

Saturation is tested for two lists. The first is small and decides what the report says up front: the loss of each
model, perplexities, the mean over tasks. The second holds every single task. In each, p values are adjusted so that on
average at most 5 % of what is called saturated is not (Benjamini and Hochberg); what does not outlive that is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lm_probe.reports._data import RunData
from lm_probe.reports._differences import Difference, differences
from lm_probe.reports._many import false_discovery
from lm_probe.reports._moving import Moving, moving
from lm_probe.reports._saturation import FEWEST, Saturation, detect_saturation
from lm_probe.reports._scaling_findings import Scaling, TaskCurve, scaling, task_curves
from lm_probe.reports._series import Series, loss_series, mean_series, task_series
from lm_probe.reports._sizes import Size

ALPHA = 0.05
EARLY = 0.1
"""Part of training in which an accuracy near chance can be anything: a fall from there is no loss of skill."""


@dataclass(frozen=True)
class Verdict:
    """One series and whether it saturates, given that others were looked at too."""

    series: Series
    found: Saturation
    """Verdict and reason are those after the adjustment, `p_value` is the one before."""
    p_adjusted: float
    tests: int
    """How many tests were adjusted together; 0 where the series is no test, for the reason that `found` gives."""

    @property
    def saturated(self) -> bool:
        """Whether it is worse at its end than before."""
        return self.found.verdict == "saturated"


@dataclass(frozen=True)
class Analysis:
    """Everything that the report states as a finding."""

    sizes: Mapping[str, Size]
    """Of the models whose size is known, smallest first."""
    headline: Sequence[Verdict]
    """Loss, perplexity and mean over tasks of each model."""
    tasks: Sequence[Verdict]
    """Every other task and metric."""
    moving: Sequence[Moving]
    """Measures beside the loss."""
    scaling: Scaling | None
    curves: Sequence[TaskCurve]
    """Scores over size, where there are four sizes or more."""
    differences: Sequence[Difference] = ()
    """Between runs that hold the same model at the same step."""

    def loss(self, model: str) -> Verdict | None:
        """The verdict on a model's loss."""
        return next((one for one in self.headline if one.series.model == model and not one.series.measure.task), None)


def analyse(data: RunData) -> Analysis:
    """Every finding that the values allow. The same values give the same findings."""
    tasks = task_series(data)
    perplexities = [one for one in tasks if one.is_loss]
    first = [*loss_series(data), *perplexities, *mean_series(tasks)]
    order = {model: place for place, model in enumerate(data.models)}
    headline = _verdicts(sorted(first, key=lambda one: order[one.model]))
    others = _verdicts([one for one in tasks if not one.is_loss])
    saturated = [one.series.model for one in headline if one.saturated and one.series.measure.task is None]
    return Analysis(
        sizes=data.sizes,
        headline=headline,
        tasks=others,
        moving=moving(data),
        scaling=scaling(data, saturated),
        curves=task_curves(data),
        differences=differences(data),
    )


def _verdicts(series: Sequence[Series]) -> list[Verdict]:
    found = [
        detect_saturation(
            one.steps,
            None if one.outcomes is not None else one.values,
            one.stderr,
            lower_is_better=one.measure.lower_is_better,
            outcomes=one.outcomes,
        )
        for one in series
    ]
    untested = [_untested(one, each) for one, each in zip(series, found, strict=True)]
    p_values = [each.p_value for each, why in zip(found, untested, strict=True) if not why]
    adjusted = iter(false_discovery(p_values))
    verdicts = []
    for one, each, why in zip(series, found, untested, strict=True):
        if why:
            verdicts.append(Verdict(one, replace(each, verdict="cannot tell", reason=why), 1.0, 0))
        else:
            p = next(adjusted)
            verdicts.append(Verdict(one, _adjusted(each, p, len(p_values)), p, len(p_values)))
    return verdicts


def _untested(series: Series, found: Saturation) -> str:
    """Why a series is no test of saturation; '' where it is one."""
    if len(series.checkpoints) < FEWEST:
        return found.reason
    if series.blind:
        return "no checkpoint is better than a blind answer"
    if not series.is_loss and found.best_step < EARLY * found.final_step:
        return "it is best in the first tenth of training, where a score moves without anything being learned"
    return ""


def _adjusted(found: Saturation, p: float, tests: int) -> Saturation:
    """The verdict that is left when a fall must outlive the other tests."""
    if found.verdict != "saturated" or p <= ALPHA:
        return found
    said = f"p {found.p_value:.2g} alone, but {p:.2g} among {tests} tests"
    if found.largest_fall < found.margin:
        said = f"a worsening of {found.margin:.3g} or more is excluded ({said})"
        return replace(found, verdict="not saturated", reason=said)
    said = f"{said}, and a worsening of up to {found.largest_fall:.3g} is not excluded"
    return replace(found, verdict="cannot tell", reason=said)
