"""A checkpoint that holds the same as another of its series takes over that one's values, marked as copied."""

import json
from collections.abc import Sequence
from typing import Any

from lm_probe.sweeps._measurement_rows import NEXT, digest, failure_name
from lm_probe.sweeps._records import CheckpointKey
from lm_probe.sweeps._store import RunStore
from lm_probe.sweeps._versions import versions

_FOUND = """
    SELECT m.id, c.revision, m.details
    FROM measurements m JOIN checkpoints c ON m.checkpoint = c.id
    WHERE c.model = ? AND m.probe = ? AND m.config_hash = ? AND m.versions_hash = ?
          AND c.identity IN (SELECT value FROM json_each(?))
    ORDER BY m.asked DESC LIMIT 1
"""
_TAKEN_OVER = "probe, config_hash, config, versions_hash, versions, dtype, device, attention, seed"
_MEASUREMENT = f"""
    INSERT INTO measurements (checkpoint, {_TAKEN_OVER}, seconds, bytes_read, peak_memory, details, asked)
    SELECT ?, {_TAKEN_OVER}, 0, 0, 0, ?, ({NEXT}) FROM measurements WHERE id = ? RETURNING id
"""
_VALUES = "INSERT INTO vals SELECT ?, metric, layer, site, component, value, stderr, n FROM vals WHERE measurement = ?"
_VECTORS = "INSERT INTO vectors SELECT ?, metric, layer, site, component, data FROM vectors WHERE measurement = ?"


def copy_measurement(
    store: RunStore, key: CheckpointKey, probe: str, config: dict[str, Any], identities: Sequence[str]
) -> bool:
    """Gives a checkpoint what was measured of another of its series, if that holds the same and was asked the same.

    The copy costs nothing, and its details name the revision that was measured, as `copied_from`: on the Hub perhaps
    its own, where that was moved to another commit with the same content.

    Args:
        store: the run.
        key: the checkpoint that lacks the measurement.
        probe: the probe's name.
        config: what is asked.
        identities: of checkpoints that hold the same.
    """
    used = digest(dict(versions()))
    rows = store._rows(_FOUND, (key.model, probe, digest(config), used, json.dumps(list(identities))))
    if not rows:
        return False
    details = json.loads(rows[0]["details"])
    marked = json.dumps({"copied_from": rows[0]["revision"], **details}, sort_keys=True)
    with store._transaction() as db:
        copy = db.execute(_MEASUREMENT, (store.checkpoint_id(db, key), marked, rows[0]["id"])).fetchone()["id"]
        for taken in (_VALUES, _VECTORS):
            db.execute(taken, (copy, rows[0]["id"]))
        db.execute(
            "DELETE FROM failures WHERE model = ? AND revision = ? AND probe IN ('', ?)",
            (key.model, key.revision or "", failure_name(probe, config)),
        )
    return True


def identities_of(store: RunStore, key: CheckpointKey) -> list[str]:
    """The identities under which the run knows what this checkpoint holds: its own, and those of equal commits."""
    rows = store._rows(
        "SELECT DISTINCT other.identity FROM looks one JOIN looks other ON one.content = other.content "
        "AND one.model = other.model WHERE one.model = ? AND one.identity = ?",
        (key.model, key.identity),
    )
    return list(dict.fromkeys([key.identity, *(row["identity"] for row in rows)]))
