"""Standard errors of geometry are what they claim: against leaving documents out, and against repeated texts."""

from collections import defaultdict

import numpy as np
import pytest
import torch

from lm_probe.model_adapters import Site
from lm_probe.probes import Batch, GeometryState, Sampled
from lm_probe.probes._clustered import Proxies, clustered_error
from lm_probe.probes._half_samples import half_samples
from lm_probe.probes._jackknife import jackknife
from lm_probe.probes._spectral_values import closest_squares, spectral_measures, spectral_values


@pytest.mark.parametrize("groups", [4, 8, 12, 20])
def test_halves_of_a_linear_statistic_are_the_jackknife(groups: int) -> None:
    values = torch.randn(groups, 1, generator=torch.Generator().manual_seed(0)).double()
    halves = half_samples(torch.ones(groups).double())
    members = halves.members
    assert torch.equal(members[1:].sum(1), torch.full((2 * groups - 2,), groups / 2).double())
    (found,) = halves.estimates(members @ values / members.sum(1, keepdim=True))
    (expected,) = jackknife(lambda n, s: s / n, [torch.ones(groups), values])
    assert found.value == pytest.approx(float(values.mean()), abs=1e-12)
    assert found.stderr == pytest.approx(expected.stderr, rel=1e-9)


def test_groups_that_are_empty_or_no_power_of_two_are_dealt_with() -> None:
    halves = half_samples(torch.tensor([5.0, 0.0, 3.0, 2.0, 4.0, 1.0]).double())
    used, first = halves.members[0], halves.members[1:4]
    assert used.tolist() == [1, 0, 1, 1, 1, 1] and halves.sizes[0] == 15
    assert torch.equal(first + halves.members[4:], used.expand(3, -1))
    assert torch.equal(first[:, 0], first[:, 5])  # the fifth group goes with the first
    assert len(halves.members.unique(dim=0)) == 7
    (few,) = half_samples(torch.tensor([4.0, 0.0, 1.0, 2.0]).double()).estimates(torch.tensor([[2.5]]))
    assert (few.value, few.stderr) == (2.5, None)


def test_halves_count_what_interacts_once_where_the_jackknife_counts_it_twice() -> None:
    """The mean cosine of vectors without a common direction: all its variance is between pairs of groups."""
    generator = torch.Generator().manual_seed(1)
    halves = half_samples(torch.ones(20).double())

    def pairs(n: torch.Tensor, own: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        return ((total.square().sum(-1) - own) / (n * (n - 1)))[..., None]

    values, squares = [], {"halves": [], "jackknife": []}
    for _ in range(300):
        sums = torch.randn(20, 30, generator=generator).double()
        own, members = sums.square().sum(1), halves.members
        (found,) = halves.estimates(pairs(members.sum(1), members @ own, members @ sums))
        (other,) = jackknife(pairs, [torch.ones(20), own, sums])
        values.append(found.value)
        squares["halves"].append(found.stderr**2)
        squares["jackknife"].append(other.stderr**2)
    assert np.mean(squares["halves"]) / np.var(values) == pytest.approx(1, abs=0.2)
    assert np.mean(squares["jackknife"]) / np.var(values) > 1.6


def test_a_bias_of_unequal_halves_is_no_error() -> None:
    sizes = torch.arange(1.0, 21.0).double()
    halves = half_samples(sizes)
    (found,) = halves.estimates(3 - 1 / halves.sizes[:, None])
    assert found.stderr == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("sample_rows", [400, 1200])
def test_errors_are_the_spread_over_texts(sample_rows: int) -> None:
    """The whole probe, with all vectors in its sample or a third: documents of 20 dependent tokens in 16 dimensions."""
    generator = torch.Generator().manual_seed(5)
    scale = 0.8 ** torch.arange(16)
    mean = 0.3 * torch.randn(16, generator=generator)
    mean[3] = 1.5
    kinds = torch.randn(50, 16, generator=generator) * scale
    values, squares = defaultdict(list), defaultdict(list)
    for _ in range(60):
        ids = (50 ** torch.rand(60, 20, generator=generator)).long() - 1
        states = mean + kinds[ids] + (0.6 * torch.randn(60, 1, 16, generator=generator)) * scale
        states += 0.7 * torch.randn(60, 20, 16, generator=generator) * scale
        counts = torch.arange(50, 0, -1)
        state = GeometryState(Sampled(60, "cpu", False, counts), sample_rows)
        state.see_hidden(Site(1, "block"), states, Batch(ids, None, torch.arange(60), None))
        for reading in state.result():
            if reading.stderr is not None:
                values[reading.metric].append(reading.value)
                squares[reading.metric].append(reading.stderr**2)
    ratios = {
        name: np.sqrt(np.mean(squares[name])) / np.std(found) for name, found in values.items() if len(found) > 45
    }
    assert len(ratios) > 25
    assert all(0.65 < ratio < 1.5 for ratio in ratios.values()), ratios


@pytest.mark.parametrize("name", list(spectral_measures(0.3)))
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    values = np.sort(np.random.default_rng(0).gamma(1.0, size=40))[::-1].copy() + 1e-3
    measure = spectral_measures(0.3)[name]
    for i in (0, 1, 7, 15, 39):
        step = np.zeros(40)
        step[i] = 1e-5 * values[i]
        slope = (measure.value(values + step) - measure.value(values - step)) / (2 * step[i])
        assert measure.gradient(values)[i] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def _documents(generator: torch.Generator, documents: int = 20, length: int = 60, d: int = 8) -> torch.Tensor:
    """Documents that differ in how widely their vectors spread, so that tokens of one are dependent."""
    spread = torch.exp(0.25 * torch.randn(documents, 1, d, generator=generator)) * 0.6 ** torch.arange(d)
    return (spread * torch.randn(documents, length, d, generator=generator)).double()


def _spectrum_with_errors(vectors: torch.Tensor, sampled: torch.Tensor):
    flat, groups = vectors.flatten(0, 1), torch.arange(len(vectors)).repeat_interleave(vectors.shape[1])
    centred = flat - flat.mean(0)
    covariance = centred.T @ centred / len(flat)
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    sizes = torch.full((len(vectors), 1), float(vectors.shape[1])).double()
    squares = centred.view(vectors.shape).square().sum(1)
    spectrum, axes = eigenvalues.flip(0).numpy(), eigenvectors.flip(1)
    alike = torch.zeros(len(sampled), dtype=torch.int64)
    return spectral_values(covariance, spectrum, axes, 0.1, centred[sampled], groups[sampled], alike, sizes, squares)


def test_spectral_errors_are_close_to_leaving_documents_out() -> None:
    vectors = _documents(torch.Generator().manual_seed(0))
    everything = torch.arange(1200)
    found = _spectrum_with_errors(vectors, everything)
    without = [_spectrum_with_errors(vectors[torch.arange(20) != g], everything[:1140]) for g in range(20)]
    for name, estimate in found.items():
        left_out = np.array([one[name].value for one in without])
        jackknifed = np.sqrt(19 / 20 * np.square(left_out - left_out.mean()).sum())
        assert estimate.stderr == pytest.approx(jackknifed, rel=0.15), name


def test_spectral_errors_from_a_part_of_the_vectors_are_about_the_spread_over_texts() -> None:
    generator = torch.Generator().manual_seed(1)
    values, errors = [], []
    for _ in range(60):
        part = torch.randperm(1200, generator=generator)[:300].sort().values
        found = _spectrum_with_errors(_documents(generator), part)
        values.append([each.value for each in found.values()])
        errors.append([each.stderr for each in found.values()])
    ratio = np.sqrt(np.mean(np.square(errors), 0)) / np.std(values, 0)
    assert bool((ratio > 0.6).all() and (ratio < 1.6).all()), dict(zip(found, ratio, strict=True))


def test_the_proxy_is_what_a_regression_on_the_squares_finds() -> None:
    generator = torch.Generator().manual_seed(2)
    d, n = 4, 400_000
    turn = torch.randn(d, d, generator=generator).double()
    vectors = torch.randn(n, d, generator=generator).double() @ turn
    forms = torch.randn(2, d, d, generator=generator).double()
    forms = forms + forms.mT
    covariance = turn.T @ turn
    products = torch.stack([(covariance @ form @ covariance).diagonal() for form in forms], 1)
    found = closest_squares(covariance.clone(), products)
    squares, values = vectors.square(), torch.einsum("nj,kji,ni->nk", vectors, forms, vectors)
    expected = torch.linalg.lstsq(squares - squares.mean(0), values - values.mean(0)).solution
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))


def test_the_proxy_bears_dimensions_that_are_constant_or_the_same() -> None:
    vectors = torch.randn(500, 4, generator=torch.Generator().manual_seed(3)).double()
    vectors = torch.cat([vectors, vectors[:, :1], torch.zeros(500, 1).double()], 1)
    covariance = vectors.T @ vectors / 500
    own = torch.zeros(6, 6).double()
    own[1, 1] = 1.0  # a form that is one square
    products = (covariance @ own @ covariance).diagonal()[:, None]
    found = closest_squares(covariance.clone(), products)[:, 0]
    torch.testing.assert_close(found, own.diagonal(), rtol=1e-4, atol=1e-4)


def test_clustered_error_with_all_vectors_is_the_ordinary_one() -> None:
    influences = torch.randn(60, 1, generator=torch.Generator().manual_seed(2)).double()
    groups, alike = torch.arange(60) % 6, torch.zeros(60).long()
    influences += groups[:, None]
    totals = torch.stack([(influences[groups == g] - influences.mean()).sum() for g in range(6)])
    expected = float((6 / 5 * totals.square().sum()).sqrt()) / 60
    none = Proxies(torch.zeros(60, 1).double(), torch.zeros(6, 1).double())
    (found,) = clustered_error(influences, groups, alike, torch.full((6, 1), 10.0).double(), none)
    assert found == pytest.approx(expected, rel=1e-12)
    (alone,) = clustered_error(influences, alike, alike, torch.tensor([[60.0]]).double(), none)
    assert alone is None


@pytest.mark.parametrize("alikeness", [0.0, 0.5])
def test_clustered_error_of_a_part_is_that_of_everything(alikeness: float) -> None:
    """20 groups of 60, a quarter of the vectors known, and a proxy that is off by noise of its own."""
    generator = torch.Generator().manual_seed(3)
    groups, sizes = torch.arange(1200) % 20, torch.full((20, 1), 60.0).double()
    errors, means = [], []
    for _ in range(200):
        of_group = alikeness * torch.randn(20, 1, generator=generator).double()
        values = of_group[groups] + torch.randn(1200, 1, generator=generator).double()
        proxies = of_group[groups] + torch.randn(1200, 1, generator=generator).double()
        totals = torch.zeros(20, 1).double().index_add_(0, groups, proxies)
        known = torch.randperm(1200, generator=generator)[:300]
        alike = torch.zeros(300).long()
        (error,) = clustered_error(values[known], groups[known], alike, sizes, Proxies(proxies[known], totals))
        errors.append(error)
        means.append(float(values.mean()))
    assert np.sqrt(np.mean(np.square(errors))) / np.std(means) == pytest.approx(1, abs=0.15)


def test_a_stratum_of_known_size_is_not_taken_for_chance() -> None:
    """Every group has three vectors of 100 and 57 near 0: their number does not vary, whatever the sample holds."""
    generator = torch.Generator().manual_seed(4)
    strata, groups = (torch.arange(1200) // 20 < 3).long(), torch.arange(1200) % 20
    values = 100.0 * strata[:, None] + torch.randn(1200, 1, generator=generator).double()
    totals = torch.zeros(20, 1).double().index_add_(0, groups, values)
    sizes = torch.tensor([[57.0, 3.0]]).double().expand(20, 2)
    known = torch.randperm(1200, generator=generator)[:300]
    (error,) = clustered_error(values[known], groups[known], strata[known], sizes, Proxies(values[known], totals))
    assert error == pytest.approx(1200**-0.5, rel=0.4)
