"""Text and numbers: nothing from outside is taken for markup, and every number has its form."""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.reports._data import Score
from lm_probe.reports._markdown import MISSING, escape, number, settings, with_error, with_interval
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore, import_scores
from tests.reporting import record

# First what matplotlib could not typeset: figures cut long names.
EVIL = "$\\frac$ x|y `code` <script>alert(1)</script> ![p](http://e.example/p.png) *b*\n\n# head\u202e \\"


def test_text_from_outside_is_no_markup(tmp_path: Path) -> None:
    record(tmp_path, f"_{EVIL}", (0, 1), text=EVIL, extra=[Reading("m|e", 0.5, component=EVIL, stderr=0.1, n=9)])
    with RunStore.create(tmp_path) as store:
        store.record_failure(f"_{EVIL}", "step2", 2, EVIL, EVIL)
        for step in (0, 1):  # probes of a plug-in or a file, and a task whose perplexity has a figure
            readings = [Reading(EVIL, 0.5 + step, component=EVIL)], [Reading("ppl", 9.0 - step, component=f"x]({EVIL}")]
            planted = [Measurement(EVIL, {}, readings[0]), Measurement("lm_eval", {"task": EVIL}, readings[1])]
            store.record(CheckpointKey("planted", f"step{step}", step, f"sha256:{step}", EVIL), planted)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    for markup in ("<script", "`code`", "x](", "![p]", "http://e.", "\n# head", "\u202e", "x|y", "m|e", "$"):
        assert markup not in report, markup
    for block in re.split(r"\n\n", report):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, block
    # The figures carry it as drawn letters, in valid XML.
    for path in (tmp_path / "figures").iterdir():
        assert b"<script" not in path.read_bytes()
        ElementTree.fromstring(path.read_bytes())
    assert "alert(1)" in report


@pytest.mark.parametrize(
    ("said", "safe"),
    [
        ("count_query_m10", "count_query_m10"),
        ("_a_ b__c", "\\_a\\_ b\\_\\_c"),
        ("a|b", "a&#124;b"),
        ("1 < 2 & 3", "1 &lt; 2 &amp; 3"),
        ("two\nlines\tand\x1b[0m", "two lines and\\[0m"),
        ("see www.e.example", "see www&#46;e.example"),
    ],
)
def test_escape(said: str, safe: str) -> None:
    assert escape(said) == safe


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        (None, MISSING),
        (Score(6.18123, 0.1612, 1), "6.181 ± 0.161"),
        (Score(0.5, 0.0, 1), "0.5000 ± 0"),
        (Score(123456.7, 12.0, 1), "123,457 ± 12"),
        (Score(-0.25, None, 1), "−0.2500"),  # noqa: RUF001
        (Score(5.0, 0.00012, 1), "5.0000 ± 0.0001"),
        (Score(9.9999, 1.0, 1), "10.00 ± 1.00"),
        (Score(12.34, 1.2e-9, 1), "12.34 ± 1.2e−09"),  # noqa: RUF001
    ],
)
def test_numbers_with_errors(score: Score | None, shown: str) -> None:
    assert with_error(score) == shown


@pytest.mark.parametrize(
    ("value", "ends", "shown"),
    [
        (0.18, (0.1686, 0.1914), "0.180 [0.169, 0.191]"),
        (3.27, (0.0, 7.8), "3.3 [0, 7.8]"),
        (-0.0004, (-0.051, 0.049), "0.00 [−0.05, 0.05]"),  # noqa: RUF001
        (119.0, (20.3, 400.2), "119 [20, 400]"),
        (-1e-9, (-2e-9, 0.0), "−1.00e−09 [−2.0e−09, 0]"),  # noqa: RUF001
        (0.05, (0.05, 0.05), "0.0500"),
        (1.69, None, "1.69"),
        (None, None, MISSING),
    ],
)
def test_numbers_with_intervals(value: float | None, ends: tuple[float, float] | None, shown: str) -> None:
    assert with_interval(value, ends) == shown


def test_settings_are_told_as_they_are_typed() -> None:
    assert settings({"words": "common", "n": 20, "strict": True, "m": [5, 10]}) == (
        "m = [5, 10], n = 20, strict = true, words = common"
    )


def test_numbers_of_any_size() -> None:
    assert [number(value, 3) for value in (0.0, 1.0, 0.000012, 12345678.0, 999.96)] == [
        *("0", "1.00", "1.20e−05", "1.23e+07", "1,000"),  # noqa: RUF001
    ]


def test_no_name_in_a_table_is_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    head = "model,step,task,metric,value,stderr"
    rows = [f"=cmd|' /C calc'!A0,{step},@task,acc,{-0.5 if step else 0.25},0.01" for step in (0, 1000)]
    (tmp_path / "t.csv").write_text("\n".join([head, *rows, "-model,0,+task,acc,0.5,0.01"]) + "\n")
    import_scores([tmp_path / "t.csv"], tmp_path / "run")
    write_report([tmp_path / "run"])
    cells = set()
    for path in (tmp_path / "run" / "tables").glob("*.csv"):
        with path.open(newline="") as file:
            cells |= {cell for row in csv.reader(file) for cell in row}
    assert {"'=cmd|' /C calc'!A0", "'@task", "'-model", "'+task", "-0.5"} <= cells
    assert {cell for cell in cells if cell.startswith(("=", "+", "-", "@"))} == {"-0.5", "-0.75"}
