"""The scaling law: published predictions, refits, recovery of truth, refusals; Kaplan's forms."""

import numpy as np
import pytest
from scipy.optimize import minimize

from lm_probe.reports import (
    GODEY_2024,
    HOFFMANN_DATA_TERM,
    KAPLAN_PARAMETERS,
    KAPLAN_TOKENS,
    ScalingLaw,
    fit_power_law,
    fit_scaling_law,
    kaplan_loss,
)

# Pythia 14M to 12B, both embeddings counted; tokens are steps of 2,097,152.
SIZES = np.array([
    14_067_712, 30_494_720, 70_426_624, 162_322_944, 405_334_016, 1_011_781_632, 1_414_647_808, 2_775_208_960,
    6_857_302_016, 11_846_072_320,
], dtype=float)  # fmt: skip
STEP = 2_097_152.0
DIGITISED = [2.837, 2.677, 2.603, 2.484, 2.396, 2.332]
TRUTH = ScalingLaw(E=1.8172, A=482.01, alpha=0.3478, B=2085.43, beta=0.3658)


def budgets() -> tuple[np.ndarray, np.ndarray]:
    """108 models: twelve sizes at each of nine amounts of compute."""
    points = [
        (factor * TRUTH.optimal(compute)[0], TRUTH.optimal(compute)[1] / factor)
        for compute in np.geomspace(6e18, 3e21, 9)
        for factor in np.geomspace(0.1, 10, 12)
    ]
    sizes, tokens = np.array(points).T
    return sizes, tokens


def constants(law: ScalingLaw) -> list[float]:
    return [law.E, law.A, law.alpha, law.B, law.beta]


def test_the_published_constants_give_the_published_curve() -> None:
    final = [4.018, 3.658, 3.339, 3.079, 2.850, 2.667, 2.609, 2.507, 2.394, 2.337]
    assert GODEY_2024.loss(SIZES, np.full(10, 143_000 * STEP)) == pytest.approx(final, abs=1e-3)
    best = GODEY_2024.loss(SIZES[:4], np.array([35, 50, 50, 75]) * 1000 * STEP)
    assert best == pytest.approx([4.139, 3.744, 3.425, 3.129], abs=1e-3)


def test_small_models_lie_above_the_curve_by_8_and_4_percent() -> None:
    final = GODEY_2024.relative_gap(SIZES[:4], np.full(4, 143_000 * STEP), [4.365, 3.998, 3.635, 3.236])
    best = GODEY_2024.relative_gap(SIZES[:4], np.array([35, 50, 50, 75]) * 1000 * STEP, [4.360, 3.933, 3.584, 3.175])
    assert final.mean() == pytest.approx(0.080, abs=0.0006)
    assert best.mean() == pytest.approx(0.041, abs=0.0006)


def test_the_refit_on_six_digitised_losses() -> None:
    law = fit_scaling_law(SIZES[4:], np.full(6, 143_000 * STEP), DIGITISED, held=HOFFMANN_DATA_TERM)
    assert (law.A, law.alpha) == pytest.approx((115.09, 0.2449), rel=2e-3)
    assert law.free == ("A", "alpha") and law.converged
    low, high = law.intervals["alpha"]
    assert low < law.alpha < high and low < GODEY_2024.alpha < high
    tokens = np.full(6, 143_000 * STEP)
    assert law.loss(SIZES[4:], tokens) == pytest.approx(GODEY_2024.loss(SIZES[4:], tokens), abs=0.015)


def test_the_truth_is_recovered_without_noise() -> None:
    sizes, tokens = budgets()
    law = fit_scaling_law(sizes, tokens, TRUTH.loss(sizes, tokens), bootstrap=0)
    assert constants(law) == pytest.approx(constants(TRUTH), rel=1e-6)
    assert law.converged and law.objective < 1e-15


def test_the_truth_is_recovered_with_half_a_percent_of_noise() -> None:
    sizes, tokens = budgets()
    generator = np.random.default_rng(1)
    covered = []
    for seed in range(4):
        noisy = TRUTH.loss(sizes, tokens) * np.exp(0.005 * generator.standard_normal(len(sizes)))
        law = fit_scaling_law(sizes, tokens, noisy, bootstrap=40, seed=seed)
        assert (law.E, law.alpha, law.beta) == pytest.approx((TRUTH.E, TRUTH.alpha, TRUTH.beta), rel=0.08)
        assert law.beta / (law.alpha + law.beta) == pytest.approx(0.5126, abs=0.02)
        assert law.loss(sizes, tokens) == pytest.approx(TRUTH.loss(sizes, tokens), rel=0.01)
        covered += [law.intervals[name][0] <= getattr(TRUTH, name) <= law.intervals[name][1] for name in law.free]
    assert np.mean(covered) >= 0.7


def test_averaging_the_loss_instead_of_summing_it_fails() -> None:
    """The same Huber loss divided by the number of points, from the same kind of start, at an optimiser's defaults."""
    sizes, tokens = budgets()
    logs = np.log(sizes), np.log(tokens), np.log(TRUTH.loss(sizes, tokens))

    def huber(vector: np.ndarray, share: float) -> tuple[float, np.ndarray]:
        a, b, e, alpha, beta = vector
        terms = np.exp([a - alpha * logs[0], b - beta * logs[1], np.full(len(sizes), e)])
        total = terms.sum(axis=0)
        rest = np.log(total) - logs[2]
        value = np.where(np.abs(rest) <= 1e-3, rest**2 / 2, 1e-3 * (np.abs(rest) - 5e-4)).sum()
        slope = np.clip(rest, -1e-3, 1e-3) / total
        pull = (terms * slope).sum(axis=1)
        powers = [-(terms[0] * slope * logs[0]).sum(), -(terms[1] * slope * logs[1]).sum()]
        return share * value, share * np.array([*pull, *powers])

    starts = [(a, b, e, x, y) for a in (5, 10) for b in (5, 10) for e in (0, 0.5) for x in (0.5,) for y in (0.5,)]
    fits = [
        minimize(huber, start, args=(1 / len(sizes),), jac=True, method="L-BFGS-B", bounds=[(None, None)] * 5)
        for start in starts
    ]
    mean = min(fits, key=lambda fit: fit.fun).x
    law = fit_scaling_law(sizes, tokens, TRUTH.loss(sizes, tokens), bootstrap=0)
    assert abs(np.exp(mean[0]) / TRUTH.A - 1) > 0.1
    assert abs(law.A / TRUTH.A - 1) < 1e-6


@pytest.mark.parametrize(
    ("sizes", "tokens", "held", "said"),
    [
        (np.geomspace(1e7, 1e10, 10), np.full(10, 3e11), None, "1 different D cannot identify B, beta"),
        (np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 1e11, 7), None, "7 points for five constants"),
        (np.full(10, 1e8), np.geomspace(1e9, 1e11, 10), None, "1 different N cannot identify A, alpha"),
        (np.geomspace(1e7, 1e10, 3), np.full(3, 3e11), HOFFMANN_DATA_TERM, "3 points for 2 constants"),
        (np.geomspace(1e7, 1e10, 10), np.full(10, 3e11), {"gamma": 1.0}, "held names gamma"),
        (np.geomspace(1e7, 1e10, 10), np.zeros(10), None, "above 0"),
    ],
)
def test_a_fit_that_cannot_be_made_is_refused(
    sizes: np.ndarray, tokens: np.ndarray, held: dict[str, float] | None, said: str
) -> None:
    losses = TRUTH.loss(np.maximum(sizes, 1), np.maximum(tokens, 1))
    with pytest.raises(ValueError, match=said):
        fit_scaling_law(sizes, tokens, losses, held=held)


def test_a_term_that_is_not_there_is_refused() -> None:
    sizes, tokens = budgets()
    losses = 2 + 400 / sizes**0.35
    with pytest.raises(ValueError, match="no B term"):
        fit_scaling_law(sizes, tokens, losses, bootstrap=0)
    law = fit_scaling_law(sizes, tokens, losses, held={"B": 0.0, "beta": 0.3}, bootstrap=0)
    assert (law.E, law.A, law.alpha) == pytest.approx((2, 400, 0.35))
    with pytest.raises(ValueError, match="apart"):  # with noise, a term that is not there is like any part of E
        noisy = losses * np.exp(0.005 * np.random.default_rng(0).standard_normal(len(losses)))
        fit_scaling_law(sizes, tokens, noisy, bootstrap=0)


def test_losses_that_do_not_fall_with_size_are_refused() -> None:
    sizes = np.geomspace(7e7, 1.2e10, 8)
    noise = 2.5 * np.exp(0.004 * np.random.default_rng(0).standard_normal(8))
    for losses in (np.full(8, 2.5), np.linspace(2.3, 2.8, 8), noise):
        with pytest.raises(ValueError, match="the losses do not fall with N"):
            fit_scaling_law(sizes, np.full(8, 3e11), losses, held=HOFFMANN_DATA_TERM)


def test_sizes_and_data_that_rise_together_are_refused() -> None:
    sizes = np.geomspace(1e7, 1e10, 12)
    for noise in (0.0, 0.005):
        noisy = TRUTH.loss(sizes, 20 * sizes) * np.exp(noise * np.random.default_rng(3).standard_normal(12))
        with pytest.raises(ValueError, match="apart"):
            fit_scaling_law(sizes, 20 * sizes, noisy, bootstrap=0)


def test_one_amount_of_data_is_enough_where_its_term_is_held() -> None:
    tokens = np.full(8, 3e11)
    sizes = np.geomspace(1e7, 1e10, 8)
    law = fit_scaling_law(
        sizes, tokens, TRUTH.loss(sizes, tokens), held={"B": TRUTH.B, "beta": TRUTH.beta}, bootstrap=0
    )
    assert constants(law) == pytest.approx(constants(TRUTH), rel=1e-5)


def test_the_optimum_is_the_optimum() -> None:
    compute = 1e21
    size, tokens = TRUTH.optimal(compute)
    assert 6 * size * tokens == pytest.approx(compute)
    at = float(TRUTH.loss(size, tokens))
    for factor in (0.8, 0.97, 1.03, 1.25):
        assert TRUTH.loss(size * factor, tokens / factor) > at


def test_kaplan() -> None:
    assert kaplan_loss(1e9, 1e30) == pytest.approx(KAPLAN_PARAMETERS.loss(1e9), rel=1e-6)
    assert kaplan_loss(1e30, 1e9) == pytest.approx(KAPLAN_TOKENS.loss(1e9), rel=1e-2)
    sizes = np.geomspace(1e6, 1e9, 6)
    law = fit_power_law(sizes, KAPLAN_PARAMETERS.loss(sizes))
    assert (law.scale, law.exponent) == pytest.approx((8.8e13, 0.076), rel=1e-6)
    with pytest.raises(ValueError, match="three"):
        fit_power_law([1e6, 1e7], [3.0, 2.0])
