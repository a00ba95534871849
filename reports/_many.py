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
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.minimum.accumulate(raised[::-1])[::-1])
    return [float(one) for one in adjusted]
