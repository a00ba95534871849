"""What the report finds of one model: saturation with many looks paid for, and co-movement."""

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.reports._analysis import analyse
from lm_probe.reports._data import Checkpoint
from lm_probe.reports._findings import findings
from lm_probe.reports._load import load
from lm_probe.reports._many import false_discovery, holm, within_findings
from lm_probe.reports._markdown import MISSING
from lm_probe.reports._noise import late_from
from lm_probe.reports._opening import opening
from lm_probe.reports._saturation_pictures import saturation_pictures
from lm_probe.reports._statistics import loss_difference, paired_error
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore
from lm_probe.sweeps._audit_store import keep_findings
from lm_probe.sweeps._look import Finding
from tests.findings import LATE, analysed, rise_and_fall, write
from tests.reporting import DOCUMENTS, STEPS, record, tables_of


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
    assert wide.found.verdict == "not worse"
    explained, lines = findings(data, analysis)
    assert "taken off what picking the lowest of many adds" in explained and "[Saturation](#saturation)" in explained
    first, second = lines.splitlines()
    assert "loss lowest at step 128" in first and "(paired by document): **saturated**;" in first
    assert f"higher by {narrow.found.difference:.2f} [" in first
    assert "loss lowest at step 512" in second and ", the last: **not worse**;" in second
    assert "higher" not in second
    said = opening(data, analysis)
    assert "demo-d16 is worse at the end than before (saturated); demo-d32 is not worse at the end" in said
    report = (two_models / "report.md").read_text(encoding="utf-8")
    assert said in report and "no test of saturation" not in report
    rows = {tuple(row[:2]): row for row in tables_of(report, "## Saturation")[2:]}
    assert rows["demo-d16", "loss"][2] == "saturated" and rows["demo-d32", "loss"][2] == "not worse"
    assert rows["demo-d16", "loss"][4].startswith("128 [")


def test_a_loss_that_fell_and_went_flat_is_called_no_worse_and_not_unsaturated(tmp_path: Path) -> None:
    fell = np.maximum(0, 1 - np.arange(len(LATE)) / 8)
    flat = 3 + 2 * fell + 0.01 * np.random.default_rng(0).standard_normal(len(LATE))
    write(tmp_path, "flat", {"loss": list(flat)})
    assert (verdict := analysed(tmp_path).loss("flat")) is not None and verdict.found.verdict == "not worse"
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "flat is not worse at the end than before: a worsening by a tenth of the late gain or more is" in report
    assert "whether it still improves or went flat" in report and "not saturated" not in report.lower()


def test_what_holds_for_all_models_and_figures_is_said_once(tmp_path: Path) -> None:
    for width in (16, 24, 32, 48, 64, 96):
        record(tmp_path, f"demo-d{width}", width=width)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    lead = report.split("## Summary")[0]
    assert [line.split("**")[1] for line in lead.splitlines() if line.startswith("- **demo")] == load([tmp_path]).models
    assert report.count("hidden states of a layer") == report.count("the same question and the same answers") == 1
    assert report.count("n = 50,000 tokens in 40 documents") == 1  # of the hidden states
    predicted = [score.n for score in load([tmp_path]).scores("loss", "loss").values()]
    assert report.count(f"n = {min(predicted):,} to {max(predicted):,} predicted tokens in 40 documents") == 1
    texts = [line for line in report.splitlines() if line and line[0] not in "|#!<-"]
    said = Counter(part for line in texts for part in re.split(r"(?<=[.:]) ", line) if len(part) > 90)
    assert {part: times for part, times in said.items() if times > 1} == {}


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
    assert among.found.verdict != "saturated" and "by itself (p " in among.found.reason
    assert f"{among.found.largest_fall:.3g} is not ruled out" in among.found.reason
    report = write_report([tmp_path / "many"]).read_text(encoding="utf-8")
    assert "parts of a suite apart (21 tests in a list; Benjamini and Hochberg)" in report
    assert tables_of(report, "## Best and final")[1][-2:] == ["---:", "---"]  # a sentence stands to the left
    (row,) = [row for row in tables_of(report, "## Best and final") if row[1] == "a"]
    assert row[3] == "cannot tell" and row[-2].endswith(" (21)") and "and not among 21 tests (adjusted p 0." in row[-1]


def test_the_percentage_is_that_of_the_difference_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "demo", {"a acc": rise_and_fall(0.0, noise=0.05)})
    (found,) = [one.found for one in analysed(tmp_path).tasks]
    assert found.difference is not None and abs(found.difference) < 0.9 * abs(found.final_minus_best)
    write_report([tmp_path])
    (row,) = tables_of((tmp_path / "report.md").read_text(encoding="utf-8"), "## Best and final")[2:]
    percent = float(row[5].replace("\N{MINUS SIGN}", "-"))
    assert percent == pytest.approx(100 * found.difference / found.best_value, rel=0.01)


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
    assert "<summary>1 score of counting tasks in which no checkpoint is better than a blind answer" in report
    tested, folded = report.split("## Best and final")[1].split("<details><summary>1 score of")
    assert "count_query_m5" in folded and "count_query_m5" not in tested and "| early |" in tested
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
    assert (
        guess.tests == 2 and "counted from early checkpoints, whose scores may be luck, up to 0." in guess.found.reason
    )
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


def test_counting_without_a_known_blind_answer_is_tested(tmp_path: Path) -> None:
    write(tmp_path, "demo", {"count_query_m5 mae": 2 - rise_and_fall(0.2)})
    (one,) = analysed(tmp_path).tasks
    assert one.tests == 1 and one.saturated


def test_perplexities_and_means_have_a_figure_with_every_model(tmp_path: Path) -> None:
    for model in ("x", "y"):
        write(tmp_path, model, {"lambada ppl": list(1e6 / 2.0 ** np.arange(16)), "arc acc": [0.5] * 16})
    data = load([tmp_path])
    pictures = {one.title: one for one in saturation_pictures(data, analyse(data))}
    assert pictures["lambada ppl over training"].caption.startswith("lambada ppl, n = 2,000 documents; bands are 95 %")
    axes = pictures["lambada ppl over training"].draw().axes[0]
    steps = np.arange(1, 17) * 1000.0
    assert axes.get_xscale() == "linear" and len(axes.lines) == 2
    # What falls from a million would make one line of all that follows.
    assert list(axes.lines[0].get_xdata()) == list(steps[late_from(steps) :]) and late_from(steps) > 0
    assert max(axes.lines[0].get_ydata()) == 1e6 / 2.0 ** late_from(steps)


def test_a_copy_is_no_point_of_a_curve(tmp_path: Path) -> None:
    """A copy brings the values of its original to another step: of an early one to the end it looks like a fall."""
    rising = rise_and_fall(0.0)
    copied = np.append(rising, rising[2])
    steps = (*LATE, LATE[-1] + 1000)
    for run in ("told", "untold"):
        write(tmp_path / run, "demo", {"a acc": copied, "loss": 3 - copied}, steps=steps)
    with RunStore.create(tmp_path / "told") as store:
        keep_findings(store, [], [Finding("demo", "step17000", 17_000, "copy", "it holds the same", "step3000")])
        with store._transaction() as db:
            db.execute("INSERT INTO audited VALUES ('demo', 17, 0)")
    whole, told = analysed(tmp_path / "untold"), analysed(tmp_path / "told")
    for one, other in ((whole.tasks[0], told.tasks[0]), (whole.loss("demo"), told.loss("demo"))):
        assert one and one.found.final_step == 17_000 and len(one.series.checkpoints) == 17
        assert other and other.found.final_step == 16_000 and len(other.series.checkpoints) == 16
        assert other.found.final_minus_best != one.found.final_minus_best
    report = write_report([tmp_path / "told"]).read_text(encoding="utf-8")
    assert "Copies of earlier checkpoints are left out: demo step 17,000 (of step 3,000)." in report
    assert "demo step 3,000 and demo step 17,000 are the same weights" in report
    assert "Copies of" not in write_report([tmp_path / "untold"]).read_text(encoding="utf-8")


def test_what_moves_together_and_a_law_are_read_without_copies(tmp_path: Path) -> None:
    for model in ("demo-70m", "demo-160m"):
        record(tmp_path, model, probes=("loss", "head_spectrum"))
    before = analysed(tmp_path)
    with RunStore.create(tmp_path) as store:
        keep_findings(store, [], [Finding("demo-70m", "step512", 512, "copy", "it holds the same", "step8")])
        with store._transaction() as db:
            db.execute("INSERT INTO audited VALUES ('demo-70m', 12, 0)")
    after = analysed(tmp_path)
    for found, changes, last in ((before, 11, 512), (after, 10, 384)):
        assert {one.found.changes for one in found.moving if one.model == "demo-70m"} == {changes}
        assert found.scaling and [one.checkpoint.step for one in found.scaling.losses] == [last, 512]


def test_what_cannot_be_tested_has_no_p_and_a_reason(tmp_path: Path) -> None:
    steps = np.arange(12)
    losses, errors = 8 - 0.5 * steps + 0.02 * steps**2, 0.01 * np.sin(7.0 * steps)
    with RunStore.create(tmp_path) as store:
        for step, loss, moved in zip(steps, losses, errors, strict=True):
            for_loss = Measurement("loss", {}, [Reading("loss", float(loss), stderr=0.01, n=9)])
            heads = {"singular_entropy": float(-loss), "effective_rank": float(moved)}
            readings = [Reading(name, value, component="all_rows") for name, value in heads.items()]
            key = CheckpointKey("demo", f"step{step}", int(step), f"sha256:{step}", "demo")
            store.record(key, [for_loss, Measurement("head_spectrum", {}, readings)])
    header, _, trend, other = tables_of(write_report([tmp_path]).read_text(encoding="utf-8"), "## Moving together")
    assert header[5:] == ["p", "adjusted", "changes", "why it is not tested"]
    assert trend[2:8] == ["not tested", *[MISSING] * 4, "11"]
    assert re.fullmatch(r"trends explain \d+ % or more of the changes of both: too little is left to compare", trend[8])
    assert other[2] == "not shown" and 0 < float(other[5]) <= float(other[6]) <= 1
