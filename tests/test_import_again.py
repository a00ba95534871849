"""Imports beside what the run holds already: files that come again, newer ones, other weights, a sweep's own."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lm_probe.probes import Reading
from lm_probe.reports._load import load
from lm_probe.reports._provenance import warnings
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore
from tests.importing import CSV, HARNESS_3, HARNESS_4, changed, imported, written


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    files = [written(tmp_path / "t.csv", CSV), written(tmp_path / "r.json", HARNESS_4)]
    _, first = imported(tmp_path / "run", *files)
    with RunStore(tmp_path / "run") as store:
        before = store.measurements()
    said, second = imported(tmp_path / "run", *files)
    with RunStore(tmp_path / "run") as store:
        after = store.measurements()
    assert not said
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newest_file_counts_in_any_order(tmp_path: Path, order: tuple[int, int]) -> None:
    newer = changed(HARNESS_4, date=1_800_000_000)
    newer["results"]["mmlu_law"]["acc,none"] = 0.9
    del newer["results"]["gsm8k"]
    files = [written(tmp_path / "older.json", HARNESS_4), written(tmp_path / "newer.json", newer)]
    said, values = imported(tmp_path / "run", *(files[place] for place in order))
    found = values.set_index(["component", "metric"]).value
    assert found["mmlu_law", "acc"] == 0.9 and len(found) == 5
    assert len(said) == 1 and "older.json" in said[0] and "mmlu, mmlu_law, mmlu_art" in said[0]
    assert not imported(tmp_path / "run", files[1])[0]


def test_files_of_one_checkpoint_add_up(tmp_path: Path) -> None:
    other = changed(HARNESS_3, results={"piqa": {"acc": 0.6}})
    _, values = imported(tmp_path / "run", written(tmp_path / "a.json", HARNESS_3), written(tmp_path / "b.json", other))
    assert set(values.component) == {"lambada_openai", "wikitext", "piqa"}


def test_imported_scores_stand_beside_what_a_sweep_measured(tmp_path: Path) -> None:
    def record(probe: str, config: dict[str, Any], *readings: Reading, identity: str = "0123456789abcdef") -> None:
        key = CheckpointKey("somebody/tiny", "step3000", 3000, identity, "somebody/tiny")
        with RunStore.create(tmp_path / "run") as store:
            assert store.namesake(key) is None
            store.record(key, [Measurement(probe, config, readings, Conditions("float32", "cpu", "sdpa"))])

    path = written(tmp_path / "r.json", HARNESS_3)
    imported(tmp_path / "run", path)
    record("loss", {}, Reading("loss", 4.0))
    record("lm_eval", {"task": "wikitext", "asks": "x"}, Reading("word_perplexity", 9.0, component="wikitext"))
    with RunStore(tmp_path / "run") as store:
        values = store.values().set_index(["probe", "metric"]).value
    assert values["loss", "loss"] == 4.0 and values["lm_eval", "ppl"] == 94.3
    assert values["lm_eval", "word_perplexity"] == 9.0 and ("lm_eval", "byte_perplexity") not in values
    written(path, changed(HARNESS_3, versions={}))  # another file, and what was measured still counts
    said, again = imported(tmp_path / "run", path)
    assert "wikitext: measured by a sweep of this run, which counts" in said[-1]
    assert again.set_index("metric").value["word_perplexity"] == 9.0
    assert not any("dtypes" in line for line in warnings(load([tmp_path / "run"])))  # a file names none
    record("loss", {}, Reading("loss", 3.0), identity="fedcba9876543210")  # new weights hide the old, not the file
    with RunStore(tmp_path / "run") as store:
        values = store.values().set_index(["probe", "metric"]).value
    assert values["loss", "loss"] == 3.0 and values["lm_eval", "ppl"] == 94.3


def test_scores_of_other_weights_are_not_mixed_in(tmp_path: Path) -> None:
    moved = changed(HARNESS_4)
    moved["config"]["model_sha"] = "fedcba9876543210"
    said, values = imported(
        tmp_path / "run", written(tmp_path / "a.json", HARNESS_4), written(tmp_path / "b.json", moved)
    )
    assert len(said) == 1 and "b.json: is of other weights (fedcba987654)" in said[0] and "another run" in said[0]
    assert set(values.identity) == {"0123456789abcdef"}
    elsewhere = [changed(HARNESS_3, config={"model_args": f"pretrained=/{folder}/tiny/step1"}) for folder in "ab"]
    elsewhere[1]["results"] = {"piqa": {"acc": 0.5}}
    files = [written(tmp_path / f"{number}.json", one) for number, one in enumerate(elsewhere)]
    said, _ = imported(tmp_path / "run", *files)
    assert said == [f"{files[1]}: /b/tiny is taken for the model tiny of /a/tiny"]
