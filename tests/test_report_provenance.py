"""Provenance, warnings and failures: what does not compare is said, and what went wrong is listed."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from lm_probe.probes import Reading, VectorReading
from lm_probe.reports import write_report
from lm_probe.reports._comparable import differences
from lm_probe.reports._load import load
from lm_probe.reports._markdown import MISSING
from lm_probe.reports._provenance import per_checkpoint, warnings
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore
from tests.reporting import record, tables_of


def test_what_was_asked_otherwise_stands_on_no_curve(tmp_path: Path) -> None:
    record(tmp_path, "demo", (1, 2, 8), probes=("loss",), sample="one")
    record(tmp_path, "demo", (4, 16), probes=("loss", "head_spectrum"), sample="two", width=20, text="two.txt")
    data = load([tmp_path])
    assert [one.step for one in data.scores("loss", "loss")] == [1, 2, 8]
    assert [one.step for one in data.vectors["nats_by_cluster"]] == [1, 2, 8]
    assert [one.step for one in data.vectors["singular_values"]] == [4, 16]
    (line,) = warnings(data)
    assert (
        "demo: loss at step 4 and step 16 was measured with the text two.txt instead of built-in text and is left out"
        in line
    )
    assert line in write_report([tmp_path]).read_text(encoding="utf-8")
    with RunStore(tmp_path) as store:
        losses = store.values(provenance=True)[lambda v: v.metric == "loss"]
    assert losses.step.tolist() == [1, 2, 4, 8, 16] and losses.settings.nunique() == 2


def test_what_does_not_depend_on_the_missing_tokenizer_stays(tmp_path: Path) -> None:
    names = {"condensation": ("embedding", "mlp_in"), "weight_spectra": ("mlp_in",), "head_spectrum": ("all_rows",)}
    with RunStore.create(tmp_path) as store:
        for step in (1, 2, 9):
            rows = None if step == 9 else 312
            measured = [
                Measurement(
                    probe,
                    {},
                    [Reading("rank", 3.0 + step, component=one) for one in parts],
                    Conditions(details={"token_rows": rows}),
                )
                for probe, parts in names.items()
            ]
            store.record(CheckpointKey("demo", f"step{step}", step, f"sha256:{step}", "demo"), measured)
        store.record_failure("demo", "step9", 9, "loss", "no tokenizer")
    data = load([tmp_path])
    found = {part: [one.step for one in data.scores("condensation", "rank", part)] for part in names["condensation"]}
    assert found == {"embedding": [1, 2], "mlp_in": [1, 2, 9]}
    assert all(len(data.scores(probe, "rank", parts[-1])) == 3 for probe, parts in names.items())
    (line,) = warnings(data)
    assert "demo: condensation (embedding) at step 9 was measured with no tokenizer, so over all rows" in line
    assert line.endswith("give all checkpoints the same tokenizer to see them together.")


def test_a_checkpoint_that_was_measured_otherwise_is_not_called_unknown(tmp_path: Path) -> None:
    record(tmp_path, "demo", (1, 2), probes=("loss",), sample="one")
    record(tmp_path, "demo", (9,), probes=("loss",), sample="two", text="two.txt")
    with RunStore.create(tmp_path) as store:
        store.record_failure("demo", "step9", 9, "anisotropy", "NaN")
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "nothing is known" not in report and "without any value" not in report
    assert "demo step 9 was measured otherwise and is left out, see [Warnings](#warnings)." in report


def test_hashes_that_differ_are_told_in_words() -> None:
    def row(sample: str, context: int = 128, name: str = "a.txt", **config: object) -> dict[str, object]:
        asked = {"text": "0123", "seed": 1, **config}
        return {"probe": "loss", "config": asked, "details": {"sample": sample, "context": context, "text": name}}

    usual = row("f0b5")
    for other, said in (
        (row("77aa"), "another tokenizer, which makes other tokens of the same text"),
        (row("77aa", 64), "a context of 64 instead of 128 tokens (none was set: the model's limit decides)"),
        (row("77aa", text="4567"), "other documents in the text a.txt"),
        (row("77aa", text="4567", name="b.txt"), "the text b.txt instead of a.txt"),
        (row("77aa", seed=2), "seed 2 instead of 1"),
        (row("77aa", dtype="float16"), f"dtype float16 instead of the default, {differences(row('77aa'), usual)}"),
        (row("f0b5", asks="ab" * 32), "other questions (documents, their number or seed, or the task's own prompt)"),
        (row("f0b5", asks="ab" * 32, options={"arm": "rare"}), "arm rare instead of the default"),
    ):
        assert differences(other, usual) == said


def test_lists_and_long_texts_are_shown_where_they_differ() -> None:
    def row(**config: object) -> dict[str, object]:
        return {"probe": "anisotropy", "config": config, "details": {}}

    usual = row(tasks=["m5", "m20"], prompts="a long name that ends in 2")
    for other, said in (
        ({"tasks": ["m5", "m10"]}, "tasks m10 instead of m20"),
        ({"tasks": ["m5"]}, "tasks that lack m20"),
        ({"tasks": ["m5", "m20", "t", "u", "v", "w", "x"]}, "tasks that add t, u, v and 2 more"),
        ({"prompts": "a long name that ends in 1"}, "prompts …ends in 1 instead of …ends in 2"),
    ):
        assert differences(row(**{**usual["config"], **other}), usual) == said


def test_weights_that_were_read_beside_a_text_have_none(tmp_path: Path) -> None:
    details = {"text": "a text", "tokens": 400, "context": 64, "clusters": 7, "cluster_unit": "window"}
    made = Conditions("float32", "cpu", details=details)
    values = [VectorReading("singular_values", np.array([2.0, 1.0]), component="all_rows")]
    with RunStore.create(tmp_path) as store:
        key = CheckpointKey("demo", "step1", 1, "sha256:1", "demo")
        store.record(key, [Measurement("head_spectrum", {}, values, made)])
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "over the largest one. Weights as stored: float32 on cpu." in report


def test_models_that_were_asked_different_things_are_pointed_out(tmp_path: Path) -> None:
    record(tmp_path, "narrow", (1, 2), probes=("loss", "anisotropy"), sample="one")
    record(tmp_path, "wider", (1, 2), probes=("loss", "anisotropy"), sample="two", width=20)
    found = warnings(load([tmp_path]))
    assert [line.partition(":")[0] for line in found] == ["anisotropy", "loss"]
    assert all("different settings (text)" in line for line in found)


def test_failures_are_listed_and_leave_a_gap(two_models: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(two_models, run)
    with RunStore.create(run) as store:
        store.record_failure("demo-d16", "step1024", 1024, "", "the file is cut short")
        store.record_unmade("demo-d16", "step1024", 13)
        store.record_failure("demo-d16", "step512", 512, "count_query_m5", "the answers do not fit")
    report = write_report([run]).read_text(encoding="utf-8")
    assert (
        "**14 measurements failed (13 of them because" in report and "25 checkpoints of 2 models, 1 without" in report
    )
    _, _, *rows = tables_of(report, "## Failures")
    assert rows == [
        ["demo-d16", "512", "count_query_m5", "the answers do not fit"],
        ["demo-d16", "1,024", "(opening)", "the file is cut short"],
    ]
    with (run / "tables" / "failures.csv").open(newline="") as file:
        assert [row["measurements"] for row in csv.DictReader(file)] == ["1", "13"]
    assert tables_of(report, "### demo-d16")[-1] == ["1,024", *[MISSING] * 8]


def test_equal_failures_are_one_row_that_names_them(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        for step in (1, 2, 4):
            for m in range(9):
                store.record_failure("demo", f"step{step}", step, f"task_m{m}", f"task_m{m}: no room for the answer")
        store.record_failure("demo", "step4", 4, "task_m9", "no room for the answer")
        store.record_failure("other", "step4", 4, "task_m0", "no room for the answer")
    _, _, *rows = tables_of(write_report([tmp_path]).read_text(encoding="utf-8"), "## Failures")
    names = [f"task_m{m}" for m in range(9)]
    assert rows == [
        ["demo", "1, 2 and 4", f"{', '.join(names[:-1])} and {names[-1]}", "no room for the answer"],
        ["demo", "4", "task_m9", "no room for the answer"],
        ["other", "4", "task_m0", "no room for the answer"],
    ]
    with (tmp_path / "tables" / "failures.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 29


def test_a_run_of_failures_only(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        store.record_failure("demo", None, None, "", "no such file")
    assert "no such file" in write_report([tmp_path]).read_text(encoding="utf-8")


def test_equal_weights_are_pointed_out(tmp_path: Path) -> None:
    record(tmp_path, "demo", (1, 2), probes=("loss",), identity="sha256:" + "ab" * 32)
    (line,) = warnings(load([tmp_path]))
    assert (
        line
        == "demo step 1 and demo step 2 are the same weights: take them for one checkpoint. Verdicts, associations "
        "and laws are read with the first of them alone."
    )


def test_cost_counts_a_shared_forward_pass_once(two_models: Path) -> None:
    first, *_ = per_checkpoint(load([two_models]))
    assert first.seconds == pytest.approx(2.5 + 4.0 + 0.25)
    assert first.peak_memory == 3 * 2**29
