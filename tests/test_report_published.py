"""What the report says of the published evaluations of Pythia."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore
from tests.reporting import tables_of
from tests.test_saturation import EVALS, SEVEN


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
        assert {said for model, said in verdicts.items() if model not in ("pythia-70m", "pythia-160m")} == {"not worse"}
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
