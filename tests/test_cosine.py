"""Mean cosine against the brute-force mean over all pairs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lm_probe.probes import MeanCosine, mean_cosine
from lm_probe.probes._half_samples import half_samples


def brute_force(vectors: torch.Tensor) -> float:
    rows = vectors.double()
    unit = rows / rows.norm(dim=1, keepdim=True)
    n = len(rows)
    return float(((unit @ unit.T).sum() - (unit @ unit.T).diagonal().sum()) / (n * (n - 1)))


def _outliers(vectors: torch.Tensor) -> torch.Tensor:
    vectors = vectors.clone()
    vectors[:, 3] += 3000.0
    return vectors


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "change",
    [torch.clone, _outliers, lambda v: v * 1e-4, lambda v: v + 5],
    ids=["plain", "outliers", "small", "shifted"],
)
@pytest.mark.parametrize("shape", [(2, 8), (300, 64), (5000, 16)])
def test_equals_the_mean_over_all_pairs(change, dtype, shape) -> None:
    vectors = change(torch.randn(shape, generator=torch.Generator().manual_seed(1))).to(dtype)
    assert abs(mean_cosine(vectors) - brute_force(vectors)) < 1e-12


def test_copies_of_one_vector_give_one() -> None:
    assert mean_cosine(torch.ones(50, 7)) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("d", [1, 3, 20])
def test_plus_and_minus_the_axes_give_minus_one_over_n_minus_one(d: int) -> None:
    axes = torch.cat([torch.eye(d), -torch.eye(d)])
    assert mean_cosine(axes) == pytest.approx(-1 / (2 * d - 1), abs=1e-15)


_matrices = hnp.arrays(
    np.float64,
    st.tuples(st.integers(4, 40), st.integers(1, 12)),
    elements=st.floats(-1e3, 1e3).map(lambda x: x if abs(x) > 1e-3 else 1.0),
)


@settings(deadline=None)
@given(_matrices, st.floats(1e-6, 1e6), st.integers(1, 3))
def test_merging_parts_scaling_and_order_change_nothing(array: np.ndarray, scale: float, cut: int) -> None:
    vectors = torch.from_numpy(array)
    whole = mean_cosine(vectors)
    first, second = MeanCosine(), MeanCosine()
    first.update(vectors[:cut])
    second.update(vectors[cut:])
    first.merge(second)
    assert first.result().value == pytest.approx(whole, abs=1e-12)
    assert mean_cosine(vectors.flip(0) * scale) == pytest.approx(whole, abs=1e-12)
    assert -1 / (len(vectors) - 1) - 1e-12 <= whole <= 1 + 1e-12


def test_masked_vectors_never_count_not_even_when_they_are_nan() -> None:
    vectors = torch.randn(4, 6, 5)
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[1, 4:] = False
    mask[3, 2:] = False
    kept = vectors[mask]
    vectors[~mask] = float("nan")
    statistic = MeanCosine()
    statistic.update(vectors, mask)
    found = statistic.result()
    assert found.value == pytest.approx(brute_force(kept), abs=1e-12)
    assert found.n == len(kept)


def test_zero_vectors_are_left_out_and_counted() -> None:
    vectors = torch.randn(10, 4)
    statistic = MeanCosine()
    statistic.update(torch.cat([vectors, torch.zeros(3, 4)]))
    found = statistic.result()
    assert (found.n, found.zeros) == (10, 3)
    assert found.value == pytest.approx(brute_force(vectors), abs=1e-12)


def test_nan_is_never_dropped() -> None:
    vectors = torch.randn(10, 4)
    vectors[3, 1] = float("nan")
    assert np.isnan(mean_cosine(vectors))


def test_one_vector_has_no_mean_cosine() -> None:
    with pytest.raises(ValueError, match="needs two vectors"):
        mean_cosine(torch.ones(1, 4))


def test_the_error_is_that_of_brute_force_on_halves_of_the_documents() -> None:
    vectors = torch.randn(60, 5, dtype=torch.float64) + 0.3
    group = torch.arange(60) % 4
    statistic = MeanCosine(groups=4)
    statistic.update(vectors[:25], group=group[:25])
    statistic.update(vectors[25:], group=group[25:])
    halves = half_samples(torch.full((4,), 15.0).double())
    values = [[brute_force(vectors[members[group] > 0])] for members in halves.members]
    (expected,) = halves.estimates(torch.tensor(values, dtype=torch.float64))
    assert statistic.result().stderr == pytest.approx(expected.stderr, rel=1e-9)
    assert statistic.result().value == pytest.approx(brute_force(vectors), abs=1e-12)


@pytest.mark.parametrize("mean", [0.5, 0.0])
def test_the_error_is_about_the_spread_over_samples(mean: float) -> None:
    """Tokens of a document share a direction; without a common mean a jackknife's error is 1.4 times too large."""
    generator = torch.Generator().manual_seed(3)
    values, squares = [], []
    for _ in range(200):
        shared = torch.randn(20, 1, 6, generator=generator) + mean
        vectors = shared + 0.3 * torch.randn(20, 15, 6, generator=generator)
        statistic = MeanCosine(groups=20)
        statistic.update(vectors, group=torch.arange(20)[:, None].expand(20, 15))
        found = statistic.result()
        values.append(found.value)
        squares.append(found.stderr**2)
    assert 0.8 < np.sqrt(np.mean(squares)) / np.std(values) < 1.2


def test_groups_that_differ_do_not_merge() -> None:
    with pytest.raises(ValueError, match="2 groups with 3"):
        MeanCosine(2).merge(MeanCosine(3))
