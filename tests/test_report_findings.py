"""What the report finds: saturation with many looks paid for, co-movement, laws and shapes over size."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lm_probe.probes import Reading
from lm_probe.reports import GODEY_2024, write_report
from lm_probe.reports._analysis import Analysis, analyse
from lm_probe.reports._data import Checkpoint
from lm_probe.reports._findings import findings
from lm_probe.reports._load import load
from lm_probe.reports._many import false_discovery, holm, within_findings
from lm_probe.reports._model_pictures import model_pictures
from lm_probe.reports._noise import late_from
from lm_probe.reports._opening import opening
from lm_probe.reports._saturation_pictures import saturation_pictures
from lm_probe.reports._scaling_pictures import emergence_pictures, scaling_pictures
from lm_probe.reports._sizes import family_in_name, size_in_name
from lm_probe.reports._statistics import loss_difference, paired_error
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore
from tests.reporting import DOCUMENTS, STEPS, record, tables_of
from tests.test_saturation import EVALS, SEVEN

LATE = tuple(range(1000, 17_000, 1000))


def write(
    run: Path,
    model: str,
    scores: Mapping[str, Sequence[float]],
    *,
    steps: Sequence[int] = LATE,
    error: float = 0.01,
    parameters: int | None = None,
    sample: str = "same",
) -> None:
    """A series of task scores (by "task metric") or losses (by "loss")."""
    made = Conditions(details={"sample": sample} | ({} if parameters is None else {"parameters": parameters}))
    with RunStore.create(run) as store:
        for place, step in enumerate(steps):
            measured = []
            readings: dict[str, list[Reading]] = {}
            for name, values in scores.items():
                task, _, metric = name.partition(" ")
                if name == "loss":
                    measured.append(
                        Measurement("loss", {}, [Reading("loss", values[place], stderr=error, n=999)], made)
                    )
                else:
                    reading = Reading(metric, values[place], component=task, stderr=error, n=2000)
                    readings.setdefault(task, []).append(reading)
            measured += [Measurement("lm_eval", {"task": task}, own, made) for task, own in readings.items()]
            store.record(CheckpointKey(model, f"step{step}", step, f"sha256:{model}{step}", model), measured)


def analysed(run: Path) -> Analysis:
    return analyse(load([run]))


def rise_and_fall(fall: float, seed: int = 0, noise: float = 0.003) -> np.ndarray:
    """A score that rises to 0.6 and loses `fall` over the second half."""
    time = np.arange(len(LATE)) / (len(LATE) - 1)
    trend = 0.3 + 0.3 * np.minimum(1, 2 * time) - fall * np.maximum(0, 2 * time - 1)
    return trend + noise * np.random.default_rng(seed).standard_normal(len(LATE))


def test_adjusted_p_values() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979, by hand
    assert false_discovery(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert within_findings(p, p) == false_discovery(p)
    # Two of 0.02, 0.02, 0.9 are found at a level of 0.03 and above, where the threshold is 2/3 of it.
    assert within_findings([0.02, 0.02, 0.9], [0.01, 0.03, 0.05, 1.0]) == pytest.approx([0.03, 0.045, 0.075, 1.0])
    assert holm([]) == false_discovery([]) == []
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_the_loss_is_judged_document_by_document_and_told_without_contradiction(two_models: Path) -> None:
    data = load([two_models])
    analysis = analyse(data)
    narrow, wide = (analysis.loss(model) for model in ("demo-d16", "demo-d32"))
    assert narrow is not None and wide is not None
    assert narrow.saturated and narrow.found.best_step == 128 and narrow.series.outcomes is not None
    assert narrow.series.outcomes.shape == (len(STEPS), DOCUMENTS)
    assert np.allclose(narrow.series.outcomes.mean(axis=1), narrow.series.values)
    assert wide.found.verdict == "not saturated"
    first, second = findings(data, analysis)
    assert "lowest at step 128" in first and "paired over 40 pieces of text" in first and "**Saturated**" in first
    assert "lowest at step 512" in second and "the last one measured. **Not saturated**" in second
    assert "higher" not in second
    said = opening(data, analysis)
    assert "demo-d16 is worse at the end than before (saturated); demo-d32 is not saturated" in said
    report = (two_models / "report.md").read_text(encoding="utf-8")
    assert said in report and "no test of saturation" not in report
    rows = {tuple(row[:2]): row for row in tables_of(report, "## Saturation")[2:]}
    assert rows["demo-d16", "loss"][2] == "saturated" and rows["demo-d32", "loss"][2] == "not saturated"
    assert rows["demo-d16", "loss"][4].startswith("128 [")


def test_the_covariance_of_linearised_losses_is_that_of_their_ratio(two_models: Path) -> None:
    data = load([two_models])
    verdict = analyse(data).loss("demo-d16")
    assert verdict is not None and verdict.series.outcomes is not None
    last, best = (Checkpoint("demo-d16", f"step{step}", step) for step in (512, 128))
    places = [verdict.series.checkpoints.index(one) for one in (last, best)]
    change = verdict.series.outcomes[places[0]] - verdict.series.outcomes[places[1]]
    gap = loss_difference(data, last, best)
    assert gap.paired and change.std(ddof=1) / math.sqrt(DOCUMENTS) == pytest.approx(gap.stderr)


def test_paired_error_is_that_of_the_mean_for_documents_of_one_length() -> None:
    differences = np.array([1.0, 3.0, 2.0, 6.0])
    expected = differences.std(ddof=1) / 10 / math.sqrt(4)
    assert paired_error(differences, np.full(4, 10.0)) == pytest.approx(expected)
    assert paired_error(2 * np.arange(1.0, 5.0), np.arange(1.0, 5.0)) == pytest.approx(0)


def test_a_fall_must_outlive_the_other_tests(tmp_path: Path) -> None:
    falling = rise_and_fall(0.05, noise=0.004)
    write(tmp_path / "one", "demo", {"a acc": falling})
    (alone,) = analysed(tmp_path / "one").tasks
    assert alone.saturated and alone.tests == 1 and alone.found.p_value == alone.p_adjusted > 0.003
    others = {f"t{i} acc": rise_and_fall(0.0, seed=i + 1) for i in range(20)}
    write(tmp_path / "many", "demo", {"a acc": falling, **others})
    (among,) = [one for one in analysed(tmp_path / "many").tasks if one.series.measure.task == "a"]
    assert among.tests == 21 and among.found.p_value == alone.found.p_value and among.p_adjusted > 0.05
    assert among.found.verdict != "saturated" and "alone, but" in among.found.reason
    assert f"{among.found.largest_fall:.3g} is not excluded" in among.found.reason
    report = write_report([tmp_path / "many"]).read_text(encoding="utf-8")
    assert "parts of a suite apart (21 tests in a list; Benjamini and Hochberg)" in report
    assert tables_of(report, "## Best and final")[1][-2:] == ["---:", "---"]  # a sentence stands to the left
    (row,) = [row for row in tables_of(report, "## Best and final") if row[1] == "a"]
    assert row[3] == "cannot tell" and row[-2] == "21" and row[-1].startswith("a worsening of level by up to 0.0")
    assert row[-1].endswith("adjusted (21 tests)")


def test_tasks_of_other_models_parts_of_suites_and_further_metrics_are_no_further_tests(tmp_path: Path) -> None:
    falling = rise_and_fall(0.05, noise=0.004)
    flat = {f"mmlu_{i} acc": rise_and_fall(0.0, seed=i + 1) for i in range(20)}
    write(tmp_path, "demo", {"a acc": falling, "a acc_norm": falling, "b acc": rise_and_fall(0.0), **flat})
    write(tmp_path, "other", {f"t{i} acc": rise_and_fall(0.0, seed=i + 1) for i in range(20)})
    found = {(one.series.model, one.series.measure.name): one for one in analysed(tmp_path).tasks}
    first, twin = found["demo", "a acc"], found["demo", "a acc_norm"]
    assert first.saturated and twin.saturated and first.tests == twin.tests == 2
    assert first.p_adjusted == twin.p_adjusted == pytest.approx(2 * first.found.p_value)
    assert found["demo", "mmlu_3 acc"].tests == found["other", "t3 acc"].tests == 20


def test_a_metric_does_not_fall_where_the_one_that_carries_the_test_does_not(tmp_path: Path) -> None:
    falling = rise_and_fall(0.08, noise=0.002)
    write(tmp_path, "demo", {"a acc": rise_and_fall(0.0, noise=0.004), "a acc_norm": falling})
    first, twin = analysed(tmp_path).tasks
    assert twin.series.measure.metric == "acc_norm" and twin.found.p_value < 0.02 < 0.2 < first.p_adjusted
    assert twin.p_adjusted == first.p_adjusted and twin.found.verdict == "cannot tell"


def test_no_metric_is_called_after_one_of_its_task_that_is_not(tmp_path: Path) -> None:
    falling, flat = rise_and_fall(0.08, noise=0.002), rise_and_fall(0.0, noise=0.004)
    write(tmp_path / "two", "demo", {"a acc": falling, "a f1": falling})
    first, last = analysed(tmp_path / "two").tasks
    assert first.saturated and last.saturated
    write(tmp_path / "three", "demo", {"a acc": falling, "a acc_norm": flat, "a f1": falling})
    first, between, last = analysed(tmp_path / "three").tasks
    assert last.series.measure.metric == "f1" and last.found.p_value < 0.02
    assert first.saturated and not between.saturated and not last.saturated
    assert last.p_adjusted == between.p_adjusted == between.found.p_value > 0.2


def test_further_metrics_are_held_to_the_threshold_of_the_first(tmp_path: Path) -> None:
    flat = {f"t{place} acc": rise_and_fall(0.0, seed=place + 1) for place in range(9)}
    write(tmp_path, "demo", {"a acc": rise_and_fall(0.1), "a acc_norm": rise_and_fall(0.05, noise=0.004), **flat})
    first, follower = [one for one in analysed(tmp_path).tasks if one.series.measure.task == "a"]
    assert first.saturated and first.tests == 10
    assert 0.005 < follower.found.p_value < 0.05 and not follower.saturated
    assert follower.p_adjusted == pytest.approx(10 * follower.found.p_value)


def test_what_is_no_test_of_saturation(tmp_path: Path) -> None:
    time = np.arange(16) / 15
    counts = {"count_query_m5 mae": 9 - 4 * np.minimum(1, 2 * time) + 2 * np.maximum(0, 2 * time - 1)}
    floors = {f"count_query_m5 {name}": np.full(16, 2.0) for name in ("floor_constant_mae",)}
    with RunStore.create(tmp_path) as store:
        for place, step in enumerate(LATE):
            readings = [
                Reading(name.split()[1], float(values[place]), component="count_query_m5", stderr=0.05, n=200)
                for name, values in {**counts, **floors}.items()
            ]
            store.record(
                CheckpointKey("demo", f"step{step}", step, f"sha256:{step}", "demo"),
                [Measurement("lm_eval", {"task": "count_query_m5"}, readings)],
            )
    scores = [0.63, 0.62, 0.61, 0.6, 0.6, 0.2]
    write(tmp_path, "burst", {"early acc": scores}, steps=(1, 2, 4, 8, 16, 1000))
    blind, early = analysed(tmp_path).tasks
    assert (blind.found.verdict, blind.tests) == ("cannot tell", 0) and "blind" in blind.found.reason
    assert (early.found.verdict, early.tests) == ("cannot tell", 0)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    why = {row[1]: row[-1] for row in tables_of(report, "## Best and final")[2:]}
    assert why["count_query_m5"].startswith("not tested, because no checkpoint is better than a blind answer")
    assert why["early"].startswith("not tested, because all but the last checkpoints lie in the first 10 % of training")


def test_an_early_level_of_a_score_may_be_luck_and_one_of_a_loss_is_learned(tmp_path: Path) -> None:
    noise = 0.003 * np.random.default_rng(0).standard_normal(16)
    scores = {
        "guess acc": np.r_[0.63, 0.63, np.full(14, 0.37)] + noise,  # WSC of Pythia: one answer, then the other
        "lost acc": np.r_[0.9, np.linspace(0.88, 0.3, 15)] + noise,
        "guess bits_per_byte": np.r_[1.0, 1.0, np.full(14, 1.3)] + noise,
        "guess word_perplexity": np.r_[20.0, 20.0, np.full(14, 26.0)] + noise,
    }
    steps = (1000, 1500, *range(20_000, 160_000, 10_000))
    write(tmp_path, "demo", {**scores, "loss": 3 + scores["guess bits_per_byte"]}, steps=steps)
    analysis = analysed(tmp_path)
    found = {one.series.measure.name: one for one in (*analysis.headline, *analysis.tasks)}
    guess = found["guess acc"]
    assert (guess.found.verdict, guess.found.best_step) == ("cannot tell", 1000) and guess.found.p_value > 0.2
    assert guess.tests == 2 and "from early levels, which may be luck, it may be up to 0." in guess.found.reason
    assert found["lost acc"].saturated and found["lost acc"].found.best_step == 1000
    assert found["loss"].saturated and found["guess word_perplexity"].saturated


def test_a_mean_is_over_large_tasks_and_counts_a_suite_once(tmp_path: Path) -> None:
    scores = {f"{task} acc": rise_and_fall(0.1, seed=place) for place, task in enumerate(("piqa", "sciq"))}
    scores |= {f"mmlu_{part} acc": np.full(16, 0.25) + 0.1 * place for place, part in enumerate(("law", "physics"))}
    write(tmp_path, "demo", scores)
    write(tmp_path, "demo", {"wsc acc": rise_and_fall(0.0)}, error=0.047)
    (mean,) = [one for one in analysed(tmp_path).headline if one.series.tasks]
    assert mean.series.tasks == ("mmlu", "piqa", "sciq")
    expected = (0.3 + scores["piqa acc"] + scores["sciq acc"]) / 3
    assert np.allclose(mean.series.values, expected)
    assert mean.series.stderr is not None
    assert np.allclose(mean.series.stderr, math.sqrt(0.01**2 / 2 + 2 * 0.01**2) / 3)


def test_shots_have_means_of_their_own(tmp_path: Path) -> None:
    scores = {f"{task} acc": rise_and_fall(0.1, seed=place) for place, task in enumerate(("piqa", "sciq"))}
    few = {f"{name.split()[0]} (5-shot) acc": values + 0.1 for name, values in scores.items()}
    with RunStore.create(tmp_path) as store:
        for place, step in enumerate(LATE):
            measured = [
                Measurement("lm_eval", {"task": task}, [Reading(metric, values[place], component=task, stderr=0.01)])
                for name, values in {**scores, **few}.items()
                for task, _, metric in [name.rpartition(" ")]
            ]
            store.record(CheckpointKey("demo", f"step{step}", step, f"sha256:{step}", "demo"), measured)
    analysis = analysed(tmp_path)
    means = {one.series.measure.task: one.series for one in analysis.headline}
    assert set(means) == {"mean of 2 tasks", "mean of 2 tasks (5-shot)"}
    assert np.allclose(means["mean of 2 tasks (5-shot)"].values, means["mean of 2 tasks"].values + 0.1)
    said = opening(load([tmp_path]), analysis)
    assert "Judged by the mean over tasks, " in said and "Judged by the mean over tasks (5-shot), " in said


def test_measures_that_move_with_the_loss_are_associated_and_no_cause(two_models: Path) -> None:
    found = analysed(two_models).moving
    assert {one.measure for one in found} == {
        "mean cosine, last site",
        "singular entropy of the head",
        "rank of the head",
    }
    assert all(one.p_adjusted >= one.found.p_value for one in found)
    report = (two_models / "report.md").read_text(encoding="utf-8")
    section = report.split("## Moving together")[1].split("\n## ")[0]
    assert "An association says nothing about a cause" in section and "adjusted for 6 pairs (Holm)" in section


def ladder(run: Path, sizes: Mapping[str, int], *, lift: Mapping[str, float] | None = None) -> None:
    """Models whose final losses follow the published law at a fixed number of tokens; `lift` adds a late rise."""
    for name, size in sizes.items():
        law = float(GODEY_2024.loss(float(size), 3e11))
        rise = (lift or {}).get(name, 0.0)
        time = np.arange(16) / 15
        values = law + 0.5 * (1 - np.minimum(1, 2 * time)) ** 2 + rise * np.maximum(0, 2 * time - 1)
        wobble = 1e-4 * np.sin(7 * np.arange(16))
        write(run, name, {"loss": values + wobble * (time < 1)}, parameters=size, error=0.002)


SIZES = {"m70": 70_426_624, "m410": 405_334_016, "m1b": 1_011_781_632, "m1.4b": 1_414_647_808}
SIZES |= {"m2.8b": 2_775_208_960, "m6.9b": 6_857_302_016, "m12b": 11_846_072_320}


def test_a_law_through_the_models_that_do_not_saturate_and_the_gap_of_the_one_that_does(tmp_path: Path) -> None:
    ladder(tmp_path, SIZES, lift={"m70": 0.3})
    found = analysed(tmp_path).scaling
    assert found is not None and found.law is not None and not found.refusal
    by_model = {one.model: one for one in found.losses}
    assert not by_model["m70"].fitted and all(one.fitted for name, one in by_model.items() if name != "m70")
    small = float(GODEY_2024.loss(float(SIZES["m70"]), 3e11))
    assert by_model["m70"].gap == pytest.approx(0.3 / small, rel=0.05)
    assert all(abs(one.gap or 0) < 1e-3 for name, one in by_model.items() if name != "m70")
    assert found.law.alpha == pytest.approx(GODEY_2024.alpha, rel=0.05)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    row = next(row for row in tables_of(report, "## Scaling") if row[0] == "m70")
    assert row[1] == "70,426,624" and row[6].startswith("*+9.0")
    (picture,) = scaling_pictures(load([tmp_path]), analysed(tmp_path))
    (axes,) = picture.draw().axes
    markers = {line.get_xdata()[0]: line for line in axes.lines if line.get_marker() not in ("_", "None")}
    assert set(SIZES.values()) <= set(markers) and "figures/loss_by_size.svg" in report
    hollow = {size: markers[size].get_markerfacecolor() == "none" for size in SIZES.values()}
    assert [size for size, empty in hollow.items() if empty] == [SIZES["m70"]]
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 100]
    assert line.get_ydata()[0] == pytest.approx(float(found.law.loss(float(SIZES["m70"]), 1.0)))


def test_a_law_is_refused_with_its_reason(tmp_path: Path) -> None:
    ladder(tmp_path / "few", {name: SIZES[name] for name in ("m70", "m410")})
    few = analysed(tmp_path / "few").scaling
    assert few is not None and few.law is None and "take 5 models or more" in few.refusal
    report = write_report([tmp_path / "few"]).read_text(encoding="utf-8")
    said = "its three constants (E, A and alpha) take 5 models or more that are not saturated, and here are 2."
    assert f"No scaling law is fitted: {said}" in report
    write(tmp_path / "text", "x", {"loss": [3.0] * 16}, parameters=1000, sample="one")
    write(tmp_path / "text", "y", {"loss": [2.0] * 16}, parameters=2000, sample="two")
    text = analysed(tmp_path / "text").scaling
    assert text is not None and "not over the same tokens" in text.refusal
    write(tmp_path / "steps", "x", {"loss": [3.0] * 16}, parameters=1000)
    write(tmp_path / "steps", "y", {"loss": [2.0] * 15}, parameters=2000, steps=LATE[:-1])
    steps = analysed(tmp_path / "steps").scaling
    assert steps is not None and "different steps" in steps.refusal
    write(tmp_path / "names", "p-70m", {"loss": [3.0] * 16})
    write(tmp_path / "names", "p-160m", {"loss": [2.0] * 16})
    names = analysed(tmp_path / "names").scaling
    assert names is not None and "names only" in names.refusal
    write(tmp_path / "one", "x", {"loss": [3.0] * 16}, parameters=1000)
    assert analysed(tmp_path / "one").scaling is None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("pythia-70m", 70e6),
        ("EleutherAI/pythia-1.4b-deduped", 1.4e9),
        ("pythia-1b-bf16", 1e9),
        ("gpt2", None),
        ("demo-d16", None),
        ("opt-125m_v2", 125e6),
        ("m70model", None),
    ],
)
def test_sizes_in_names(name: str, size: float | None) -> None:
    found = size_in_name(name)
    assert (None if found is None else found.parameters) == size


def test_a_jump_is_called_emergent_only_where_chance_is_known(tmp_path: Path) -> None:
    for place, size in enumerate((70, 160, 410, 1000, 2800, 6900)):
        scores = {"sciq acc": [0.6 + 0.3 * (place > 3)], "flat acc": [0.5]}
        scores |= {f"count_query_m5 {name}": [0.1 + 0.8 * (place > 3)] for name in ("acc",)}
        scores |= {"count_query_m5 floor_constant_acc": [0.1]}
        write(tmp_path, f"a-{size}m", scores, steps=[8])
    curves = {one.measure.name: one for one in analysed(tmp_path).curves}
    assert curves["sciq acc"].found.label == "emergent" and curves["sciq acc"].shape == "jump"
    assert "chance is not known" in curves["sciq acc"].found.reason
    assert curves["count_query_m5 acc"].shape == "emergent"
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "Over model size emergent: count_query_m5 acc (a)." in report
    assert "Over model size alike at first and then higher by a jump: sciq acc (a)." in report
    rows = {row[0]: row for row in tables_of(report, "## Emergence")[2:]}
    assert rows["sciq"][2] == "jump" and rows["flat"][2] == "flat"


def test_of_many_shapes_those_that_say_most_are_shown(tmp_path: Path) -> None:
    for place, size in enumerate((70, 160, 410, 1000, 2800)):
        flat = {f"t{task} acc": [0.5] for task in range(70)}
        write(tmp_path, f"a-{size}m", {**flat, "z acc": [0.3 + 0.1 * place]}, steps=[8])
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    rows = tables_of(report, "## Emergence")[2:]
    assert len(rows) == 60 and rows[-1][0] == "z"
    assert "Not in this table: 11 rows that are flat; all rows are in tables/emergence.csv." in report
    assert len((tmp_path / "tables" / "emergence.csv").read_text().splitlines()) == 72


def test_counting_without_a_known_blind_answer_is_tested(tmp_path: Path) -> None:
    write(tmp_path, "demo", {"count_query_m5 mae": 2 - rise_and_fall(0.2)})
    (one,) = analysed(tmp_path).tasks
    assert one.tests == 1 and one.saturated


def test_many_models_have_a_panel_for_each_family(tmp_path: Path) -> None:
    for name in ("pythia-70m", "pythia-1.4b", "gpt2", "gpt2-xl", "opt-125m", "opt-1.3b", "gemma-2b"):
        record(tmp_path, name, (0, 8), layers=3, probes=("anisotropy",))
    assert [family_in_name(name) for name in ("org/pythia-1.4b", "opt-125m", "llama")] == ["pythia", "opt", "llama"]
    (picture,) = model_pictures(load([tmp_path]))
    assert [axes.get_title() for axes in picture.draw().axes] == ["gpt", "pythia", "opt", "gemma"]
    drawn = [line for axes in picture.draw().axes for line in axes.lines]
    assert len(drawn) == 7 and all(line.get_xdata()[0] == 0 and line.get_xdata()[-1] == 1 for line in drawn)


def test_perplexities_and_means_have_a_figure_with_every_model(tmp_path: Path) -> None:
    for model in ("x", "y"):
        write(tmp_path, model, {"lambada ppl": list(1e6 / 2.0 ** np.arange(16)), "arc acc": [0.5] * 16})
    data = load([tmp_path])
    pictures = {one.title: one for one in saturation_pictures(data, analyse(data))}
    axes = pictures["lambada ppl over training"].draw().axes[0]
    steps = np.arange(1, 17) * 1000.0
    assert axes.get_xscale() == "linear" and len(axes.lines) == 2
    # What falls from a million would make one line of all that follows.
    assert list(axes.lines[0].get_xdata()) == list(steps[late_from(steps) :]) and late_from(steps) > 0
    assert max(axes.lines[0].get_ydata()) == 1e6 / 2.0 ** late_from(steps)


def test_families_have_curves_of_their_own_and_sizes_count_once(tmp_path: Path) -> None:
    for place, size in enumerate((70, 160, 410, 1000, 2800)):
        write(tmp_path, f"org/a-{size}m", {"task acc": [0.3 + 0.1 * place]}, steps=[8])
        write(tmp_path, f"org/b-{size}m", {"task acc": [0.7 - 0.1 * place]}, steps=[8])
    write(tmp_path, "org/a-70m-other", {"task acc": [0.9]}, steps=[8])
    curves = {one.family: one for one in analysed(tmp_path).curves}
    assert {family: one.found.label for family, one in curves.items()} == {"a": "smooth", "b": "inverse"}
    assert curves["a"].left_out == ["org/a-70m-other"] and len(curves["a"].models) == 5
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "Left out beside a model of the same size and a shorter name: org/a-70m-other." in report
    assert [row[3] for row in tables_of(report, "## Emergence")[2:]] == ["5 a", "5 b"]
    (picture,) = emergence_pictures(analysed(tmp_path))
    (axes,) = picture.draw().axes
    drawn = [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() != "None"]
    assert drawn[0] == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7]) and len(drawn) == 2
    assert [text.get_text() for text in axes.texts] == ["a: smooth, b: inverse"]
    assert "](figures/scores_by_size.svg)" in report


@pytest.fixture(scope="module")
def pythia(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published evaluations as a run of its own."""
    if not EVALS.exists():
        pytest.skip("the published evaluations are not beside this checkout")
    rows = pd.read_csv(EVALS)
    rows = rows[(rows.suite == "pythia-v1") & (rows.shots == 0) & rows.task.isin([*SEVEN, "wsc"])]
    rows = rows[~rows.model.str.contains("MtokBS") & rows.metric.isin(["acc", "ppl"])]
    run = tmp_path_factory.mktemp("published")
    with RunStore.create(run) as store:
        for (model, step), group in rows.groupby(["model", "step"]):
            measured = [
                Measurement(
                    "lm_eval",
                    {"task": task},
                    [Reading(row.metric, row.value, component=row.task, stderr=row.stderr) for row in own.itertuples()],
                )
                for task, own in group.groupby("task")
            ]
            store.record(CheckpointKey(model, f"step{step:g}", int(step), f"sha256:{model}{step}", model), measured)
    write_report([run])
    return run


def test_the_report_says_of_published_pythia_what_its_values_say(pythia: Path) -> None:
    report = (pythia / "report.md").read_text(encoding="utf-8")
    rows = {tuple(row[:2]): row for row in tables_of(report, "## Saturation")[2:]}
    for measure in ("lambada_openai ppl", "mean of 7 tasks acc"):
        verdicts = {model: row[2] for (model, name), row in rows.items() if name == measure}
        assert {model for model, said in verdicts.items() if said == "saturated"} == {"pythia-70m", "pythia-160m"}
        assert {said for model, said in verdicts.items() if model not in ("pythia-70m", "pythia-160m")} == {
            "not saturated"
        }
    said = "Judged by the mean over tasks, pythia-70m and pythia-160m are worse at the end than before (saturated)"
    assert said in report
    assert report.index("pythia-70m") < report.index("pythia-410m") < report.index("pythia-12b")  # by size


@pytest.mark.parametrize(
    ("model", "task", "metric", "best_step", "best", "final"),
    [
        ("70m", "mean of 7 tasks", "acc", 73000, 0.4054, 0.3819),
        ("160m", "mean of 7 tasks", "acc", 63000, 0.4547, 0.4345),
        ("410m", "mean of 7 tasks", "acc", 143000, 0.4979, 0.4979),
        ("70m", "lambada_openai", "ppl", 53000, 94.3, 142.4),
        ("160m", "lambada_openai", "ppl", 63000, 24.84, 38.06),
        ("1b-bf16", "lambada_openai", "ppl", 133000, 7.58, 7.92),
        ("160m", "sciq", "acc", 43000, 0.775, 0.741),
        ("70m", "arc_easy", "acc", 63000, 0.409, 0.374),
    ],
)
def test_best_and_final_of_published_pythia(
    pythia: Path, model: str, task: str, metric: str, best_step: int, best: float, final: float
) -> None:
    with (pythia / "tables" / "best_and_final.csv").open(newline="") as file:
        rows = {(row["model"], row["task"], row["metric"]): row for row in csv.DictReader(file)}
    row = rows[f"pythia-{model}", task, metric]
    assert int(row["best_step"]) == best_step and int(row["final_step"]) == 143_000
    tolerance = {"acc": 0.0006, "ppl": 0.06}[metric]
    assert (float(row["best"]), float(row["final"])) == pytest.approx((best, final), abs=tolerance)


def test_shapes_over_size_of_published_pythia(pythia: Path) -> None:
    report = (pythia / "report.md").read_text(encoding="utf-8")
    labels = {tuple(row[:2]): row[2] for row in tables_of(report, "## Emergence")[2:]}
    assert labels["lambada_openai", "acc"] == labels["lambada_openai", "ppl"] == labels["arc_easy", "acc"] == "smooth"
    assert "level 5 % divided by 9 rows" in report.lower()
