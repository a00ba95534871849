"""Saturation: false alarms on simulated series, power, the published Pythia evaluations, change points, co-movement."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from lm_probe.reports import best_and_final_table, detect_saturation, find_change_point, measure_comovement
from lm_probe.reports._unimodal import isotonic, unimodal

BESIDE = [parent / "shared/data/pythia_evals.csv.gz" for parent in Path(__file__).parents]
EVALS = next(filter(Path.exists, BESIDE), BESIDE[0])
SEVEN = ["lambada_openai", "piqa", "winogrande", "arc_easy", "arc_challenge", "sciq", "logiqa"]
STEPS = np.arange(1, 17) * 1000.0


def few_enough(alarms: int, series: int) -> bool:
    """Whether so many alarms are compatible with a rate of at most 5 %."""
    return bool(binomtest(alarms, series, 0.05, alternative="greater").pvalue > 0.01)


def neighbours(count: int, correlation: float, generator: np.random.Generator) -> np.ndarray:
    noise = generator.standard_normal(count)
    for i in range(1, count):
        noise[i] = correlation * noise[i - 1] + np.sqrt(1 - correlation**2) * noise[i]
    return noise


@pytest.mark.parametrize("kind", ["roughness", "stderr", "correlated", "outcomes", "plateau", "jitter"])
def test_a_series_that_does_not_fall_is_rarely_called_saturated(kind: str) -> None:
    generator = np.random.default_rng(20)
    alarms, series = 0, 120
    for seed in range(series):
        noise = generator.standard_normal(len(STEPS))
        values, stderr, outcomes = noise, None, None
        if kind == "stderr":
            stderr = np.ones(len(STEPS))
        elif kind == "correlated":
            values, stderr = neighbours(len(STEPS), 0.6, generator), np.ones(len(STEPS))
        elif kind == "plateau":
            values = 10 * (1 - np.exp(-np.arange(len(STEPS)) / 3)) + 0.3 * noise
        elif kind in ("outcomes", "jitter"):
            shares = generator.beta(1, 1, 150)
            shifted = np.clip(shares + (0.05 * noise[:, None] if kind == "jitter" else 0), 0, 1)
            values, outcomes = None, (generator.random((len(STEPS), 150)) < shifted).astype(float)
        found = detect_saturation(STEPS, values, stderr, outcomes=outcomes, lower_is_better=False, draws=199, seed=seed)
        alarms += found.verdict == "saturated"
    assert few_enough(alarms, series), f"{alarms} of {series}"


def test_standard_errors_hold_whatever_the_correlation_of_neighbours() -> None:
    generator = np.random.default_rng(22)
    steps = np.arange(1, 28) * 1000.0
    found = [
        detect_saturation(
            steps, neighbours(27, 0.7, generator), np.ones(27), lower_is_better=False, draws=199, seed=seed
        )
        for seed in range(200)  # the nominal 5 % are used up here: fewer series could not tell them from 20 %
    ]
    assert few_enough(sum(one.verdict == "saturated" for one in found), 200)


def test_the_naive_rule_would_not_pass() -> None:
    # The last against the best at 1.96 errors of a difference, as if the best had not been picked.
    generator = np.random.default_rng(20)
    noise = generator.standard_normal((120, len(STEPS)))
    assert not few_enough(int((noise.max(axis=1) - noise[:, -1] > 1.96 * np.sqrt(2)).sum()), 120)


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_a_fall_is_found_and_dated(lower_is_better: bool) -> None:
    generator = np.random.default_rng(3)
    sign = -1 if lower_is_better else 1
    found = []
    for _ in range(20):
        trend = 4 * np.log(np.minimum(STEPS, 9000) / 9000) - 6 * np.log(np.maximum(STEPS, 9000) / 9000)
        values = sign * (trend + 0.4 * generator.standard_normal(16))
        found.append(detect_saturation(STEPS, values, lower_is_better=lower_is_better, draws=199))
    assert sum(one.verdict == "saturated" for one in found) >= 18
    assert np.median([one.best_step for one in found]) == pytest.approx(9000, abs=1000)
    turns = [one.change_point for one in found if one.change_point]
    assert np.mean([turn.low <= 9000 <= turn.high for turn in turns]) >= 0.8
    assert all(sign * one.final_minus_best < 0 for one in found)


def test_the_best_is_corrected_for_having_been_picked() -> None:
    # On flat series around 0 the observed best is what picking adds and nothing else.
    generator = np.random.default_rng(8)
    found = [
        detect_saturation(STEPS, generator.standard_normal(16), lower_is_better=False, draws=99) for _ in range(60)
    ]
    observed, corrected = (np.mean([getattr(one, name) for one in found]) for name in ("best_value", "best_corrected"))
    assert observed > 1.5 and corrected < observed / 2
    intervals = [one.interval for one in found if one.interval]
    assert len(intervals) > 40 and np.mean([low <= 0 <= high for low, high in intervals]) >= 0.9


def test_outcomes_pair_what_standard_errors_cannot() -> None:
    generator = np.random.default_rng(5)
    shares = generator.choice([0.02, 0.98], 400)
    shares = np.where(np.arange(16)[:, None] < 9, shares, np.where(np.arange(400) < 24, 0.02, shares))
    outcomes = (generator.random((16, 400)) < shares).astype(float)
    stderr = outcomes.std(axis=1) / 20
    paired = detect_saturation(STEPS, None, outcomes=outcomes, lower_is_better=False)
    unpaired = detect_saturation(STEPS, outcomes.mean(axis=1), stderr, lower_is_better=False)
    assert paired.verdict == "saturated" and unpaired.verdict != "saturated"
    below = [one.difference - one.interval[0] for one in (paired, unpaired)]  # above, both end at 0
    assert below[0] < below[1]
    assert paired.mcnemar_p is not None and unpaired.mcnemar_p is None
    assert paired == detect_saturation(STEPS, outcomes.mean(axis=1), outcomes=outcomes, lower_is_better=False)


def test_the_verdict_is_invariant_to_shift_scale_and_direction() -> None:
    generator = np.random.default_rng(6)
    values = np.sin(np.arange(16) / 4) + 0.2 * generator.standard_normal(16)
    one = detect_saturation(STEPS, values, np.full(16, 0.1), lower_is_better=False)
    other = detect_saturation(STEPS, 5 - 3 * values, np.full(16, 0.3), lower_is_better=True)
    assert one.p_value == other.p_value and one.verdict == other.verdict
    assert other.difference == pytest.approx(-3 * one.difference)
    assert other.interval == pytest.approx(sorted(-3 * end for end in one.interval))


@pytest.mark.parametrize("errors", [False, True])
def test_flat_after_an_early_flip_is_rarely_called_saturated(errors: bool) -> None:
    generator = np.random.default_rng(12)
    steps = np.r_[2.0 ** np.arange(10), np.arange(10, 131, 10) * 1000]
    alarms = without = 0
    for seed in range(100):
        values = generator.standard_normal(len(steps)) + np.r_[np.where(generator.random(11) < 0.7, 6, 0), np.zeros(12)]
        given = np.ones(len(steps)) if errors else None
        found = [
            detect_saturation(steps, values, given, lower_is_better=False, early=early, draws=99, seed=seed)
            for early in (0.1, 0)
        ]
        alarms += found[0].verdict == "saturated"
        without += found[1].verdict == "saturated"
    assert few_enough(alarms, 100) and without > 50


def test_what_cannot_be_told() -> None:
    few = detect_saturation([1, 2, 3], [1.0, 2.0, 1.0], [0.01] * 3, lower_is_better=False)
    assert few.verdict == "cannot tell" and "3 checkpoints" in few.reason and few.final_minus_best == -1
    assert few.difference is few.interval is few.best_corrected is few.best_steps is None
    same = np.tile(np.random.default_rng(0).integers(0, 2, 50), (16, 1)).astype(float)
    for values, outcomes in ((np.zeros(16), None), (None, same)):
        flat = detect_saturation(STEPS, values, outcomes=outcomes, lower_is_better=False)
        assert (flat.verdict, flat.reason) == ("cannot tell", "every checkpoint has the same score")
        assert flat.difference == 0 and flat.interval is None
    known = detect_saturation(STEPS, np.zeros(16), np.full(16, 0.01), lower_is_better=False)
    assert "no worsening at the end is detected (p 0.97), but one by up to" in known.reason
    assert known.largest_fall > 0.01
    plain = 0.01 * np.random.default_rng(1).standard_normal(16)
    assert detect_saturation(STEPS, plain, lower_is_better=False).verdict == "cannot tell"
    assert detect_saturation(STEPS, plain, lower_is_better=False, margin=0.1).verdict == "not worse"


def test_answers_that_are_all_alike_give_no_range() -> None:
    outcomes = np.zeros((8, 20))
    outcomes[1:, 3] = 1
    found = detect_saturation(STEPS[:8], None, outcomes=outcomes, lower_is_better=False, draws=99)
    assert found.best_step < found.final_step and found.difference == 0 and found.interval is None
    outcomes[4, 5] = 1
    other = detect_saturation(STEPS[:8], None, outcomes=outcomes, lower_is_better=False, draws=99)
    assert other.interval is not None and other.interval[0] < -0.05


@pytest.mark.parametrize("lower_is_better", [False, True])
@pytest.mark.parametrize("count", [5, 6, 8, 16])
def test_final_less_best_lies_in_its_interval_and_says_no_nonsense(count: int, lower_is_better: bool) -> None:
    generator = np.random.default_rng(count)
    sign = -1 if lower_is_better else 1
    for seed in range(20):
        values = generator.standard_t(2, count) + np.arange(count) * (seed % 3) / 2
        found = detect_saturation(STEPS[:count], values, lower_is_better=lower_is_better, draws=99, seed=seed)
        assert found.difference is not None and sign * found.final_minus_best <= sign * found.difference <= 0
        if found.best_step == found.final_step:
            assert found.difference == 0 and found.interval is None
        else:
            low, high = found.interval
            assert low <= found.difference <= high and max(sign * low, sign * high) <= 0


def test_picking_the_best_takes_off_a_fall_and_never_adds_to_it() -> None:
    generator = np.random.default_rng(5)
    shares = np.interp(np.arange(12), [0, 6, 11], [0.3, 0.8, 0.5])
    for seed in range(6):
        outcomes = (generator.random(100) < shares[:, None]).astype(float)
        found = detect_saturation(STEPS[:12], None, outcomes=outcomes, lower_is_better=False, draws=99, seed=seed)
        assert found.best_corrected is not None and found.difference is not None
        assert found.final_minus_best <= found.difference <= found.final_minus_best + 0.03
        assert found.difference == pytest.approx(found.final_value - found.best_corrected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": [2, 1, 3]}, "do not rise"),
        ({"values": [1.0, float("nan"), 2.0]}, "NaN"),
        ({"values": [1.0, 2.0]}, "shape"),
        ({"values": None}, "neither"),
        ({"stderr": [0.1, -0.1, 0.1]}, "negative"),
        ({"outcomes": np.ones((3, 4))}, "not the means"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], said: str) -> None:
    given: dict[str, object] = {"steps": [1, 2, 3], "values": [1.0, 2.0, 3.0], "stderr": None, "outcomes": None}
    given |= change
    with pytest.raises(ValueError, match=said):
        detect_saturation(lower_is_better=False, **given)  # type: ignore[arg-type]


def test_isotonic_and_unimodal_fits() -> None:
    assert isotonic(np.array([[1.0], [3.0], [2.0], [4.0]]))[:, 0].tolist() == [1, 2.5, 2.5, 4]
    generator = np.random.default_rng(0)
    series = generator.standard_normal((9, 30))
    fit = unimodal(series)
    for column, peak in zip(fit.T, series.argmax(axis=0), strict=True):
        assert (np.diff(column[: peak + 1]) >= -1e-12).all() and (np.diff(column[peak:]) <= 1e-12).all()
    assert np.allclose(unimodal(fit), fit)


def test_change_points_of_slope_and_level() -> None:
    generator = np.random.default_rng(2)
    at = np.arange(30.0)
    bend = find_change_point(at, 0.5 * np.minimum(at, 12) + 0.2 * generator.standard_normal(30))
    assert bend.low <= 12 <= bend.high and bend.p_value < 0.01
    assert bend.before == pytest.approx(0.5, abs=0.1) and bend.after == pytest.approx(0, abs=0.1)
    jump = find_change_point(at, np.where(at < 20, 1.0, 3.0) + 0.2 * generator.standard_normal(30), kind="level")
    assert jump.step == 20 and (jump.before, jump.after) == pytest.approx((1, 3), abs=0.2)
    alarms = sum(
        find_change_point(at, generator.standard_normal(30), draws=199, seed=s).p_value <= 0.05 for s in range(120)
    )
    assert few_enough(alarms, 120)
    with pytest.raises(ValueError, match="at least 6"):
        find_change_point([1, 2, 3], [1, 2, 3])


def test_comovement_finds_the_lag_and_claims_no_cause() -> None:
    generator = np.random.default_rng(4)
    change = generator.standard_normal(40)
    first = np.cumsum(change)
    second = np.cumsum(np.roll(change, 2) ** 3)
    found = measure_comovement(first[3:], second[3:])
    assert found.lag == 2 and found.correlation > 0.95 and found.p_value < 0.01
    assert "associated" in str(found) and "nothing about a cause" in str(found)
    assert measure_comovement(second[3:], first[3:]).lag == -2
    # Two trends that only both rise are no co-movement, and neighbouring changes may be correlated.
    alarms = 0
    for seed in range(60):
        one, other = (np.cumsum(2 + neighbours(30, 0.4, generator)) for _ in range(2))
        alarms += measure_comovement(one, other, draws=99, seed=seed).p_value <= 0.05
    assert few_enough(alarms, 60)


def test_two_curves_that_flatten_do_not_move_together_where_the_spacing_changes() -> None:
    generator = np.random.default_rng(11)
    steps = np.array([*(2.0**i for i in range(10)), *(1000.0 * i for i in range(1, 40))])
    time = np.log1p(steps)
    loss = 2 + 8 * np.exp(-time / 3)
    drifts, decays, hits = 0, 0, 0
    for seed in range(40):
        noise, other, bumps = 0.01 * generator.standard_normal((3, len(steps)))
        for_both = {"steps": steps, "draws": 99, "seed": seed}
        drifts += measure_comovement(loss + noise, 0.1 * time + other, **for_both).p_value <= 0.05
        decays += measure_comovement(loss + noise, np.exp(-time / 4) + other, **for_both).p_value <= 0.05
        shared = 5 * np.cumsum(bumps)
        hits += measure_comovement(loss + shared + noise, 0.1 * time + shared, **for_both).p_value <= 0.05
    assert few_enough(drifts, 40) and few_enough(decays, 40) and hits >= 36
    with pytest.raises(ValueError, match="steps must rise"):
        measure_comovement(loss, time, steps=steps[::-1])


def test_what_is_nearly_all_trend_is_not_compared() -> None:
    steps = np.array([0, *(2.0**i for i in range(10))])
    time = np.log1p(steps)
    generator = np.random.default_rng(3)
    first, second = (8 * np.exp(-time / rate) + 0.01 * generator.standard_normal(11) for rate in (3, 4))
    found = measure_comovement(first, second, steps=steps)
    assert found.trending and found.p_value == 1 and abs(found.correlation) > 0.7  # both miss the parabola alike
    assert "too little is left to compare" in str(found)
    assert not measure_comovement(first, generator.standard_normal(11), steps=steps).trending


def test_nothing_is_told_from_series_that_mostly_change_by_the_same() -> None:
    generator = np.random.default_rng(5)
    for length in (12, 80):
        steps = np.arange(float(length))
        loss = 3 + 7 / (1 + steps) ** 0.3 + 0.02 * generator.standard_normal(length)
        constant = measure_comovement(loss, np.full(length, 0.5), steps=steps)
        assert constant.correlation == 0 and constant.p_value == 1 and constant.repeating
        assert set(constant.correlations.values()) == {0.0}
    called = {"two steps": 0, "loss and step": 0, "loss and deviating": 0, "rounded walks": 0}
    steps = np.array([0, *(2.0**i for i in range(11))])
    for seed in range(60):
        loss = 3 + 7 / (1 + steps) ** 0.3 + 0.02 * generator.standard_normal(12)
        one, other = ((np.arange(12) >= generator.integers(1, 12)).astype(float) for _ in range(2))
        deviating = 0.5 + 0.05 * (np.arange(12) == generator.integers(12))
        walks = (1.5 * generator.standard_normal((2, 12)).cumsum(axis=1)).round() / 10  # every fourth change is 0
        pairs = [(one, other), (loss, other), (loss, deviating), tuple(walks)]
        for name, pair in zip(called, pairs, strict=True):
            called[name] += measure_comovement(*pair, steps=steps, draws=99, seed=seed).p_value <= 0.05
    assert all(few_enough(calls, 60) for calls in called.values()), called
    assert "too few differ to compare" in str(measure_comovement(one, other, steps=steps))


def test_changes_that_differ_by_rounding_alone_are_equal() -> None:
    generator = np.random.default_rng(6)
    tenths = generator.integers(-3, 4, 40).cumsum()
    other = generator.standard_normal(40)
    assert measure_comovement(tenths / 10, other) == measure_comovement(tenths, other)
    assert not measure_comovement(tenths, other).repeating


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    if not EVALS.exists():
        pytest.skip("the published evaluations are not beside this checkout")
    rows = pd.read_csv(EVALS)
    rows = rows[(rows.suite == "pythia-v1") & (rows.shots == 0) & (rows.task.isin([*SEVEN, "wsc"]))]
    rows = rows[~rows.model.str.contains("MtokBS") & rows.metric.isin(["acc", "ppl"])]
    means = {"mean of eight": [*SEVEN, "wsc"], "mean without wsc": SEVEN}
    return best_and_final_table(rows, mean_of=means).set_index(["model", "task", "metric"])


SMALL, LARGE = ("70m", "160m"), ("1b-bf16", "1.4b", "2.8b", "6.9b", "12b")


@pytest.mark.parametrize("measure", [("lambada_openai", "ppl"), ("mean without wsc", "acc")])
def test_published_pythia(table: pd.DataFrame, measure: tuple[str, str]) -> None:
    for size in SMALL:
        assert table.loc[(f"pythia-{size}", *measure), "verdict"] == "saturated"
    for size in ("410m", *LARGE):
        assert table.loc[(f"pythia-{size}", *measure), "verdict"] == "not worse"


@pytest.mark.parametrize(
    ("size", "task", "metric", "best_step", "best", "final"),
    [
        ("70m", "mean of eight", "acc", 73000, 0.4004, 0.3798),
        ("160m", "mean of eight", "acc", 73000, 0.4448, 0.4258),
        ("410m", "mean of eight", "acc", 133000, 0.5096, 0.5066),
        ("1b-bf16", "mean of eight", "acc", 143000, 0.5059, 0.5059),
        ("70m", "mean without wsc", "acc", 73000, 0.4054, 0.3819),
        ("160m", "mean without wsc", "acc", 63000, 0.4547, 0.4345),
        ("410m", "mean without wsc", "acc", 143000, 0.4979, 0.4979),
        ("1b-bf16", "mean without wsc", "acc", 143000, 0.5260, 0.5260),
        ("70m", "lambada_openai", "ppl", 53000, 94.3, 142.4),
        ("160m", "lambada_openai", "ppl", 63000, 24.84, 38.06),
        ("410m", "lambada_openai", "ppl", 133000, 10.54, 10.83),
        ("1b-bf16", "lambada_openai", "ppl", 133000, 7.58, 7.92),
        ("70m", "lambada_openai", "acc", 53000, 0.253, 0.185),
        ("160m", "lambada_openai", "acc", 63000, 0.399, 0.328),
        ("70m", "sciq", "acc", 73000, 0.696, 0.601),
        ("160m", "sciq", "acc", 43000, 0.775, 0.741),
        ("70m", "arc_easy", "acc", 63000, 0.409, 0.374),
        ("160m", "arc_easy", "acc", 93000, 0.463, 0.435),
    ],
)
def test_published_best_and_final(
    table: pd.DataFrame, size: str, task: str, metric: str, best_step: int, best: float, final: float
) -> None:
    row = table.loc[(f"pythia-{size}", task, metric)]
    assert row.best_step == best_step
    tolerance = {"acc": 0.0006, "ppl": 0.06}[metric]
    assert (row.best, row.final) == pytest.approx((best, final), abs=tolerance)


def test_the_table_refuses_what_is_not_one_series() -> None:
    rows = pd.DataFrame({"model": "m", "step": [1, 2, 2], "task": "t", "metric": "acc", "value": [0.1, 0.2, 0.3]})
    with pytest.raises(ValueError, match="more than one value at step 2"):
        best_and_final_table(rows)
    with pytest.raises(ValueError, match="no column task"):
        best_and_final_table(rows.drop(columns="task"))
    with pytest.raises(ValueError, match="no task named piqa"):
        best_and_final_table(rows.iloc[:2], mean_of={"mean": ["t", "piqa"]})
    assert best_and_final_table(rows.iloc[:1]).empty


def test_a_metric_without_a_known_direction_has_no_best() -> None:
    rows = pd.DataFrame({"model": "m", "step": [1, 2] * 2, "task": "t", "metric": ["acc"] * 2 + ["odd"] * 2})
    rows["value"] = [0.1, 0.2, 5.0, 4.0]
    known, odd = best_and_final_table(rows).itertuples()
    assert known.best == 0.2 and np.isnan(odd.best) and odd.final == 4.0
    assert odd.verdict == "cannot tell" and "no direction is known: lower_is_better={'odd': True}" in odd.reason
    _, odd = best_and_final_table(rows, lower_is_better={"odd": True}).itertuples()
    assert odd.best == 4.0
