"""P values of several tests that are read together."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that the chance of even one false finding among all is at most the level (Holm 1979).

    Holds whatever the dependence of the tests.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(one) for one in adjusted]


def false_discovery(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that at most that share of the findings is false on average (Benjamini and Hochberg 1995).

    Holds for independent tests and for those that go together; for long lists in which several findings are expected.
    """
    return within_findings(p_values, p_values)


def within_findings(p_values: Sequence[float], others: Sequence[float]) -> list[float]:
    """`others` adjusted by the threshold that `false_discovery` sets for `p_values`.

    Where each of `p_values` selects a family, and the members of selected families are tested at this threshold, the
    average rate of error over the selected families stays at most the level (Benjamini and Bogomolov 2014).
    """
    rank = np.arange(1, len(p_values) + 1)
    raised = np.sort(np.asarray(p_values, dtype=float)) * len(p_values) / rank
    adjusted = np.minimum.accumulate(raised[::-1])[::-1]
    # The level at which i are selected is at least adjusted[i - 1], and the threshold is then i / m of it.
    return [float(min(1.0, np.maximum(adjusted, one * len(p_values) / rank).min())) for one in others]
