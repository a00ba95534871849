"""The pure measures of geometry against brute force, published algorithms and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.covariance import ledoit_wolf_shrinkage

from lm_probe.probes import (
    cosine_contributions,
    effective_rank,
    intra_sentence_similarity,
    isoscore,
    isoscore_star,
    linear_cka,
    log_partition_isotropy,
    max_over_median,
    mean_cosine,
    mean_cosine_centred,
    mean_cosine_standardised,
    mean_cosine_without,
    mean_vector_share,
    participation_ratio,
    partition_isotropy,
    rogue_share,
    self_similarity,
    shrinkage_weight,
    spectral_exponent,
    two_nn_dimension,
)

matrices = hnp.arrays(
    np.float64,
    st.tuples(st.integers(5, 30), st.integers(2, 10)),
    elements=st.floats(-100, 100).map(lambda x: round(x, 3)),
).map(torch.from_numpy)


def random_vectors(n: int = 200, d: int = 12, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0.3, 3, d)
    return (torch.randn(n, d, generator=generator) * scales + torch.linspace(-1, 1, d)).double()


def rotation(d: int, seed: int = 1) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)).double()).Q


def all_pairs(vectors: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rows = [row for row in vectors.double() if row.norm() > 0]
    return [(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]


def cosine_by_pairs(vectors: torch.Tensor) -> float:
    pairs = all_pairs(vectors)
    return float(sum(x @ y / (x.norm() * y.norm()) for x, y in pairs)) / len(pairs)


@given(matrices)
def test_contributions_are_the_mean_over_pairs_and_sum_to_the_cosine(vectors: torch.Tensor) -> None:
    pairs = all_pairs(vectors)
    assume(len(pairs) > 1)
    expected = sum(x * y / (x.norm() * y.norm()) for x, y in pairs) / len(pairs)
    found = cosine_contributions(vectors)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert float(found.sum()) == pytest.approx(mean_cosine(vectors), abs=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 70.0])
def test_cosines_of_changed_vectors(scale: float) -> None:
    vectors = random_vectors(40)
    centred = vectors - vectors.mean(0)
    scores = centred / vectors.std(0, correction=0)
    assert mean_cosine_centred(vectors * scale) == pytest.approx(cosine_by_pairs(centred), abs=1e-12)
    assert mean_cosine_standardised(vectors * scale) == pytest.approx(cosine_by_pairs(scores), abs=1e-12)
    top = cosine_contributions(vectors).argsort(descending=True)
    for k in (1, 3):
        expected = cosine_by_pairs(vectors[:, sorted(top[k:].tolist())])
        assert mean_cosine_without(vectors * scale, k) == pytest.approx(expected, abs=1e-12)
    # Centring does not see a shift, standardising no scale of a dimension either.
    assert mean_cosine_centred(vectors + 9) == pytest.approx(mean_cosine_centred(vectors), abs=1e-9)
    assert mean_cosine_centred(vectors @ rotation(12)) == pytest.approx(mean_cosine_centred(vectors), abs=1e-9)
    stretched = vectors * torch.linspace(0.1, 50, 12) + 3
    assert mean_cosine_standardised(stretched) == pytest.approx(mean_cosine_standardised(vectors), abs=1e-9)


def test_a_rogue_dimension_is_found_and_its_absence_shows() -> None:
    vectors = torch.randn(500, 30, generator=torch.Generator().manual_seed(2))
    vectors[:, 7] += 40
    contributions = cosine_contributions(vectors)
    assert int(contributions.argmax()) == 7
    assert rogue_share(contributions, 1) == pytest.approx(1, abs=0.01)
    assert mean_cosine(vectors) > 0.95
    assert abs(mean_cosine_without(vectors, 1)) < 0.01
    assert abs(mean_cosine_standardised(vectors)) < 0.01
    with pytest.raises(ValueError, match="positive mean cosine"):
        rogue_share(cosine_contributions(torch.cat([torch.eye(3), -torch.eye(3)])), 1)


def test_a_dimension_that_never_varies_has_no_score() -> None:
    vectors = random_vectors(30, 5)
    vectors[:, 2] = 4.0
    others = vectors[:, [0, 1, 3, 4]]
    assert mean_cosine_standardised(vectors) == pytest.approx(mean_cosine_standardised(others), abs=1e-12)


def test_similarities_within_windows_and_types() -> None:
    vectors = random_vectors(24, 6)
    windows = vectors.reshape(4, 6, 6)
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[1, 4:] = False
    per_window = []
    for window, keep in zip(windows, mask, strict=True):
        mean = window[keep].mean(0)
        per_window.append(np.mean([float(x @ mean / (x.norm() * mean.norm())) for x in window[keep]]))
    assert intra_sentence_similarity(windows, mask) == pytest.approx(np.mean(per_window), abs=1e-12)
    adjusted = intra_sentence_similarity(windows, mask, adjusted=True)
    assert adjusted == pytest.approx(np.mean(per_window) - cosine_by_pairs(windows[mask]), abs=1e-12)

    types = torch.arange(24) % 5
    types[0] = 99  # occurs once
    per_type = [cosine_by_pairs(vectors[types == kind]) for kind in range(5)]
    assert self_similarity(vectors, types) == pytest.approx(np.mean(per_type), abs=1e-12)
    adjusted = self_similarity(vectors, types, adjusted=True)
    assert adjusted == pytest.approx(np.mean(per_type) - cosine_by_pairs(vectors), abs=1e-12)
    with pytest.raises(ValueError, match="twice"):
        self_similarity(vectors, torch.arange(24))


@given(matrices, st.floats(1e-3, 1e3))
def test_mean_vector_share(vectors: torch.Tensor, scale: float) -> None:
    assume(bool((vectors != 0).any()))
    expected = float(vectors.mean(0).norm() ** 2 / vectors.norm(dim=1).square().mean())
    assert mean_vector_share(vectors * scale) == pytest.approx(expected, rel=1e-9)
    assert -1e-12 <= expected <= 1 + 1e-12


def published_isoscore(variances: np.ndarray) -> float:
    """Algorithm 1 of the source, step by step."""
    n = len(variances)
    normalised = variances * np.sqrt(n) / np.linalg.norm(variances)
    defect = np.linalg.norm(normalised - 1) / np.sqrt(2 * (n - np.sqrt(n)))
    return float(((n - defect**2 * (n - np.sqrt(n))) ** 2 - n) / (n * (n - 1)))


eigenvalues = hnp.arrays(np.float64, st.integers(2, 50), elements=st.floats(0, 1e4)).filter(lambda v: v.max() > 1e-3)


@given(eigenvalues, st.floats(1e-3, 1e3))
def test_isoscore_is_the_published_algorithm_and_a_participation_ratio(values: np.ndarray, scale: float) -> None:
    d = len(values)
    assert isoscore(values * scale) == pytest.approx(published_isoscore(values), abs=1e-9)
    ratio = participation_ratio(values)
    assert ratio == pytest.approx(values.sum() ** 2 / (values**2).sum())
    assert 1 - 1e-9 <= ratio <= d + 1e-9
    assert -1e-9 <= isoscore(values) <= 1 + 1e-9


def test_isoscore_star_mixes_covariances() -> None:
    covariance, reference = torch.cov(random_vectors(30, 6).T), torch.cov(random_vectors(900, 6, seed=4).T)
    assert isoscore_star(covariance, reference, 0.0) == pytest.approx(isoscore(torch.linalg.eigvalsh(covariance)))
    assert isoscore_star(covariance, reference, 1.0) == pytest.approx(isoscore(torch.linalg.eigvalsh(reference)))
    mixed = torch.linalg.eigvalsh(0.7 * covariance + 0.3 * reference)
    assert isoscore_star(covariance, reference, 0.3) == pytest.approx(published_isoscore(mixed.numpy()))
    with pytest.raises(ValueError, match="from 0 to 1"):
        isoscore_star(covariance, reference, 1.5)


@pytest.mark.parametrize("n", [8, 60, 900])
def test_shrinkage_weight_is_that_of_ledoit_and_wolf(n: int) -> None:
    vectors = random_vectors(n, 10)
    centred = vectors - vectors.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred / n).clamp_min(0)
    fourth = float(centred.square().sum(1).square().mean())
    assert shrinkage_weight(values, fourth, n) == pytest.approx(ledoit_wolf_shrinkage(vectors.numpy()), rel=1e-9)


def test_partition_isotropy_is_the_ratio_of_sums_of_exponentials() -> None:
    vectors = 0.3 * random_vectors(50, 6)
    directions = torch.linalg.eigh(vectors.T @ vectors).eigenvectors
    sums = [float((sign * vectors @ directions[:, k]).exp().sum()) for k in range(6) for sign in (1, -1)]
    assert partition_isotropy(vectors) == pytest.approx(min(sums) / max(sums), rel=1e-10)
    assert log_partition_isotropy(vectors @ rotation(6)) == pytest.approx(log_partition_isotropy(vectors), abs=1e-9)
    far = log_partition_isotropy(1e4 * vectors)
    assert math.isfinite(far) and far < -1e3
    assert partition_isotropy(torch.cat([torch.eye(5), -torch.eye(5)])) == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("d", [16, 100, 768])
def test_spectral_exponent_of_a_power_law_is_its_exponent(alpha: float, d: int) -> None:
    values = 5.0 * np.arange(1, d + 1) ** -alpha
    assert spectral_exponent(values) == pytest.approx(alpha, abs=1e-9)
    assert spectral_exponent(1e-6 * values) == pytest.approx(alpha, abs=1e-9)


def test_spectral_exponent_is_a_weighted_fit_of_logarithms() -> None:
    for d, ranks in ((100, np.arange(11, 51)), (40, np.arange(6, 21))):
        values = np.sort(np.random.default_rng(d).lognormal(sigma=2, size=d))[::-1].copy()
        slope = np.polyfit(np.log(ranks), np.log(values[ranks - 1]), 1, w=ranks**-0.5)[0]
        assert spectral_exponent(values) == pytest.approx(-slope, rel=1e-12)


def test_spectral_exponent_needs_a_middle() -> None:
    with pytest.raises(ValueError, match="found 2"):
        spectral_exponent(np.array([4.0, 3.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="found 0"):
        spectral_exponent(np.r_[1.0, np.zeros(63)])


def brute_two_nn(vectors: torch.Tensor) -> float:
    points = torch.unique(vectors, dim=0)
    logs = []
    for i, point in enumerate(points):
        distances = sorted(float((point - other).norm()) for j, other in enumerate(points) if j != i)
        logs.append(math.log(distances[1] / distances[0]))
    return len(points) / sum(logs)


def test_two_nn_is_brute_force_and_takes_equal_vectors_once() -> None:
    vectors = random_vectors(60, 5)
    twice = torch.cat([vectors, vectors[:20]])
    assert two_nn_dimension(twice) == pytest.approx(brute_two_nn(vectors), rel=1e-9)
    moved = 3.5 * twice @ rotation(5) + 7
    assert two_nn_dimension(moved[:60]) == pytest.approx(two_nn_dimension(vectors), rel=1e-6)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        low = twice.to(dtype)
        assert two_nn_dimension(low) == pytest.approx(brute_two_nn(low.double()), rel=1e-6)
    with pytest.raises(ValueError, match="found 1"):
        two_nn_dimension(torch.ones(9, 4))


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_two_nn_of_a_flat_cloud_is_its_dimension(dimension: int) -> None:
    generator = torch.Generator().manual_seed(3)
    cloud = torch.rand(1500, dimension, generator=generator).double() @ rotation(40)[:dimension]
    assert two_nn_dimension(cloud) == pytest.approx(dimension, rel=0.1)


def test_max_over_median() -> None:
    assert math.isnan(max_over_median(torch.tensor([1.0, math.nan, 2.0]), largest=3.0))
    with pytest.raises(ValueError, match="no magnitudes"):
        max_over_median(torch.empty(0))
    assert max_over_median(torch.tensor([1.0, 2.0, 2.0, 50.0, 3.0])) == 25
    assert max_over_median(torch.tensor([1.0, 2.0, 3.0]), largest=8.0) == 4
    with pytest.raises(ValueError, match="median"):
        max_over_median(torch.zeros(4))


def test_plain_cka_is_the_published_formula_and_both_are_invariant() -> None:
    x, y = random_vectors(50, 8), random_vectors(50, 8).square()[:, :5]
    xc, yc = x - x.mean(0), y - y.mean(0)
    expected = float((yc.T @ xc).norm() ** 2 / ((xc.T @ xc).norm() * (yc.T @ yc).norm()))
    assert linear_cka(x, y, debiased=False) == pytest.approx(expected, rel=1e-12)
    for debiased in (True, False):
        value = linear_cka(x, y, debiased=debiased)
        assert linear_cka(x @ rotation(8) * 3 + 2, y, debiased=debiased) == pytest.approx(value, abs=1e-10)
        assert linear_cka(y, x, debiased=debiased) == pytest.approx(value, abs=1e-12)
        assert linear_cka(x, -2 * x, debiased=debiased) == pytest.approx(1)


def test_debiased_cka_is_the_mean_over_quadruples() -> None:
    """The unbiased HSIC is a U-statistic: on 6 points it can be summed over all quadruples of different points."""
    from itertools import permutations

    x, y = random_vectors(6, 3), random_vectors(6, 4, seed=8)

    def hsic(first: torch.Tensor, second: torch.Tensor) -> float:
        k, m = first @ first.T, second @ second.T
        terms = [k[a, b] * (m[a, b] + m[c, d] - 2 * m[a, c]) for a, b, c, d in permutations(range(6), 4)]
        return float(sum(terms)) / len(terms)

    expected = hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y))
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-9)


def test_debiased_cka_of_unrelated_vectors_is_near_zero_where_plain_cka_is_not() -> None:
    generator = torch.Generator().manual_seed(5)
    pairs = [(torch.randn(60, 200, generator=generator), torch.randn(60, 200, generator=generator)) for _ in range(10)]
    assert abs(np.mean([linear_cka(x, y) for x, y in pairs])) < 0.03
    assert np.mean([linear_cka(x, y, debiased=False) for x, y in pairs]) > 0.7


def test_effective_rank_of_eigenvalues_is_that_of_power_two() -> None:
    values = np.array([4.0, 2.0, 1.0, 1.0])
    p = values / values.sum()
    assert effective_rank(values) == pytest.approx(math.exp(-(p * np.log(p)).sum()))
