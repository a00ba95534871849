"""Whether an emergence lasts when the same answers are scored continuously."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from lm_probe.reports._choice_metrics import CONTINUOUS, DISCONTINUOUS, LOWER_IS_BETTER
from lm_probe.reports._noise import checked
from lm_probe.reports._scaling_curve import ScalingCurve, filled, settled

GRADUAL = ("smooth", "saturating")

Emergence = Literal["robust", "metric-induced", "none", "undetermined"]


@dataclass(frozen=True)
class MetricComparison:
    """The curve under each metric and what they say together."""

    emergence: Emergence
    reason: str
    curves: dict[str, ScalingCurve]


def compare_metrics(
    sizes: Sequence[float] | Float[np.ndarray, " k"],
    scores: Mapping[str, Float[np.ndarray, "k n"]],
    *,
    chance: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    draws: int = 200,
    seed: int = 0,
) -> MetricComparison:
    """Label of the same documents under several metrics, and whether an emergence is the metric's own.

    `robust`: emergent under a discontinuous metric (accuracy, exact match) and under the log-likelihood of the right
    answer. `metric-induced`: emergent under a discontinuous one, smooth or saturating under the log-likelihood (arXiv
    2304.15004). `none`: emergent under no discontinuous one, and every label is clear. Else `undetermined`. Brier and
    probability are shown but do not decide: among choices they stay at chance while the log-likelihood improves. Draws
    resample documents, the same ones for all models and metrics. Cost that of `classify_scaling_curve` for each metric.
    Does not show an emergence between sizes that were not measured, nor one over training.

    Args:
        sizes: Rising.
        scores: By metric, models by documents, as rows of `choice_metrics`.
        chance: By metric, see `chance_of`.
        alpha: As in `classify_scaling_curve`.
        draws: Bootstrap draws.
        seed: Of the private generator.
    """
    at = checked("sizes", sizes, (-1,))
    if len(at) and (at[0] <= 0 or (np.diff(at) <= 0).any()):
        raise ValueError("sizes must be above 0 and rise: sort the models by size, one each")
    if not scores:
        raise ValueError("no scores: give at least one metric, models by documents")
    tables = {name: checked(name, table, (len(at), -1)) for name, table in scores.items()}
    counts = {table.shape[1] for table in tables.values()}
    if len(counts) > 1 or min(counts) < 2:
        raise ValueError(f"metrics over {sorted(counts)} documents: give all the same documents, two or more")
    documents = counts.pop()
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(documents, np.full(documents, 1 / documents), draws) / documents
    floors = dict(chance or {})
    curves = {name: _curve(name, at, table, weights, floors.get(name), alpha) for name, table in tables.items()}
    emergence, reason = _together(curves)
    return MetricComparison(emergence, reason, curves)


def _curve(
    name: str,
    sizes: Float[np.ndarray, " k"],
    table: Float[np.ndarray, "k n"],
    weights: Float[np.ndarray, "b n"],
    floor: float | None,
    alpha: float,
) -> ScalingCurve:
    sign = -1.0 if name in LOWER_IS_BETTER else 1.0
    oriented = sign * table
    values = oriented.mean(axis=1)
    errors = oriented.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
    if not errors.any():
        return ScalingCurve("undetermined", "no model's score differs between documents", 0.0, {})
    # The models answer the same documents, so their errors go together; a comparison of two is surer than this.
    return settled(
        np.log(sizes), values, filled(errors), weights @ oriented.T, None if floor is None else sign * floor, alpha
    )


def _together(curves: Mapping[str, ScalingCurve]) -> tuple[Emergence, str]:
    labels = {name: curve.label for name, curve in curves.items()}
    emergent = [name for name in DISCONTINUOUS if labels.get(name) == "emergent"]
    said = ", ".join(f"{name} {labels[name]}" for name in (*DISCONTINUOUS, *CONTINUOUS) if name in labels)
    if not emergent:
        clear = "undetermined" not in labels.values()
        return ("none" if clear else "undetermined"), said
    under = labels.get("log_likelihood")
    if under == "emergent":
        return "robust", said
    return ("metric-induced" if under in GRADUAL else "undetermined"), said
