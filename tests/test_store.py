"""The run store: all of a measurement or nothing, and nothing silently."""

import os
import platform
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from lm_probe.probes import Reading, VectorReading
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore, StoreError, UserError, Value
from lm_probe.sweeps import _measurement_rows as rows_module
from lm_probe.sweeps import _store as store_module

KEY = CheckpointKey("tiny", "step8", 8, "sha256:aa", "models/tiny")
CONFIG = {"version": 1, "tokens": 50}


def _measurement(value: float = 1.5, config: dict[str, object] | None = None) -> Measurement:
    readings = [
        Reading("mean_cosine", value, 2, "block", stderr=0.25, n=40),
        Reading("mean_cosine", 0.1, 0, "embedding", n=40),
        VectorReading("spectrum", np.array([3.0, 2.0, 1e-300])),
    ]
    return Measurement("anisotropy", config or CONFIG, readings, Conditions("float32", "cpu", "sdpa", 7, 0.5, 10, 20))


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run") as store:
        store.record(KEY, [_measurement(1 / 3)])
    with RunStore(tmp_path / "run") as store:
        values = store.values()
        assert list(values.columns) == list(Value._fields)
        assert values.value.tolist() == [0.1, 1 / 3]
        row = values.iloc[1]
        assert tuple(row[list(Value._fields[:7])]) == ("tiny", "step8", 8, "anisotropy", "mean_cosine", 2, "block")
        assert (row.stderr, row.n) == (0.25, 40)
        ((address, vector),) = store.vectors("spectrum")
        assert vector.tolist() == [3.0, 2.0, 1e-300] and address["step"] == 8
        made = store.measurements().iloc[0]
        assert (made["dtype"], made.seed, made.bytes_read, made.identity) == ("float32", 7, 10, "sha256:aa")
        assert made.config == CONFIG and made.versions["torch"]
        assert (made.versions["python"], made.versions["numpy"]) == (platform.python_version(), np.__version__)


def test_finished_is_finished_only_under_the_same_checkpoint_config_and_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunStore.create(tmp_path) as store:
        assert not store.has(KEY, "anisotropy", CONFIG)
        store.record(KEY, [_measurement()])
        assert store.has(KEY, "anisotropy", dict(reversed(CONFIG.items())))
        assert not store.has(KEY, "loss", CONFIG)
        assert not store.has(KEY, "anisotropy", {**CONFIG, "tokens": 51})
        other = CheckpointKey("tiny", "step8", 8, "sha256:bb", "models/tiny")
        assert not store.has(other, "anisotropy", CONFIG)
        monkeypatch.setattr(rows_module, "recorded_versions", lambda: {**store_module.versions(), "python": "9.9"})
        assert store.has(KEY, "anisotropy", CONFIG)
        monkeypatch.setattr(store_module, "versions", lambda: {"lm-probe": "9.9"})
        assert not store.has(KEY, "anisotropy", CONFIG)


def test_the_newest_measurement_counts_and_tasks_do_not_hide_each_other(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        store.record(KEY, [_measurement(1.0)])
        store.record(KEY, [_measurement(2.0, {**CONFIG, "tokens": 51})])
        for task in ("a", "b"):
            store.record(KEY, [Measurement("lm_eval", {"task": task}, [Reading("acc", 0.5, component=task, n=4)])])
        values = store.values()
        assert values[values.layer == 2].value.tolist() == [2.0]
        assert values[values.probe == "lm_eval"].component.tolist() == ["a", "b"]


def test_weights_that_were_replaced_hide_those_before_them(tmp_path: Path) -> None:
    replaced = CheckpointKey("tiny", "step8", 8, "sha256:bb", "models/tiny")
    with RunStore.create(tmp_path) as store:
        store.record(KEY, [_measurement(1.0), Measurement("loss", CONFIG, [Reading("loss", 4.0)])])
        store.record(replaced, [_measurement(2.0)])
        values = store.values()
        assert values[values.layer == 2].value.tolist() == [2.0]
        assert "loss" not in set(values.probe)
        assert store.namesake(replaced) is None
        assert store.namesake(CheckpointKey("tiny", "step8", 8, "sha256:cc", "elsewhere/tiny")) == "models/tiny"


def test_what_was_asked_for_last_is_shown(tmp_path: Path) -> None:
    replaced = CheckpointKey("tiny", "step8", 8, "sha256:bb", "models/tiny")
    longer = {**CONFIG, "tokens": 51}

    def shown(store: RunStore) -> list[float]:
        return store.values()[lambda v: v.layer == 2].value.tolist()

    with RunStore.create(tmp_path) as store:
        store.record(KEY, [_measurement(1.0)])
        store.record(KEY, [_measurement(2.0, longer)])
        store.show(KEY, [("anisotropy", CONFIG)])
        assert shown(store) == [1.0]
        store.record(replaced, [_measurement(3.0)])
        assert shown(store) == [3.0]
        store.show(KEY, [("anisotropy", longer), ("loss", CONFIG)])
        assert shown(store) == [2.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_never_becomes_a_number(tmp_path: Path, bad: float) -> None:
    with RunStore.create(tmp_path) as store:
        with pytest.raises(UserError, match=r"mean_cosine at layer 2 \(block\) is not finite"):
            store.record(KEY, [_measurement(), _measurement(bad, {"other": 1})])
        assert store.values().empty and store.measurements().empty


def test_a_failure_stands_until_it_goes_right(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        store.record_failure("tiny", "step8", 8, "anisotropy", "it broke")
        store.record_failure("tiny", "step8", 8, "loss", "it broke")
        store.record_failure("tiny", "step1", 1, "", "does not open")
        store.record(KEY, [_measurement()])
        failures = store.failures()
        assert failures[["revision", "probe"]].values.tolist() == [["step1", ""], ["step8", "loss"]]


def test_a_run_of_before_a_table_was_added_is_read_and_written(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        store.record_failure("tiny", "step1", 1, "", "does not open")
    with closing(sqlite3.connect(tmp_path / "run.db")) as db:
        for table in ("earlier_failures", "left_out", "tokenizers", "unmade"):
            db.execute(f"DROP TABLE {table}")
    with RunStore(tmp_path) as store:
        assert len(store.failures()) == 1 and store.failures(earlier=True).empty and store.left_out().empty
    with RunStore.create(tmp_path) as store:
        store.record_failure("tiny", "step2", 2, "", "does not open")
        assert len(store.failures()) == 2


def test_a_full_disk_loses_nothing_and_is_named(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        store.record(KEY, [_measurement()])
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        big = Measurement("loss", CONFIG, [VectorReading("spectrum", np.zeros(100_000))])
        with pytest.raises(StoreError, match=r"the disk is full.*what was finished is safe.*same command again"):
            store.record(KEY, [big])
    with RunStore.create(tmp_path) as store:
        assert store.has(KEY, "anisotropy", CONFIG) and not store.has(KEY, "loss", CONFIG)
        assert len(store.vectors("spectrum")) == 1


def test_a_run_of_another_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    RunStore.create(tmp_path).close()
    with sqlite3.connect(tmp_path / "run.db") as db:
        db.execute("UPDATE about SET value = '99' WHERE key = 'schema'")
        db.execute("UPDATE about SET value = '7.1.0' WHERE key = 'made_by'")
    for opening in (RunStore, RunStore.create):
        with pytest.raises(UserError, match=r"made by lm-probe 7\.1\.0 with store format 99.*another --out"):
            opening(tmp_path)


def test_a_damaged_or_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.db").write_bytes(b"this is no database" * 100)
    for opening in (RunStore, RunStore.create):
        with pytest.raises(UserError, match=r"run\.db is damaged .* left as it is"):
            opening(tmp_path)
    assert (tmp_path / "run.db").read_bytes().startswith(b"this is no database")
    (tmp_path / "run.db").unlink()
    with sqlite3.connect(tmp_path / "run.db") as db:
        db.execute("CREATE TABLE songs (name)")
    for opening in (RunStore, RunStore.create):
        with pytest.raises(UserError, match="not made by lm-probe"):
            opening(tmp_path)


def test_a_run_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        RunStore(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "run.db").touch()  # what a kill leaves that came before the first table
    with pytest.raises(UserError, match="holds no values yet: lm-probe sweep SOURCE --out"):
        RunStore(tmp_path)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        store.record(KEY, [_measurement()])
        with RunStore(tmp_path) as reader:  # while a sweep is still writing
            assert len(reader.values()) == 2
            with pytest.raises(StoreError, match="readonly"):
                reader.record(KEY, [_measurement()])
    assert {path.name for path in tmp_path.iterdir()} == {"run.db"}
    RunStore(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == {"run.db"}
    with pytest.raises(UserError, match="is a file: give the run's folder"):
        RunStore(tmp_path / "run.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_run_that_may_only_be_read_is_read() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        store = RunStore.create(name)
        store.record(KEY, [_measurement()])
        assert len(store.values()) == 2  # also imports what nobody may not
        os.seteuid(65534)
        try:
            with pytest.raises(UserError, match=r"run\.db-wal that only a copy which may be written can show"):
                RunStore(name)
            os.seteuid(0)
            store.close()
            os.seteuid(65534)
            assert len(RunStore(name).values()) == 2
            with pytest.raises(UserError, match="cannot be written"):
                RunStore.create(name)
        finally:
            os.seteuid(0)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        RunStore.create(tmp_path / "file" / "run")


def test_a_run_without_values_has_the_columns_of_one_with_them(tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        empty = [store.values(), store.values(provenance=True), store.values(all_settings=True), store.failures()]
        store.record(KEY, [_measurement()])
        store.record_failure("tiny", "step8", 8, "loss", "NaN")
        full = [store.values(), store.values(provenance=True), store.values(all_settings=True), store.failures()]
    for one, other in zip(empty, full, strict=True):
        assert one.empty and len(other) and list(one.columns) == list(other.columns)
        assert one.dtypes["step"] == other.dtypes["step"] == "Int64"
