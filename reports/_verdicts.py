"""Verdicts on many series that are read together: what a fall must outlive, and what is no test at all.

Series are put into families, one for each question that a reader asks of the whole list; within a family p values are
adjusted so that on average at most 5 % of what is called saturated is not (Benjamini and Hochberg). A family holds
hypotheses, and a hypothesis is a task and not a metric: the first metric of a task carries its test, and the others
follow it in a fixed sequence, each called saturated only where all before it are, at the threshold that the first had.
Of the tasks called saturated at most 5 % then have a metric among those called that did not fall.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from lm_probe.reports._counting import MEASURES, counting_task
from lm_probe.reports._many import within_findings
from lm_probe.reports._markdown import counted
from lm_probe.reports._means import taken_apart
from lm_probe.reports._saturation import EARLY, Saturation, detect_saturation, too_few, unshown
from lm_probe.reports._series import Measure, Series

ALPHA = 0.05
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


def metric_order(measure: Measure) -> tuple[int, str]:
    """Places the metric first that carries its task's test."""
    counting = counting_task(measure.task or "")
    names = [metric for kind, metric in MEASURES if kind == counting[0]] if counting else list(_FIRST)
    metric = measure.metric.partition(",")[0]
    return names.index(metric) if metric in names else len(names), measure.metric


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
            early=_early(one),
        )
        for one in series
    ]
    untested = [_untested(one) for one in series]
    families: dict[Hashable, dict[Hashable, list[int]]] = {}
    for place, (one, why) in enumerate(zip(series, untested, strict=True)):
        if not why:
            families.setdefault(family(one), {}).setdefault(hypothesis(one), []).append(place)
    verdicts = {
        place: Verdict(
            series[place], replace(found[place], verdict="cannot tell", reason=f"not tested, because {why}"), 1.0, 0
        )
        for place, why in enumerate(untested)
        if why
    }
    for members in families.values():
        hypotheses = [sorted(places, key=lambda at: metric_order(series[at].measure)) for places in members.values()]
        carrying = [found[places[0]].p_value for places in hypotheses]
        for places in hypotheses:
            # A fixed sequence: none is called where one before it is not.
            sequence = list(accumulate((found[place].p_value for place in places), max))
            for place, p in zip(places, within_findings(carrying, sequence), strict=True):
                each = _adjusted(found[place], p, len(hypotheses))
                verdicts[place] = Verdict(series[place], each, p, len(hypotheses))
    return [verdicts[place] for place in range(len(series))]


def _early(series: Series) -> float:
    return EARLY if series.may_be_luck else 0.0


def _untested(series: Series) -> str:
    """Why a series is no test of saturation; '' where it is one."""
    blind = "no checkpoint is better than a blind answer" if series.blind else ""
    return too_few(series.steps, _early(series)) or blind


def _adjusted(found: Saturation, p: float, tests: int) -> Saturation:
    """The verdict that is left when a fall must outlive the other tests."""
    if found.verdict != "saturated" or p <= ALPHA:
        return found
    said = (
        f"a worsening at the end is shown by itself (p {found.p_value:.2g}) and not among {counted(tests, 'test')} "
        f"(adjusted p {p:.2g})"
    )
    verdict, reason = unshown(found.largest_fall, found.largest_later_fall, found.margin, said)
    return replace(found, verdict=verdict, reason=reason)
