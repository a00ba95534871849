"""Intervals of shares, paired shares and means."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lm_probe.reports._data import Score
from lm_probe.reports._intervals import Z, interval, normal, paired_share, share


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_share_is_wilsons(case: tuple[int, int]) -> None:
    right, n = case
    p = right / n
    expected = binomtest(right, n).proportion_ci(method="wilson")
    found = share(Score(p, sqrt(p * (1 - p) / max(n - 1, 1)), n))
    assert found is not None
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= p <= found.high <= 1 and found.high > found.low


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=2, max_size=300))
def test_the_paired_difference_is_agresti_and_mins(differences: list[int]) -> None:
    d = np.array(differences, dtype=float)
    n = len(d)
    b, c = (d > 0).sum() + 0.5, (d < 0).sum() + 0.5
    error = sqrt((b + c) - (b - c) ** 2 / (n + 2)) / (n + 2)
    found = paired_share(Score(d.mean(), d.std(ddof=1) / sqrt(n), n))
    assert found is not None and found.high > found.low
    middle = (b - c) / (n + 2)
    assert found == pytest.approx((middle - Z * error, middle + Z * error), abs=1e-9)


def test_questions_about_one_list_count_as_fewer() -> None:
    clustered = share(Score(0.5, 0.1147, 200))  # 20 lists, the answers within a list alike
    assert clustered == pytest.approx((0.29, 0.71), abs=0.02)
    assert share(Score(0.5, 0.03, 200)) == pytest.approx(share(Score(0.5, None, 200)), abs=1e-3)


def test_each_metric_has_the_interval_that_suits_it() -> None:
    score = Score(0.0, 0.0, 20)
    assert interval("acc", score) == interval("acc_binary", score) == interval("off_by_one", score) == share(score)
    assert interval("acc_gap", score) == paired_share(score)
    assert interval("mae", Score(2.0, 0.5, 20)) == pytest.approx((2 - Z / 2, 2 + Z / 2))
    assert interval("mae", Score(2.0, None, 20)) is None
    assert share(Score(0.5, 0.1, None)) == normal(Score(0.5, 0.1, None))


def test_what_has_no_interval_of_its_kind() -> None:
    assert share(Score(62.5, 1.0, 200)) == normal(Score(62.5, 1.0, 200))  # in per cent
    assert normal(Score(3.0, 0.0, 200)) is None  # all documents alike
    assert normal(Score(3.0, None, 200)) is None
