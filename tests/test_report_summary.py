"""The summary: what it shows is what the store holds, thinned where a series is long."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from lm_probe.probes import Reading, VectorReading
from lm_probe.reports import write_report
from lm_probe.reports._data import Checkpoint, Place
from lm_probe.reports._load import load
from lm_probe.reports._thin import thinned
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore, import_scores
from tests.reporting import PYTHIA, STEPS, record, score_of, tables_of


def test_the_table_shows_what_the_store_holds(two_models: Path) -> None:
    report = (two_models / "report.md").read_text(encoding="utf-8")
    header, _, *rows = tables_of(report, "### demo-d16")
    assert [row[0].strip("*") for row in rows] == [str(step) for step in STEPS]
    assert [row[0] for row in rows if row[0].startswith("*")] == ["**128**"]
    columns = {
        "loss (nats/token)": ("loss", "loss", None),
        "bits per byte": ("loss", "bits_per_byte", None),
        "singular entropy (nats)": ("head_spectrum", "singular_entropy", "all_rows"),
        "effective rank": ("head_spectrum", "effective_rank", "all_rows"),
        "counting m=10, full": ("lm_eval", "acc", "count_query_m10"),
        "counting m=10, binary": ("lm_eval", "acc_binary", "count_query_m10"),
    }
    for title, address in columns.items():
        for step, row in zip(STEPS, rows, strict=True):
            shown = float(re.split(r" ± | \[", row[header.index(title)])[0])
            stored = score_of(two_models, "demo-d16", step, *address)
            assert shown == pytest.approx(stored, rel=5e-3, abs=5e-3 if "[" in row[header.index(title)] else 0), title
    profile = load([two_models]).profiles("anisotropy", "mean_cosine")[Checkpoint("demo-d16", "step32", 32)]
    row = rows[STEPS.index(32)]
    assert row[header.index("mean cosine, last site")].startswith(
        f"{profile[Place(5, 'final_norm')].value:.4f} ± 0.006"
    )
    assert row[header.index("mean cosine, block L")].startswith(f"{profile[Place(5, 'block')].value:.4f} ± 0.004")


def test_csv_tables_hold_every_checkpoint_at_full_precision(two_models: Path) -> None:
    with (two_models / "tables" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["step"]) for row in rows] == [
        (model, str(step)) for model in ("demo-d16", "demo-d32") for step in STEPS
    ]
    for row in rows:
        assert float(row["loss"]) == score_of(two_models, row["model"], int(row["step"]), "loss", "loss")
    with (two_models / "tables" / "anisotropy.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * len(STEPS) * 7


def test_a_long_series_is_thinned_and_complete_in_its_table(tmp_path: Path) -> None:
    record(tmp_path, "pythia", PYTHIA, layers=24, width=96, turn=37_000)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    _, _, *rows = tables_of(report, "### pythia")
    assert "30 of 154 checkpoints are shown" in report and len(rows) == 30
    shown = [row[0] for row in rows]
    assert shown[0] == "0" and shown[-1] == "143,000"
    losses = {one.step: score.value for one, score in load([tmp_path]).scores("loss", "loss").items()}
    assert f"**{min(losses, key=losses.__getitem__):,}**" in shown
    with (tmp_path / "tables" / "summary.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(PYTHIA)


@pytest.mark.parametrize("limit", [2, 5, 30, 153])
def test_thinning_keeps_order_ends_and_what_it_is_told(limit: int) -> None:
    series = [Checkpoint("m", f"step{step}", step) for step in PYTHIA]
    kept = thinned(series, limit, {series[77]} if limit > 2 else ())
    assert kept == sorted(set(kept), key=lambda one: one.step or 0) and len(kept) == limit
    assert kept[0] == series[0] and kept[-1] == series[-1]
    assert limit == 2 or series[77] in kept
    same = [Checkpoint("m", f"v{number}", None) for number in range(40)]
    assert len(thinned(same, 6)) == 6


def test_one_checkpoint_without_a_step(tmp_path: Path) -> None:
    record(tmp_path, "gpt2", [None], layers=12, width=64)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "1 checkpoint of 1 model: gpt2 (1 checkpoint)" in report
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"loss", "anisotropy_depth", "head_spectrum"} <= names
    assert "anisotropy_heat_map" not in names  # one column is no map
    _, _, row = tables_of(report, "### gpt2")
    assert row[0] == "only checkpoint"


def test_other_tasks_are_listed(tmp_path: Path) -> None:
    extra = [Reading("acc", 0.625, component="lambada_openai", stderr=0.01, n=5153)]
    record(tmp_path, "demo", (1, 2), probes=(), extra=extra)
    _, _, row = tables_of(write_report([tmp_path]).read_text(encoding="utf-8"), "## Other tasks")
    assert row == ["lambada_openai", "acc", "demo", "0.6250 ± 0.0100", "1", "0.6250 ± 0.0100", "2", "5,153"]


def test_the_embeddings_spectrum_is_not_drawn_as_the_heads(tmp_path: Path) -> None:
    sigma = np.linspace(3, 1, 8)
    with RunStore.create(tmp_path) as store:
        for step, probes in ((0, ("embedding_spectrum",)), (8, ("embedding_spectrum", "head_spectrum"))):
            store.record(
                CheckpointKey("demo", f"step{step}", step, f"sha256:{step}", "demo"),
                [
                    Measurement(
                        probe,
                        {},
                        [VectorReading("singular_values", sigma * (1 + number), component="all_rows")],
                    )
                    for number, probe in enumerate(probes)
                ],
            )
    found = {one.step: vector.tolist() for one, vector in load([tmp_path]).vectors["singular_values"].items()}
    assert found == {8: (sigma * 2).tolist()}


def test_a_run_with_one_probe_only(tmp_path: Path) -> None:
    record(tmp_path, "demo", probes=("head_spectrum",))
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"head_spectrum.svg", "singular_entropy.svg"}
    assert "## Loss" not in report and "## Counting" not in report
    header, *_ = tables_of(report, "### demo")
    assert header == ["step", "singular entropy (nats)", "effective rank"]


def test_of_many_task_scores_those_that_moved_are_shown_and_all_are_in_the_table(tmp_path: Path) -> None:
    rows = ["model,step,task,metric,value,stderr"]
    for number in range(210):
        rows += [f"tiny,0,task_{number},acc,0.25,0.01", f"tiny,1000,task_{number},acc,{0.25 + number / 1000},0.01"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    import_scores([tmp_path / "t.csv"], tmp_path / "run")
    report = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    section = report.split("## Other tasks")[1].split("\n## ")[0]
    assert "200 of 210 rows" in section and section.count("| tiny |") == 200
    assert "task\\_209 " in section or "task_209 " in section
    assert "task_9 " not in section.replace("\\", "")
    with (tmp_path / "run" / "tables" / "other_tasks.csv").open(newline="") as file:
        everything = list(csv.DictReader(file))
    assert len(everything) == 210
    one = next(row for row in everything if row["task"] == "task_209")
    assert (one["task"], one["first"], one["last_step"], one["last_stderr"]) == ("task_209", "0.25", "1000", "0.01")
