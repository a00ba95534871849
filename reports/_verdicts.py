"""Verdicts on many series that are read together: what a fall must outlive, and what is no test at all.

Series are put into families, one for each question that a reader asks of the whole list; within a family p values are
adjusted so that on average at most 5 % of what is called saturated is not (Benjamini and Hochberg). A family holds
hypotheses, and a hypothesis is a task and not a metric: the first metric of a task carries its test, and the others
follow it, their adjusted p being the larger of their own and its (a fixed sequence, which costs nothing more).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from lm_probe.reports._counting import MEASURES, counting_task
from lm_probe.reports._many import false_discovery
from lm_probe.reports._means import taken_apart
from lm_probe.reports._saturation import FEWEST, Saturation, detect_saturation
from lm_probe.reports._series import Series

ALPHA = 0.05
EARLY = 0.1
"""Part of training in which an accuracy near chance can be anything: a fall from there is no loss of skill."""
_FIRST = ("acc", "exact_match")
"""The metrics that carry a task's test where it has them; else the first by name."""


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


def in_one_family(series: Sequence[Series]) -> list[Verdict]:
    """Each series a hypothesis, all in one list: few, and read together."""
    return _verdicts(series, lambda _: 0, lambda one: (one.model, one.measure))


def in_families_of_tasks(series: Sequence[Series]) -> list[Verdict]:
    """A family for the tasks of each model, and one for the parts of its suites, each task a hypothesis.

    "Which of its tasks did this model lose?" is a question about one model, and the answer must not depend on which
    others share the report. The 57 parts of a suite are a closer look at one task, and would drown the other tasks.
    """

    def family(one: Series) -> Hashable:
        return one.model, taken_apart(one.measure.task or "").is_part

    return _verdicts(series, family, lambda one: (one.model, one.measure.task))


def _order(one: Series) -> tuple[int, str]:
    """Places the metric first that carries its task's test."""
    counting = counting_task(one.measure.task or "")
    names = [metric for kind, metric in MEASURES if kind == counting[0]] if counting else list(_FIRST)
    metric = one.measure.metric.partition(",")[0]
    return names.index(metric) if metric in names else len(names), one.measure.metric


def _verdicts(
    series: Sequence[Series], family: Callable[[Series], Hashable], hypothesis: Callable[[Series], Hashable]
) -> list[Verdict]:
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
    families: dict[Hashable, dict[Hashable, list[int]]] = {}
    for place, (one, why) in enumerate(zip(series, untested, strict=True)):
        if not why:
            families.setdefault(family(one), {}).setdefault(hypothesis(one), []).append(place)
    verdicts = {
        place: Verdict(series[place], replace(found[place], verdict="cannot tell", reason=f"not tested: {why}"), 1.0, 0)
        for place, why in enumerate(untested)
        if why
    }
    for members in families.values():
        hypotheses = [sorted(places, key=lambda place: _order(series[place])) for places in members.values()]
        adjusted = false_discovery([found[places[0]].p_value for places in hypotheses])
        for carried, places in zip(adjusted, hypotheses, strict=True):
            for place in places:
                p = max(carried, found[place].p_value)
                each = _adjusted(found[place], p, len(hypotheses))
                verdicts[place] = Verdict(series[place], each, p, len(hypotheses))
    return [verdicts[place] for place in range(len(series))]


def _untested(series: Series, found: Saturation) -> str:
    """Why a series is no test of saturation; '' where it is one."""
    if len(series.checkpoints) < FEWEST:
        return found.reason
    if series.blind:
        return "no checkpoint is better than a blind answer"
    if not series.is_loss and found.best_step < EARLY * found.final_step:
        return "best in the first tenth of training, where a score moves without anything being learned"
    return ""


def _adjusted(found: Saturation, p: float, tests: int) -> Saturation:
    """The verdict that is left when a fall must outlive the other tests."""
    if found.verdict != "saturated" or p <= ALPHA:
        return found
    said = f"p {found.p_value:.2g} alone, but {p:.2g} among {tests} tests"
    if found.largest_fall < found.margin:
        said = f"a worsening of {found.margin:.3g} or more is excluded ({said})"
        return replace(found, verdict="not saturated", reason=said)
    said = f"blind to a worsening below {found.largest_fall:.3g}: {said}"
    return replace(found, verdict="cannot tell", reason=said)
