"""The metrics of each kind of task: their names, how documents are put together, and which way is better.

`_binary` is the same of the control; `_gap` is the paired difference, positive where the full list is harder.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Metric(NamedTuple):
    """A metric as a task's YAML declares it."""

    name: str
    higher_is_better: bool | None  # None where neither is
    aggregation: str = "mean"  # the one whose standard error lm-eval has in closed form; else a function of this file


def slope(pairs: Sequence[tuple[float, float]]) -> float:
    r"""Least-squares slope of the answers on the right answers, $\mathrm{cov}(a, c) / \mathrm{var}(c)$.

    1 for a model that counts, 0 for a constant answer; blind to a shift (see `bias`). NaN where all right answers are
    equal. It says how answers follow the count, not how exact they are.
    """
    answers, truths = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    mean_answer, mean_truth = sum(answers) / len(pairs), sum(truths) / len(pairs)
    spread = sum((truth - mean_truth) ** 2 for truth in truths)
    joint = sum((answer - mean_answer) * (truth - mean_truth) for answer, truth in zip(answers, truths, strict=True))
    return joint / spread if spread else math.nan


def mean_of_parsed(values: Sequence[float | None]) -> float:
    """Mean over the documents whose answer could be read; NaN where none could."""
    read = [value for value in values if value is not None]
    return sum(read) / len(read) if read else math.nan


def _both(name: str, better: bool | None, aggregation: str = "mean") -> list[Metric]:
    return [Metric(name, better, aggregation), Metric(f"{name}_binary", better, aggregation)]


def _paired(name: str, better: bool) -> list[Metric]:
    return [*_both(name, better), Metric(f"{name}_gap", False)]


# What is no model's score is neither better where it is high nor where it is low.
COUNT_FLOORS = [
    Metric("floor_chance_acc", None),
    *_both("floor_constant_acc", None),
    Metric("floor_chance_mae", None),
    *_both("floor_constant_mae", None),
    *_both("floor_constant_mae_relative", None),
]
WORD_FLOORS = [
    Metric("floor_chance_acc", None),
    Metric("floor_constant_acc", None),
    *_both("floor_last_word_acc", None),
]

COUNTS = [
    *_paired("acc", True),
    *_both("off_by_one", True),
    *_paired("mae", False),
    *_paired("mae_relative", False),
    *_both("bias", None),
    *_both("slope", None, "slope"),
    *_both("expected_mae", False),
    *_both("rank", False),
    *_both("round_share", None),
    *COUNT_FLOORS,
]
WORDS = [*_paired("acc", True), *_both("acc_ties", True), *_both("regret", False), *_both("rank", False), *WORD_FLOORS]

_GENERATED = [
    *_paired("acc", True),
    *_both("acc_strict", True),
    *_both("acc_first", True),
    *_both("acc_last", True),
    *_both("parse_failure", False),
    *_both("truncated", False),
    *_both("refused", False),
]
GENERATED_COUNTS = [
    *_GENERATED,
    *_both("off_by_one", True),
    *_paired("mae_imputed", False),
    *_both("mae_parsed", False, "mean_of_parsed"),
    *_both("bias", None, "mean_of_parsed"),
    *_both("round_share", None, "mean_of_parsed"),
    *COUNT_FLOORS,
]
GENERATED_WORDS = [*_GENERATED, *_both("acc_ties", True), *WORD_FLOORS]
