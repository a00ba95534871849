"""Shapes of scaling curves on simulated families, and emergence under several metrics of the same answers."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from lm_probe.reports import chance_of, choice_metrics, classify_scaling_curve, compare_metrics, expected_exact_match

SIZES = np.geomspace(14e6, 12e9, 8)
X = np.linspace(0, 1, 8)
TOKEN = 0.35 + 0.6 * X  # the chance of each token being right, straight in the log of the size
DOCUMENTS = 1000

# Shape, its share of right answers, chance, and the labels that are not false.
FAMILIES: dict[str, tuple[np.ndarray, float | None, set[str]]] = {
    "one token": (TOKEN, 0.0, {"smooth"}),
    "five tokens": (TOKEN**5, 0.0, {"smooth"}),
    "twenty tokens": (TOKEN**20, 0.0, {"emergent"}),
    "flat at chance": (np.full(8, 0.25), 0.25, {"flat"}),
    "flat near zero": (np.full(8, 0.002), 0.0, {"flat"}),
    "U": (0.5 - 0.25 * np.sin(np.pi * X), None, {"U-shaped"}),
    "inverse": (0.6 - 0.3 * X, None, {"inverse"}),
    "saturating": (0.3 + 0.6 * np.clip(2.2 * X, 0, 1), None, {"saturating"}),
    "inverted U": (0.3 + 0.3 * np.sin(np.pi * X), None, {"inverted U"}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_of_simulated_families(family: str) -> None:
    share, chance, right = FAMILIES[family]
    generator = np.random.default_rng(7)
    labels: Counter[str] = Counter()
    for _ in range(40):
        seen = generator.binomial(DOCUMENTS, share) / DOCUMENTS
        errors = np.sqrt(seen * (1 - seen) / DOCUMENTS)
        labels[classify_scaling_curve(SIZES, seen, errors, chance=chance, draws=60).label] += 1
    false = sum(count for label, count in labels.items() if label not in right | {"undetermined"})
    assert binomtest(false, 40, 0.05, alternative="greater").pvalue > 0.05, labels
    assert sum(labels[label] for label in right) >= 20, labels


def test_log_probability_of_the_same_family_is_smooth() -> None:
    generator = np.random.default_rng(8)
    labels = [
        classify_scaling_curve(SIZES, 20 * np.log(TOKEN) + 0.2 * generator.standard_normal(8), np.full(8, 0.2)).label
        for _ in range(30)
    ]
    assert labels.count("smooth") >= 29


def test_direction_shift_scale_and_refusals() -> None:
    errors = np.full(8, 0.01)
    for values in (TOKEN, 0.6 - 0.3 * X, TOKEN**20):
        plain = classify_scaling_curve(SIZES, values, errors, chance=0.0)
        turned = classify_scaling_curve(1e3 * SIZES, 3 - 2 * values, 2 * errors, lower_is_better=True, chance=3.0)
        assert plain.label == turned.label != "undetermined"
    few = classify_scaling_curve(SIZES[:4], TOKEN[:4], errors[:4])
    assert few.label == "undetermined" and "4 sizes" in few.reason
    assert classify_scaling_curve(SIZES, np.full(8, 0.0), np.zeros(8)).label == "flat"
    with pytest.raises(ValueError, match="rise"):
        classify_scaling_curve(SIZES[::-1], TOKEN, errors)
    with pytest.raises(ValueError, match="positive"):
        classify_scaling_curve(SIZES, TOKEN, np.zeros(8))


def test_a_jump_from_above_chance_is_no_emergence() -> None:
    jump = np.array([0.3, 0.35, 0.38, 0.4, 0.42, 0.44, 0.46, 1.0])
    assert classify_scaling_curve(SIZES, jump, np.full(8, 0.01), chance=0.0).label == "smooth"
    assert classify_scaling_curve(SIZES, np.maximum(jump, 0.42), np.full(8, 0.01), chance=0.42).label == "emergent"


def test_a_label_at_its_threshold_is_not_stable() -> None:
    # A rise of which just 60 % lie in a quarter of the range: emergent or smooth by chance.
    share = np.array([0.0, 0.0, 0.08, 0.16, 0.24, 0.36, 0.85, 1.0])
    found = classify_scaling_curve(SIZES, share, np.full(8, 0.04), chance=0.0)
    assert found.label == "undetermined" and set(found.labels) >= {"emergent", "smooth"}


def answers(generator: np.random.Generator, share: np.ndarray, length: int) -> dict[str, np.ndarray]:
    """Documents of `length` tokens, each right with a chance that differs from document to document."""
    odds = np.log(share / (1 - share))[:, None] + 0.2 * generator.standard_normal(DOCUMENTS)
    token = 1 / (1 + np.exp(-odds))
    right = generator.random((len(share), DOCUMENTS, length)) < token[..., None]
    return {"exact_match": right.all(axis=-1).astype(float), "log_likelihood": length * np.log(token)}


def test_an_emergence_of_the_metric_only_is_told_from_a_robust_one() -> None:
    generator = np.random.default_rng(9)
    induced = compare_metrics(SIZES, answers(generator, TOKEN, 20), chance={"exact_match": 0.0})
    assert induced.curves["exact_match"].label == "emergent" and induced.curves["log_likelihood"].label == "smooth"
    assert induced.emergence == "metric-induced"
    jump = np.where(np.arange(8) < 5, 0.05, 0.98)
    assert compare_metrics(SIZES, answers(generator, jump, 3), chance={"exact_match": 0.0}).emergence == "robust"
    assert compare_metrics(SIZES, answers(generator, TOKEN, 1), chance={"exact_match": 0.0}).emergence == "none"
    with pytest.raises(ValueError, match="same documents"):
        compare_metrics(SIZES, {"accuracy": np.ones((8, 5)), "brier": np.ones((8, 4))})


def test_metrics_of_ragged_choices() -> None:
    rows = [[-1.0, -2.0, -3.0], [-5.0, -4.0]]
    found = choice_metrics(rows, [0, 0], greedy=[True, False])
    p = [np.exp(row) / np.exp(row).sum() for row in map(np.array, rows)]
    assert found["accuracy"].tolist() == [1, 0] and found["exact_match"].tolist() == [1, 0]
    assert found["probability"] == pytest.approx([p[0][0], p[1][0]])
    assert found["log_likelihood"].tolist() == [-1, -5]
    assert found["brier"] == pytest.approx([(p[0][0] - 1) ** 2 + (p[0][1:] ** 2).sum(), 2 * p[1][1] ** 2])
    by_length = choice_metrics(rows, [0, 0], lengths=[[1, 1, 1], [5, 1]])
    assert by_length["accuracy"].tolist() == [1, 1] and by_length["log_likelihood"].tolist() == [-1, -1]
    even = choice_metrics([[0.0] * 4, [0.0] * 2], [1, 1])
    assert chance_of([[0.0] * 4, [0.0] * 2])["brier"] == pytest.approx(even["brier"].mean())
    assert chance_of([[0.0] * 4, [0.0] * 2])["probability"] == pytest.approx(even["probability"].mean())
    with pytest.raises(ValueError, match="count from 0"):
        choice_metrics(rows, [0, 2])
    with pytest.raises(ValueError, match="NaN"):
        choice_metrics([[np.nan, 0.0]], [0])


def test_brier_equals_lm_evals() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics")
    scipy_softmax = pytest.importorskip("scipy.special").softmax
    generator = np.random.default_rng(1)
    rows, right = generator.normal(size=(50, 4)), generator.integers(4, size=50)
    theirs = metrics.brier_score(list(zip(right, [scipy_softmax(row) for row in rows], strict=True)))
    assert choice_metrics(list(rows), right.tolist())["brier"].mean() == pytest.approx(theirs)


def test_the_product_of_token_probabilities() -> None:
    assert expected_exact_match([[np.log(0.5)] * 3, [np.log(0.9)]]) == pytest.approx([0.125, 0.9])
