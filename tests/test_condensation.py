"""Groups of neurons: against brute force, against constructed matrices, and against chance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lm_probe.model_adapters import architecture_of
from lm_probe.probes import (
    CondensationProbe,
    Reading,
    VectorReading,
    WeightContext,
    abs_cosine_of_gaussians,
    effective_rank,
    likeness,
    share_above_of_gaussians,
    singular_values,
    stable_rank,
)
from lm_probe.probes import _condensation as condensation_module
from lm_probe.sweeps._in_memory import WeightsInMemory
from tests.conftest import make_model


def _cosines(matrix: np.ndarray) -> np.ndarray:
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit @ unit.T


def _groups(near) -> list[list[int]]:
    """The rule as it is told: take the first unplaced neuron, and with it every unplaced one near to it; repeat."""
    unplaced, groups = list(range(len(near))), []
    while unplaced:
        first = unplaced[0]
        group = [first] + [other for other in unplaced[1:] if near[first, other]]
        groups.append(group)
        unplaced = [item for item in unplaced if item not in group]
    return groups


@settings(max_examples=40)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12),
        elements=st.integers(-3, 3).map(float),
    ),
    st.sampled_from([0.31, 0.7, 0.93]),
)
def test_equals_brute_force(matrix: np.ndarray, threshold: float) -> None:
    kept = np.flatnonzero(matrix.any(1))
    if len(kept) < 2:
        with pytest.raises(ValueError, match="two rows that are not zero"):
            likeness(torch.from_numpy(matrix), threshold)
        return
    found = likeness(torch.from_numpy(matrix), threshold)
    cosines = _cosines(matrix[kept])
    pairs = cosines[np.triu_indices(len(kept), k=1)]
    if (np.abs(np.abs(pairs) - threshold) < 1e-9).any():
        return
    assert found.n == len(kept)
    assert found.mean_cosine == pytest.approx(pairs.mean(), abs=1e-12)
    assert found.mean_abs_cosine == pytest.approx(np.abs(pairs).mean(), abs=1e-12)
    assert found.share_above == pytest.approx((np.abs(pairs) > threshold).mean())
    groups = _groups(cosines > threshold)
    assert found.groups == len(groups)
    assert found.abs_groups == len(_groups(np.abs(cosines) > threshold))
    assert found.largest_group == max(map(len, groups)) / len(kept)
    assert found.order.tolist() == [kept[item] for group in groups for item in group]


def test_many_rows_are_compared_across_blocks() -> None:
    matrix = np.random.default_rng(0).normal(size=(1300, 3))
    found = likeness(torch.from_numpy(matrix))
    cosines = _cosines(matrix)
    assert found.mean_abs_cosine == pytest.approx(np.abs(cosines[np.triu_indices(1300, k=1)]).mean(), abs=1e-12)
    groups = _groups(cosines > 0.7)
    assert found.order.tolist() == [item for group in groups for item in group]


def test_constructed_matrices() -> None:
    one = torch.outer(torch.arange(1.0, 9), torch.arange(1.0, 6))
    assert likeness(one)[:6] == pytest.approx((1, 1, 1, 1, 1, 1))
    orthogonal = likeness(torch.eye(6))
    assert (orthogonal.groups, orthogonal.abs_groups, orthogonal.share_above) == (6, 6, 0)
    opposite = likeness(torch.cat([one, -one]))
    assert (opposite.groups, opposite.abs_groups, opposite.largest_group) == (2, 1, 0.5)
    assert opposite.mean_cosine == pytest.approx(-1 / 15) and opposite.mean_abs_cosine == pytest.approx(1)
    for threshold in (0.0, 1.0):
        with pytest.raises(ValueError, match="splits no cosines"):
            likeness(one, threshold)


def test_scale_and_rotation_change_nothing() -> None:
    generator = np.random.default_rng(4)
    matrix = generator.normal(size=(40, 5))
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    before = likeness(torch.from_numpy(matrix))
    after = likeness(torch.from_numpy(generator.uniform(0.1, 9, size=(40, 1)) * matrix @ rotation))
    assert after[:6] == pytest.approx(before[:6]) and (after.order == before.order).all()


def test_gaussian_cosines_are_in_closed_form() -> None:
    """Against 50,000 pairs, within five standard errors; and the figures of a published trial for 64 x 128."""
    generator = np.random.default_rng(7)
    for dimensions in (1, 2, 3, 8, 128):
        left, right = generator.normal(size=(2, 50_000, dimensions))
        cosines = np.abs((left * right).sum(1)) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
        mean, deviation = abs_cosine_of_gaussians(dimensions)
        assert cosines.mean() == pytest.approx(mean, abs=5 * max(deviation, 1e-9) / np.sqrt(len(cosines)) + 1e-12)
        assert cosines.std() == pytest.approx(deviation, rel=0.03, abs=1e-7)
        share = share_above_of_gaussians(dimensions, 0.3)
        error = np.sqrt(share * (1 - share) / len(cosines))
        assert (cosines > 0.3).mean() == pytest.approx(share, abs=5 * error + 1e-12)
    matrix = torch.from_numpy(generator.normal(size=(64, 128)))
    assert likeness(matrix).mean_abs_cosine == pytest.approx(0.0699, abs=0.003)
    assert stable_rank(singular_values(matrix)) == pytest.approx(22.6, abs=2.5)
    assert effective_rank(singular_values(matrix)) == pytest.approx(59.2, abs=0.7)


def test_the_score_against_chance_is_one() -> None:
    """z of Gaussian matrices has mean 0 and standard deviation 1, for the closed form and for the draws."""
    generator = np.random.default_rng(9)
    scores: dict[str, list[float]] = {}
    for _ in range(60):
        matrix = torch.from_numpy(0.02 * generator.normal(size=(24, 12)))
        for reading in condensation_module._one(matrix, None, "query", 1, None):
            if isinstance(reading, Reading) and reading.metric.endswith("_z"):
                scores.setdefault(reading.metric, []).append(reading.value)
    assert set(scores) == {"mean_abs_cosine_z", "stable_rank_z", "effective_rank_z"}
    for values in scores.values():
        # 32 draws place the mean within 0.18 and the deviation within 13 %.
        assert abs(np.mean(values)) < 0.8 and 0.6 < np.std(values) < 1.6


def test_the_probe_measures_all_rows_and_heads_apart() -> None:
    weights = WeightsInMemory(architecture_of(make_model("llama")))
    first = WeightsInMemory(architecture_of(make_model("llama", seed=1)))
    readings = list(CondensationProbe().read(weights, WeightContext(first=first)))
    vectors = {(r.metric, r.layer, r.component): r.values for r in readings if isinstance(r, VectorReading)}
    assert {(r.layer, r.component) for r in readings if not str(r.component).endswith("_per_head")} == {
        (0, "embedding"),
        *((layer, role) for layer in (1, 2, 3) for role in weights.roles),
    }
    query, key = weights.projection("query", 1), weights.projection("key", 1)  # layer 2
    assert (query.shape[0], key.shape[0], weights.head_size) == (16, 8, 4)
    heads = np.array([stable_rank(singular_values(head)) for head in key.split(4)])
    np.testing.assert_array_equal(vectors["stable_rank", 2, "key_per_head"], heads)
    means = [r for r in readings if isinstance(r, Reading) and (r.metric, r.layer) == ("stable_rank", 2)]
    assert {r.component: (r.value, r.n) for r in means}["key_per_head"] == (pytest.approx(heads.mean()), 2)
    assert {r.component for r in readings if str(r.component).endswith("_per_head")} == {
        "query_per_head",
        "key_per_head",
        "value_per_head",
    }
    alike, other = likeness(query), likeness(first.projection("query", 1))
    scalars = {(r.metric, r.layer, r.component): r.value for r in readings if isinstance(r, Reading)}
    assert scalars["mean_abs_cosine", 2, "query"] == alike.mean_abs_cosine
    ratio = scalars["mean_abs_cosine_over_first", 2, "query"]
    assert ratio == pytest.approx(alike.mean_abs_cosine / other.mean_abs_cosine)


def test_the_heat_map_is_the_cosines_in_sorted_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condensation_module, "MAX_NEURONS", 60)
    centres = np.random.default_rng(0).normal(size=(3, 8))
    member = np.arange(100) % 3
    matrix = centres[member] + 0.05 * np.random.default_rng(1).normal(size=(100, 8))
    readings = list(condensation_module._one(torch.from_numpy(matrix), None, "mlp_in", 1, None))
    vectors = {r.metric: r.values for r in readings if isinstance(r, VectorReading)}
    neurons = vectors["heat_map_neurons"].astype(int)
    assert len(neurons) == len(set(neurons)) == 48
    expected = _cosines(matrix[neurons])[np.triu_indices(48, k=1)]
    np.testing.assert_allclose(vectors["heat_map_cosines"], expected, atol=1e-12)
    assert (np.diff(member[neurons]) != 0).sum() == 2  # three blocks
    scalars = {r.metric: r for r in readings if isinstance(r, Reading)}
    assert scalars["groups"].value == 3 and scalars["groups"].n == 60 and scalars["stable_rank"].n == 100


def test_a_first_checkpoint_without_directions_is_not_compared_with() -> None:
    weight = torch.randn(12, 5, generator=torch.Generator().manual_seed(2))
    first = torch.zeros(12, 5)
    first[3] = 1.0

    def metrics(first: torch.Tensor | None) -> list[str]:
        return [reading.metric for reading in condensation_module._one(weight, first, "query", 1, None)]

    assert metrics(first) == metrics(None)
    assert "mean_abs_cosine_over_first" in metrics(weight)
    assert not list(condensation_module._one(first, weight, "query", 1, None))


def test_rows_that_are_not_among_those_compared_do_not_count() -> None:
    weight = torch.zeros(9000, 3)
    weight[[1, 4]] = 1.0
    assert not list(condensation_module._one(weight, None, "embedding", 0, None))
