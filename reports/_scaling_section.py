"""Several models by size in the report: final losses with their law, and the shapes of task scores."""

from collections import Counter
from collections.abc import Iterable, Sequence

from lm_probe.reports._analysis import Analysis
from lm_probe.reports._data import RunData, Scores
from lm_probe.reports._layers import final_place
from lm_probe.reports._markdown import (
    MISSING,
    count,
    counted,
    escape,
    few,
    listed,
    number,
    reading,
    sentences,
    step_cell,
    table,
    with_error,
    with_interval,
)
from lm_probe.reports._scaling_findings import SMALLEST, FamilyLaw, FinalLoss, Scaling, TaskCurve
from lm_probe.reports._scaling_law import ScalingLaw

MOST_ROWS = 60
CURVE_HEADER = ("task", "metric", "over_size", "family", "models", "smallest", "largest", "draws_that_agree", "reason")
_SAYING_LITTLE = ("flat", "undetermined")
_NAMED = 6
_OTHER_DATA = (
    "A law is of one family, which are models whose names begin alike: others may have learned from other data."
)


def scaling(data: RunData, analysis: Analysis) -> list[str]:
    """The models by size, and the laws through their final losses or why there is none."""
    found = analysis.scaling
    if found is None:
        return []
    profiles = data.mean_cosines
    last = {one: profile[final_place(profile)] for one, profile in profiles.items()}
    entropy = data.scores("head_spectrum", "singular_entropy", "all_rows")
    rows = [
        [
            escape(one.model),
            f"{count(round(one.size.parameters))}{'' if one.size.counted else ' (by name)'}",
            _width(data, one),
            step_cell(one.checkpoint),
            with_error(one.measured),
            *([number(one.predicted, 4), _gap(one)] if found.laws else []),
            _at(last, one),
            _at(entropy, one),
        ]
        for one in found.losses
    ]
    law = ["predicted", "gap"] if found.laws else []
    header = ["model", "parameters", "width", "last step", "loss", *law, "mean cosine, last site", "singular entropy"]
    return [*_laws(found), table(header, rows, text_columns=1)]


def _laws(found: Scaling) -> list[str]:
    """The laws that are fitted, and which families have none for which reason."""
    apart = len(found.families) > 1
    said = _fitted(found, apart) if found.laws else []
    without: dict[str, list[str]] = {}
    for one in found.families:
        if one.law is None:
            without.setdefault(one.refusal, []).append(_which(one))
    if without:
        reasons = [f"{few(own, _NAMED)}: {escape(why)}" if apart else escape(why) for why, own in without.items()]
        none = f"No {'further ' * bool(said)}scaling law is fitted{' of ' if apart else ': '}{'; '.join(reasons)}."
        said.append(sentences(none, _OTHER_DATA * apart))
    return said


def _fitted(found: Scaling, apart: bool) -> list[str]:
    own = [one for one in found.losses if one.predicted is not None]
    laws = [
        f"{f'of {escape(one.family)} ' * apart}({sum(loss.fitted and loss.model in one.models for loss in own)} "
        f"models) {_constants(one.law)}"
        for one in found.laws
        if one.law
    ]
    outside = len(own) - sum(one.fitted for one in own)
    gap = (
        f"For {counted(outside, 'saturated model')} (italic) the prediction is an extrapolation: a gap says that one "
        "law does not cover both, and not why."
    )
    return [
        sentences(
            "L = E + A / N^alpha over the final losses of models that are not called saturated, N with both "
            f"embeddings: {'; '.join(laws)}.",
            gap if outside else "",
            "That a law holds outside these sizes is not shown.",
        ),
        reading(
            "E holds what more training data would take away, because all models of a law had seen as many tokens. "
            "Intervals resample the models and are too narrow for so few; compare the predicted losses before the "
            "constants."
        ),
    ]


def _which(one: FamilyLaw) -> str:
    """A family with its models."""
    names = few(list(map(escape, one.models)), _NAMED)
    return names if len(one.models) == 1 else f"{escape(one.family)} ({names})"


def _constants(law: ScalingLaw) -> str:
    parts = []
    for name in ("E", "A", "alpha"):
        parts.append(f"{name} = {with_interval(getattr(law, name), law.intervals.get(name))}")
    return ", ".join(parts)


def _gap(one: FinalLoss) -> str:
    if one.gap is None:
        return MISSING
    said = f"{100 * one.gap:+.1f} %".replace("-", "\N{MINUS SIGN}")
    return said if one.fitted else f"*{said}*"


def _width(data: RunData, one: FinalLoss) -> str:
    sigma = data.vectors["singular_values"].get(one.checkpoint)
    return MISSING if sigma is None else count(len(sigma))


def _at(scores: Scores, one: FinalLoss) -> str:
    return number(scores[one.checkpoint].value, 3) if one.checkpoint in scores else MISSING


def emergence(analysis: Analysis) -> list[str]:
    """The label of each task and metric over size."""
    small = [f"{escape(family)} ({sizes})" for family, sizes in analysis.families.items() if sizes < SMALLEST]
    if not analysis.curves:
        pooled = len(small) == len(analysis.families) and sum(analysis.families.values()) >= SMALLEST
        said = (
            f"No shape of a score over size is told: it takes {SMALLEST} sizes of one family, which are models whose "
            f"names begin alike, and here are {few(small)}. Other families learned from other data, and are another "
            f"curve."
        )
        return [said] if pooled else []
    telling = [one for one in analysis.curves if one.shape not in _SAYING_LITTLE]
    others = [one for one in analysis.curves if one.shape in _SAYING_LITTLE]
    more = max(0, MOST_ROWS - len(telling))
    kept = {id(one) for one in (*telling, *others[:more])}
    shown, rest = [one for one in analysis.curves if id(one) in kept], others[more:]
    rows = [
        [
            escape(one.measure.task),
            escape(one.measure.metric),
            one.shape,
            f"{len(one.models)} {escape(one.family)}".strip(),
            number(one.scores[0].value),
            number(one.scores[-1].value),
            f"{one.found.stability:.0%}".replace("%", " %"),
            escape(one.found.reason),
        ]
        for one in shown
    ]
    left_out = sorted({model for one in analysis.curves for model in one.left_out})
    twins = f" Left out beside a model of the same size and a shorter name: {listed(list(map(escape, left_out)))}."
    lesser = f" Families of fewer than {SMALLEST} sizes have no row: {few(small)}."
    header = ["task", "metric", "over size", "models", "smallest", "largest", "draws that agree", "why"]
    return [
        "The shape of each score over the log of model size, from the last checkpoints of one family: models whose "
        "names begin alike." + twins * bool(left_out) + lesser * bool(small),
        reading(
            "Fewer than five sizes, or fewer than 80 % of redrawn scores with the same label, are undetermined. Level "
            f"5 % divided by {counted(len(analysis.curves), 'row')}. A jump of an accuracy may be the metric's own, "
            "and one between two sizes that were not trained is not seen; it is called emergent where the smallest "
            "models are known to be at chance, and otherwise a jump. The thresholds are conventions. Other families "
            "learned from other data, and are another curve."
        ),
        table(header, rows, text_columns=3, remark=True),
        *([f"Not in this table: {_left_out(rest)}; all rows are in tables/emergence.csv."] if rest else []),
        *_under_other_metrics(analysis),
    ]


def _left_out(rest: Sequence[TaskCurve]) -> str:
    kinds = Counter(one.shape for one in rest)
    return listed(
        [f"{counted(number_, 'row')} that {'is' if number_ == 1 else 'are'} {name}" for name, number_ in kinds.items()]
    )


def curve_rows(analysis: Analysis) -> Iterable[list[object]]:
    """All of them at full precision, for tables/emergence.csv."""
    for one in analysis.curves:
        ends = one.scores[0].value, one.scores[-1].value
        told = one.measure.task, one.measure.metric, one.shape, one.family, len(one.models)
        yield [*told, *ends, one.found.stability, one.found.reason]


def _under_other_metrics(analysis: Analysis) -> list[str]:
    compared = [(one.measure.task, one.comparison) for one in analysis.curves if one.comparison]
    if not compared:
        return []
    rows = [[escape(task), found.emergence, escape(found.reason)] for task, found in compared]
    return [
        "The same documents under other metrics, recomputed from the log-likelihoods in the sample logs. An emergence "
        "is robust where the log-likelihood of the right answer jumps as well, and metric-induced where it rises "
        "smoothly (arXiv 2304.15004); Brier score and probability among the choices are shown and do not decide.",
        table(["task", "emergence", "over size under each metric"], rows, text_columns=3),
    ]
