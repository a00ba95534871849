"""A measurement in the run store: what it is known by, and its rows."""

import hashlib
import json
import sqlite3
from typing import Any

import numpy as np

from lm_probe.probes import Reading
from lm_probe.sweeps._records import Measurement
from lm_probe.sweeps._versions import recorded_versions, versions

NEXT = (
    "SELECT 1 + max(coalesce((SELECT max(asked) FROM measurements), 0), "
    "coalesce((SELECT -min(asked) FROM measurements), 0))"
)
"""The place of what is asked for now among all that was, also of what is set aside (its number is negative)."""
_SAME = "checkpoint = ? AND probe = ? AND config_hash = ? AND versions_hash = ?"


def digest(config: dict[str, Any]) -> str:
    """A short hash of a configuration that does not depend on the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def failure_name(probe: str, config: dict[str, Any]) -> str:
    """What a failure is recorded under: the probe, or the task where there is one."""
    return str(config.get("task", probe))


def set_aside(db: sqlite3.Connection, model: str, after: int) -> list[int]:
    """Hides the measurements of a model after a step and forgets its failures there, within a transaction.

    Args:
        db: the run.
        model: its name.
        after: the last step that stays.

    Returns:
        The steps of which something is hidden or forgotten, in rising order.
    """
    where = (model, after)
    hidden = db.execute(
        "UPDATE measurements SET asked = -asked WHERE asked > 0 AND checkpoint IN "
        "(SELECT id FROM checkpoints WHERE model = ? AND step > ?) RETURNING "
        "(SELECT step FROM checkpoints WHERE id = checkpoint) AS step",
        where,
    ).fetchall()
    forgotten = db.execute("DELETE FROM failures WHERE model = ? AND step > ? RETURNING step", where).fetchall()
    return sorted({int(row["step"]) for row in (*hidden, *forgotten)})


def insert(db: sqlite3.Connection, checkpoint: int, measurement: Measurement) -> None:
    """Stores a measurement with all its values, within a transaction; one that is the same gives way to it.

    Args:
        db: the run.
        checkpoint: its row there.
        measurement: what was measured.
    """
    made = measurement.conditions
    config = measurement.config
    used = dict(versions() if measurement.versions is None else measurement.versions)
    recorded = recorded_versions() if measurement.versions is None else used
    same = (checkpoint, measurement.probe, digest(config), digest(used))
    for earlier in db.execute(f"SELECT id FROM measurements WHERE {_SAME}", same).fetchall():
        for table, column in (("vals", "measurement"), ("vectors", "measurement"), ("measurements", "id")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (earlier["id"],))
    row = db.execute(
        "INSERT INTO measurements (checkpoint, probe, config_hash, config, versions_hash, versions, dtype, device, "
        "attention, seed, seconds, bytes_read, peak_memory, details, asked) "
        f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ({NEXT})) RETURNING id",
        (
            checkpoint,
            measurement.probe,
            digest(config),
            json.dumps(config, sort_keys=True, allow_nan=False),  # SQLite, which reads it, knows no NaN
            digest(used),
            json.dumps(dict(recorded), sort_keys=True),
            made.dtype,
            made.device,
            made.attention,
            made.seed,
            made.seconds,
            made.bytes_read,
            made.peak_memory,
            json.dumps(made.details, sort_keys=True),
        ),
    ).fetchone()
    for reading in measurement.readings:
        where = (row["id"], reading.metric, reading.layer, reading.site, reading.component)
        if isinstance(reading, Reading):
            db.execute(
                "INSERT INTO vals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*where, float(reading.value), reading.stderr, reading.n),
            )
        else:
            data = np.ascontiguousarray(reading.values, dtype="<f8").tobytes()
            db.execute("INSERT INTO vectors VALUES (?, ?, ?, ?, ?, ?)", (*where, data))
