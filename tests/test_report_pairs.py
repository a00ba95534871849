"""Answers document by document in the report: runs compared pair by pair, emergence under other metrics."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.reports._analysis import analyse
from lm_probe.reports._data import Checkpoint
from lm_probe.reports._differences import paired
from lm_probe.reports._load import load
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore
from tests.reporting import record, tables_of

TIME = "2026-01-02T03-04-05.678901"


def rows_of(
    gains: Sequence[float] | np.ndarray, *, first: int = 0, others: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """lm-eval's rows of a question with four choices: the right one's log-likelihood is the gain, the others' -1."""
    rows = []
    for place, gain in enumerate(gains):
        right = place % 4
        likelihoods = [-1.0] * 4 if others is None else [float(one) for one in others[place]]
        likelihoods[right] = float(gain)
        rows.append(
            {
                "doc_id": place,
                "doc": {"question": f"q{first + place}"},
                "target": str(right),
                "arguments": {f"gen_args_{at}": {"arg_0": "?", "arg_1": f" {at}"} for at in range(4)},
                "resps": [[[str(one), "False"]] for one in likelihoods],
                "filtered_resps": [[str(one), "False"] for one in likelihoods],
                "filter": "none",
                "metrics": ["acc"],
                "doc_hash": f"hash{first + place}",
                "acc": float(np.argmax(likelihoods) == right),
            }
        )
    return rows


def keep(
    run: Path, model: str, step: int, rows: Sequence[Mapping[str, Any]], *, packed: bool = False, shift: float = 0.0
) -> np.ndarray:
    """A measurement of the task `quiz` with its samples file; the scores by document."""
    scores = np.array([row["acc"] for row in rows])
    stderr = float(scores.std(ddof=1) / np.sqrt(len(scores)))
    reading = Reading("acc", float(scores.mean()) + shift, component="quiz", stderr=stderr, n=len(scores))
    with RunStore.create(run) as store:
        key = CheckpointKey(model, f"step{step}", step, f"sha256:{run.name}{model}{step}", model)
        store.record(key, [Measurement("lm_eval", {"task": "quiz"}, [reading])])
    folder = run / "lm_eval" / model / f"step{step}"
    folder.mkdir(parents=True)
    text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    file = folder / f"samples_quiz_{TIME}.jsonl{'.gz' if packed else ''}"
    file.write_bytes(gzip.compress(text) if packed else text)
    return scores


def gains(share: float, seed: int, count: int = 200) -> np.ndarray:
    """Positive, which is right, for about that share of documents."""
    return np.where(np.random.default_rng(seed).random(count) < share, 1.0, -3.0)


def test_runs_are_compared_pair_by_pair_where_documents_match(tmp_path: Path) -> None:
    one, other = gains(0.5, 1), gains(0.5, 1)
    other[:30] = 1.0
    first = keep(tmp_path / "a", "demo", 8, rows_of(one))
    second = keep(tmp_path / "b", "demo", 8, rows_of(other), packed=True)
    keep(tmp_path / "a", "demo", 4, rows_of(one))  # the last step that both have is compared
    (found,) = analyse(load([tmp_path / "a", tmp_path / "b"])).differences
    assert (found.first.step, found.second.model, found.documents) == (8, "demo (run b)", 200)
    won, lost = int((second > first).sum()), int((second < first).sum())
    assert won > 0 == lost
    assert found.difference == pytest.approx((second - first).mean())
    assert found.p_value == binomtest(lost, lost + won).pvalue == found.p_adjusted
    assert found.interval is not None and found.interval[0] > 0
    report = write_report([tmp_path / "a", tmp_path / "b"], out=tmp_path / "out").read_text(encoding="utf-8")
    (row,) = tables_of(report, "## Between runs")[2:]
    assert row[:4] == ["demo (run a)", "demo (run b)", "8", "quiz acc"] and row[-1] == "200"


def test_other_documents_are_not_paired_and_the_report_says_so(tmp_path: Path) -> None:
    one, other = gains(0.5, 1), gains(0.6, 2)
    keep(tmp_path / "a", "demo", 8, rows_of(one))
    keep(tmp_path / "b", "demo", 8, rows_of(other, first=500))
    (found,) = analyse(load([tmp_path / "a", tmp_path / "b"])).differences
    assert found.documents == 0 and found.interval is not None
    half = (found.interval[1] - found.interval[0]) / 2
    assert half == pytest.approx(
        1.96 * np.hypot(*(np.std(g > 0, ddof=1) / np.sqrt(200) for g in (one, other))), rel=0.01
    )


def test_losses_of_two_runs_are_paired_on_the_same_tokens(tmp_path: Path) -> None:
    record(tmp_path / "a", "demo", (1, 2), probes=("loss",))
    record(tmp_path / "b", "demo", (1, 2, 4), probes=("loss",), turn=1)
    (found,) = analyse(load([tmp_path / "a", tmp_path / "b"])).differences
    assert (found.first.step, found.measure, found.documents) == (2, "loss", 40)
    assert found.difference == pytest.approx(0.6, abs=0.05) and found.p_value is not None and found.p_value < 1e-6
    record(tmp_path / "c", "demo", (1, 2), probes=("loss",), sample="other")
    (found,) = analyse(load([tmp_path / "a", tmp_path / "c"])).differences
    assert found.documents == 0


def test_paired_differences() -> None:
    none = paired(np.zeros(50))
    assert none[1] == 1 and none[0] is not None and none[0][0] < 0 < none[0][1]  # Agresti and Min: no width of 0
    generator = np.random.default_rng(0)
    ends, p = paired(0.5 + generator.standard_normal(400))
    assert ends is not None and p is not None
    assert ends[0] < 0.5 < ends[1] and ends[1] - ends[0] == pytest.approx(2 * 1.96 / 20, rel=0.15) and p < 0.01
    alarms = sum((paired(generator.standard_normal(30))[1] or 0) <= 0.05 for _ in range(100))
    assert alarms <= 12


def test_a_series_with_all_answers_is_judged_on_them(tmp_path: Path) -> None:
    steps = range(1000, 9000, 1000)
    hard = np.random.default_rng(3).random(300)
    for place, step in enumerate(steps):
        level = 0.3 + 0.08 * min(place, 4) - 0.06 * max(0, place - 4)
        keep(tmp_path, "demo", step, rows_of(np.where(hard < level, 1.0, -3.0)))
    data = load([tmp_path])
    (verdict,) = analyse(data).tasks
    assert verdict.series.outcomes is not None and verdict.series.outcomes.shape == (8, 300)
    assert verdict.found.mcnemar_p is not None and verdict.saturated
    # A file of another measurement (its mean is not the stored score) proves nothing.
    keep(tmp_path, "demo", 9000, rows_of(np.where(hard < 0.3, 1.0, -3.0)), shift=0.05)
    again = load([tmp_path])
    assert again.by_document(Checkpoint("demo", "step9000", 9000), "quiz", "acc") is None
    (verdict,) = analyse(again).tasks
    assert verdict.series.outcomes is None


def test_a_file_that_cannot_be_read_is_one_line_and_nothing_else_is_lost(tmp_path: Path) -> None:
    for run in ("a", "b"):
        keep(tmp_path / run, "demo", 8, rows_of(gains(0.5, 1)))
    (file,) = (tmp_path / "b" / "lm_eval" / "demo" / "step8").iterdir()
    file.write_bytes(file.read_bytes()[:500])
    report = write_report([tmp_path / "a", tmp_path / "b"], out=tmp_path / "out").read_text(encoding="utf-8")
    warnings = report.split("## Warnings")[1].split("\n## ")[0]
    assert sum(file.name in line for line in warnings.splitlines()) == 1
    (row,) = tables_of(report, "## Between runs")[2:]
    assert row[-1] == "\N{EN DASH}"


def test_an_emergence_of_the_metric_alone(tmp_path: Path) -> None:
    # All answers become likelier from model to model; from the fifth on the right one more than the others.
    generator = np.random.default_rng(5)
    for place, size in enumerate(("10m", "30m", "100m", "300m", "1b", "3b", "10b", "30b")):
        level = -20 + 2 * place + generator.standard_normal((400, 5))
        keep(tmp_path, f"p-{size}", 1, rows_of(level[:, 4] + (6 if place > 3 else 0), others=level[:, :4]))
    (curve,) = analyse(load([tmp_path])).curves
    assert curve.found.label == "emergent" and curve.comparison is not None
    assert curve.comparison.curves["log_likelihood"].label == "smooth"
    assert curve.comparison.emergence == "metric-induced"
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "| quiz | metric-induced |" in report
