"""The run store: one SQLite file, one writer, one transaction for each (checkpoint, probe)."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._database import StoreError, explain, open_to_read, open_to_write, transaction
from lm_probe.sweeps._lock import make_folder
from lm_probe.sweeps._measurement_rows import NEXT, digest, failure_name, insert, set_aside
from lm_probe.sweeps._queries import (
    CONFIGS,
    CURRENT,
    MEASUREMENTS,
    MEASUREMENTS_ON_ANY_PROMPTS,
    NOT_SHOWN,
    ROWS,
    TASK_DETAILS,
    VALUES,
    VALUES_OF_ALL_SETTINGS,
    VECTORS,
)
from lm_probe.sweeps._records import UNSEEN, CheckpointKey, Measurement, refuse_non_finite
from lm_probe.sweeps._store_frames import failures_frame, measurements_frame, stepped_frame, values_frame
from lm_probe.sweeps._versions import versions

__all__ = ["RunStore", "StoreError"]

_THIS = (
    "FROM measurements m JOIN checkpoints c ON m.checkpoint = c.id WHERE c.model = ? AND c.revision = ? AND "
    "c.identity = ? AND m.probe = ? AND m.config_hash = ? AND m.versions_hash = ?"
)


def _this(checkpoint: CheckpointKey, probe: str, config: dict[str, Any]) -> tuple[str, ...]:
    which = (checkpoint.model, checkpoint.revision or "", checkpoint.identity)
    return (*which, probe, digest(config), digest(dict(versions())))


class RunStore:
    """The values of one run, and how each was measured. Reading changes nothing; `create` opens it for writing."""

    def __init__(self, path: str | Path) -> None:
        """Opens the store of a run for reading.

        Args:
            path: the run's folder, which holds `run.db`.

        Raises:
            UserError: the folder holds no run, or its `run.db` is damaged, of another version, or cannot be read.
        """
        self.folder = Path(path)
        self.file = self.folder / "run.db"
        if self.folder.is_file():
            raise UserError(f"{path} is a file: give the run's folder, e.g. {self.folder.parent}")
        if not self.file.is_file():
            raise UserError(f"{path} holds no run (no run.db): make one with lm-probe sweep SOURCE --out {path}")
        self._db = open_to_read(self.file)

    @classmethod
    def create(cls, path: str | Path) -> "RunStore":
        """Opens the store of a run for writing; makes the run where there is none yet.

        Raises:
            UserError: the folder cannot be written, or its `run.db` is damaged or of another version.
        """
        store = cls.__new__(cls)
        store.folder = make_folder(Path(path))
        store.file = store.folder / "run.db"
        store._db = open_to_write(store.file)
        return store

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def __enter__(self) -> "RunStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has(self, checkpoint: CheckpointKey, probe: str, config: dict[str, Any]) -> bool:
        """Whether this measurement is finished under the installed versions."""
        return bool(self._rows(f"SELECT 1 {_THIS}", _this(checkpoint, probe, config)))

    def has_named(self, model: str, revision: str | None, probe: str, config: dict[str, Any]) -> bool:
        """As `has`, of whichever weights had that name."""
        rows = self._rows(
            "SELECT 1 FROM measurements m JOIN checkpoints c ON m.checkpoint = c.id WHERE c.model = ? AND "
            "c.revision = ? AND m.probe = ? AND m.config_hash = ? AND m.versions_hash = ?",
            (model, revision or "", probe, digest(config), digest(dict(versions()))),
        )
        return bool(rows)

    def show(self, checkpoint: CheckpointKey, asked: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Makes finished measurements (probe, config) the ones that the run shows, where later ones hid them.

        A failure under other settings no longer stands then.
        """
        hidden = [
            row["id"]
            for probe, config in asked
            for row in self._rows(
                f"SELECT m.id {_THIS} AND m.asked NOT IN ({CURRENT})", _this(checkpoint, probe, config)
            )
        ]
        which = (checkpoint.model, checkpoint.revision or "")
        failed = {
            row["probe"] for row in self._rows("SELECT probe FROM failures WHERE (model, revision) = (?, ?)", which)
        }
        settled = failed & {failure_name(probe, config) for probe, config in asked}
        if hidden or settled:
            with self._transaction() as db:
                for measurement in hidden:
                    db.execute(f"UPDATE measurements SET asked = ({NEXT}) WHERE id = ?", (measurement,))
                for probe in settled:
                    db.execute("DELETE FROM failures WHERE (model, revision, probe) = (?, ?, ?)", (*which, probe))

    def set_aside(self, model: str, *, after: int) -> list[int]:
        """Shows no longer what was measured of a model after a step, until it is measured or asked for again.

        Returns:
            The steps of which something was shown, in rising order.
        """
        with self._transaction() as db:
            return set_aside(db, model, after)

    def namesake(self, checkpoint: CheckpointKey) -> str | None:
        """The source of other weights that are stored under this checkpoint's model and revision, if there are any."""
        rows = self._rows(
            "SELECT source FROM checkpoints WHERE model = ? AND revision = ? AND source != ? "
            "AND identity NOT IN (?, ?)",
            (checkpoint.model, checkpoint.revision or "", checkpoint.source, checkpoint.identity, UNSEEN),
        )
        return str(rows[0]["source"]) if rows else None

    def has_result_file(self, name: str) -> bool:
        """Whether a measurement was stored with this result file of lm-eval's, by its path below the run's folder."""
        return bool(self._rows("SELECT 1 FROM measurements WHERE json_extract(details, '$.result_file') = ?", (name,)))

    def record(self, checkpoint: CheckpointKey, measurements: Sequence[Measurement]) -> None:
        """Stores measurements of one checkpoint in one transaction, and forgets their earlier failures.

        A measurement under the same settings and versions as one that is there takes its place.

        Raises:
            UserError: a value is not finite, or the file cannot be written.
        """
        for measurement in measurements:
            refuse_non_finite(measurement.probe, measurement.readings)
        with self._transaction() as db:
            held = self.checkpoint_id(db, checkpoint)
            for measurement in measurements:
                insert(db, held, measurement)
                db.execute(
                    "DELETE FROM failures WHERE model = ? AND revision = ? AND probe IN ('', ?)",
                    (checkpoint.model, checkpoint.revision or "", failure_name(measurement.probe, measurement.config)),
                )

    def checkpoint_id(self, db: sqlite3.Connection, checkpoint: CheckpointKey) -> int:
        """The checkpoint's row, within a transaction; made where there is none."""
        row = db.execute(
            "INSERT INTO checkpoints (model, revision, step, identity, source) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET step = excluded.step RETURNING id",
            (checkpoint.model, checkpoint.revision or "", checkpoint.step, checkpoint.identity, checkpoint.source),
        ).fetchone()
        return int(row["id"])

    def record_failure(self, model: str, revision: str | None, step: int | None, probe: str, error: str) -> None:
        """Records what went wrong; `probe` is '' where the checkpoint did not open."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)", (model, revision or "", step, probe, error)
            )
            db.execute(
                "DELETE FROM earlier_failures WHERE (model, revision, probe) = (?, ?, ?)",
                (model, revision or "", probe),
            )

    def record_unmade(self, model: str, revision: str | None, measurements: int) -> None:
        """Records how many measurements failed with a checkpoint that did not open."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO unmade VALUES (?, ?, ?)", (model, revision or "", measurements))

    def clear_failure(self, model: str, revision: str | None, probe: str) -> None:
        """Forgets a failure that no longer stands."""
        with self._transaction() as db:
            db.execute(
                "DELETE FROM failures WHERE model = ? AND revision = ? AND probe = ?", (model, revision or "", probe)
            )

    def values(self, *, provenance: bool = False, all_settings: bool = False) -> pd.DataFrame:
        """Of each (checkpoint, probe or task) the values asked for last, with the columns of `Value`, in a fixed order.

        Args:
            provenance: add `identity`, which weights these were, and `settings`, a hash of what was asked (text,
                tokens, context, seed, dtype, ...; see `measurements`). Within a model and a probe only values of equal
                settings compare.
            all_settings: give what was asked for before too: the newest values of each checkpoint under each of its
                settings, also of weights that had the same name and of what is set aside, with the columns of
                `provenance` and `arguments`, those of the command line that give the settings; a text, and the
                documents and versions of a task, are kept as hashes alone: `settings` tells those apart.
        """
        if all_settings:
            return values_frame(self._rows(VALUES_OF_ALL_SETTINGS), self._rows(CONFIGS), beside=True)
        return values_frame(self._rows(VALUES), beside=provenance)

    def not_shown(self) -> int:
        """How many finished measurements only `values(all_settings=True)` gives."""
        return int(self._rows(NOT_SHOWN)[0]["number"])

    def value_rows(self, chunk: int = 50_000) -> Iterator[list[tuple[Any, ...]]]:
        """The same as plain tuples in no order, for runs of millions of values.

        Yields:
            Lists of up to `chunk` rows: measurement (see the column `id` of `measurements`), metric, layer, site,
            component, value, stderr, n; None for what is missing.
        """
        try:
            cursor = self._db.cursor()
            cursor.row_factory = None
            cursor.execute(ROWS)
            while rows := cursor.fetchmany(chunk):
                yield rows
        except sqlite3.Error as error:
            raise explain(self.file, error) from error

    def vectors(
        self, metric: str, only: tuple[str, str | None] | None = None, *, layers: bool = True
    ) -> list[tuple[dict[str, Any], Float[np.ndarray, " k"]]]:
        """All vectors of a metric, each with its address: the columns of `Value` before `value`, and its settings.

        Args:
            metric: name of the metric.
            only: model and revision of the one checkpoint to read.
            layers: also those of single layers, which are many.
        """
        model, revision = only or (None, None)
        found = []
        for row in self._rows(VECTORS, (metric, model, model, revision or "", layers)):
            address = dict(row)
            found.append((address, np.frombuffer(address.pop("data"), dtype="<f8")))
        return found

    def measurements(self, *, on_any_prompts: bool = False) -> pd.DataFrame:
        """How each current measurement was made: checkpoint, config, versions, dtype, device, seconds, bytes.

        Args:
            on_any_prompts: also those of `hf-probe` on other prompts than the run shows.
        """
        return measurements_frame(self._rows(MEASUREMENTS_ON_ANY_PROMPTS if on_any_prompts else MEASUREMENTS))

    def task_details(self, model: str, revision: str | None, task: str) -> dict[str, Any] | None:
        """What the current measurement of a task recorded beside its values; None where there is none."""
        rows = self._rows(TASK_DETAILS, (model, revision or "", task))
        return json.loads(rows[0]["details"]) if rows else None

    def failures(self, *, earlier: bool = False) -> pd.DataFrame:
        """What went wrong and has not gone right since: model, revision, step, probe, error, measurements.

        The last is how many measurements failed with it: several where a checkpoint did not open, else one.

        Args:
            earlier: instead what the last sweep over a checkpoint did not ask for again.
        """
        unmade = {(row[0], row[1], ""): row[2] for row in self._added("unmade", "model, revision, measurements")}
        marked = set(map(tuple, self._added("earlier_failures", "model, revision, probe")))
        rows = self._rows("SELECT * FROM failures ORDER BY model, step, revision, probe")
        return failures_frame(rows, unmade, marked, earlier=earlier)

    def left_out(self) -> pd.DataFrame:
        """Tasks that the last sweep over a checkpoint left out: model, revision, task and why."""
        rows = self._added("left_out", "model, nullif(revision, ''), task, why")
        return pd.DataFrame(rows, columns=["model", "revision", "task", "why"])

    def audit(self) -> pd.DataFrame:
        """What the audit found: model, revision, step, kind, line, and twin, the revision that a checkpoint equals."""
        rows = self._rows("SELECT model, nullif(revision, ''), step, kind, line, twin FROM audit ORDER BY rowid")
        return stepped_frame(rows, ["model", "revision", "step", "kind", "line", "twin"])

    def audited(self) -> pd.DataFrame:
        """How much the audit looked at: model, checkpoints, bytes_read. Without rows where there was no audit."""
        rows = self._rows("SELECT model, checkpoints, bytes_read FROM audited ORDER BY model")
        return pd.DataFrame(rows, columns=["model", "checkpoints", "bytes_read"])

    def _added(self, table: str, columns: str) -> list[sqlite3.Row]:
        """The rows of a table that runs of earlier versions do not have."""
        there = self._rows("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
        return self._rows(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3") if there else []

    def _rows(self, query: str, parameters: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise explain(self.file, error) from error

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._db, self.file)
