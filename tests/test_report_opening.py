"""The first paragraph: how many checkpoints were measured and which were not, and what stands out in plain words."""

from pathlib import Path

import pytest

from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.reports._analysis import analyse
from lm_probe.reports._load import load
from lm_probe.reports._opening import opening
from lm_probe.reports._origins import origins
from lm_probe.sweeps import UNSEEN, CheckpointKey, Conditions, Measurement, RunStore
from tests.reporting import record

IMPORTED = {"imported": {"file": "r.json", "sha256": "0" * 64, "date": None}}


def keep(store: RunStore, step: int, identity: str, details: dict[str, object], probe: str = "loss") -> None:
    """One value of a checkpoint."""
    task = {"task": "piqa"} if probe == "lm_eval" else {}
    reading = Reading("acc", 0.5, component="piqa") if task else Reading("loss", 3.0)
    measurement = Measurement(probe, task, [reading], Conditions(details=details))
    store.record(CheckpointKey("demo", f"step{step}", step, identity, "demo"), [measurement])


def said(run: Path) -> str:
    data = load([run])
    return opening(data, analyse(data))


def test_what_was_not_measured_is_counted_apart_and_named(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        for step in (0, 1, 2):
            keep(store, step, f"sha256:{step}", {"copied_from": f"step{step}"} if step == 1 else {})
        keep(store, 4, "sha256:2", {"copied_from": "step2"})
        keep(store, 8, UNSEEN, IMPORTED, "lm_eval")
        keep(store, 2, UNSEEN, IMPORTED, "lm_eval")
        store.record_failure("demo", "step16", 16, "", "truncated")
        store.record_unmade("demo", "step16", 13)
        store.record_failure("demo", "step1", 1, "anisotropy", "NaN")
    found = origins(load([tmp_path]))
    assert [[one.step for one in group] for group in found] == [[0, 1, 2], [4], [8], [16], [], [2]]
    text = said(tmp_path)
    assert text.startswith("6 checkpoints of 1 model, 1 without any value: demo (6 checkpoints, steps 0 to 16). ")
    assert "Of demo step 8 all scores were read from files." in text
    assert "Some scores of demo step 2 were read from files." in text
    assert "byte for byte the same: demo step 4." in text
    failed = "14 measurements failed (13 of them because 1 checkpoint could not be measured to the end)"
    assert f"**{failed}**; nothing is known of demo step 16, see [Failures](#failures)." in text
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert text in report and "3 measured checkpoints, " in report


def test_a_run_of_files_alone_measured_nothing(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        for step in (1, 2):
            keep(store, step, UNSEEN, IMPORTED, "lm_eval")
    assert "None of them was seen here: all scores were read from files." in said(tmp_path)


def test_models_of_one_range_of_steps_stand_together(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        for place in range(30):
            for step in (100, 200) if place < 24 else (0, 200 + place % 5):
                key = CheckpointKey(f"m{place:02}", f"step{step}", step, f"sha256:{place}", "m")
                store.record(key, [Measurement("loss", {}, [Reading("loss", 3.0)])])
    text = said(tmp_path)
    start = "60 checkpoints of 30 models: 24 models (each 2 checkpoints, steps 100 to 200); m24, m29 (each "
    assert text.startswith(start)
    assert "; 2 more models (see [Provenance](#provenance)).\n\n" in text


def test_counting_and_the_height_of_anisotropy_are_said_in_plain_words(two_models: Path) -> None:
    text = said(two_models)
    peak = "Hidden states point most alike (highest mean cosine; 1 is one direction): demo-d16 after the final norm at"
    assert peak in text
    profiles = load([two_models]).profiles("anisotropy", "mean_cosine")
    value, one = max((score.value, one) for one, own in profiles.items() for score in own.values())
    assert f"{one.model} after the final norm at step {one.step} ({value:.3f})" in text
    assert "Counting in lists of two words, better than a blind answer: demo-d16 (most frequent word) and " in text
    assert "As many words, but more different ones, are harder for demo-d16 and demo-d32." in text


def test_a_peak_among_some_of_the_checkpoints_is_not_called_that_of_all(tmp_path: Path) -> None:
    record(tmp_path, "demo", (1, 2), probes=("anisotropy",), sample="one")
    assert "1 is one direction): demo" in said(tmp_path)
    record(tmp_path, "demo", (4,), probes=("anisotropy",), sample="two")
    assert "1 is one direction), among those measured alike: demo" in said(tmp_path)


def test_who_is_not_seen_to_count_is_named(tmp_path: Path) -> None:
    scores = {"mae": (3.0, 0.1), "mae_binary": (3.0, 0.1), "mae_gap": (0.0, 0.1)}
    scores |= {"floor_constant_mae": (2.0, 0.1), "floor_constant_mae_binary": (2.0, 0.1)}
    with RunStore.create(tmp_path) as store:
        readings = [
            Reading(metric, value, component="count_query_m5", stderr=error, n=200)
            for metric, (value, error) in scores.items()
        ]
        key = CheckpointKey("demo", None, None, "sha256:1", "demo")
        store.record(key, [Measurement("lm_eval", {"task": "count_query_m5"}, readings)])
    assert "Not seen to count, not even in lists of two words: demo." in said(tmp_path)


@pytest.mark.parametrize(
    ("probes", "what"),
    [
        (["loss"], "Loss was measured on 400 tokens of text (sampled from a.txt)."),
        (["anisotropy"], "Hidden states were measured on"),
        (["geometry", "loss"], "Loss and hidden states were measured on"),
        (["theirs"], "Theirs was measured on"),
    ],
)
def test_what_was_measured_on_text_is_named(tmp_path: Path, probes: list[str], what: str) -> None:
    with RunStore.create(tmp_path) as store:
        for probe in probes:
            keep(store, 0, "sha256:0", {"text": "a.txt", "tokens": 400}, probe)
        keep(store, 0, "sha256:0", {}, "head_spectrum")
    assert what in said(tmp_path)


def test_one_checkpoint_is_no_training_and_a_summary_explains_what_it_has(tmp_path: Path) -> None:
    record(tmp_path / "one", "demo", (8,), probes=("loss",))
    one = write_report([tmp_path / "one"]).read_text(encoding="utf-8")
    assert "change at the same steps" not in one and "![Loss](figures/loss.svg)" in one
    summary = one.split("## Summary\n\n")[1].split("\n\n")[0]
    assert summary == "Values are ± their standard error. The full table is [tables/summary.csv](tables/summary.csv)."
    record(tmp_path / "series", "demo", (8, 16), probes=("loss", "head_spectrum"))
    series = write_report([tmp_path / "series"]).read_text(encoding="utf-8")
    assert "change at the same steps" in series and "![Loss over training]" in series
    summary = series.split("## Summary\n\n")[1].split("\n\n")[0]
    assert "lowest loss is bold. Singular entropy (of the squared singular values) and effective rank" in summary
    assert "last site" not in summary and "counting" not in summary.lower()
