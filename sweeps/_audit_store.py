"""The audit's tables of the run store: what was seen of each checkpoint, and what was found."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from lm_probe.sweeps._look import Finding, Head, Look
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._store import RunStore


def find_look(store: RunStore, visit: Visit, identity: str) -> Look | None:
    """What an earlier sweep saw of a checkpoint, if it was the same; None also where it did not look at tokenizers."""
    rows = store._rows(
        "SELECT content, head, sketch, faults, bytes_read, tensors, tokenizers.digest AS tokenizer FROM looks "
        "JOIN layouts ON layout = layouts.digest JOIN tokenizers USING (model, revision) "
        "WHERE model = ? AND revision = ? AND identity = ?",
        (visit.model, visit.revision or "", identity),
    )
    if not rows:
        return None
    row = rows[0]
    tensors = json.loads(row["tensors"])
    if any(len(tensor) < 3 for tensor in tensors):  # seen when types were not kept yet
        return None
    if row["tokenizer"] and ":" not in row["tokenizer"]:  # seen when tokenizers were compared by their files
        return None
    layout = frozenset((name, tuple(shape), dtype) for name, shape, dtype in tensors)
    head = None if row["head"] is None else Head(row["head"], np.frombuffer(row["sketch"], dtype="<f4"))
    faults = tuple((kind, line) for kind, line in json.loads(row["faults"]))
    return Look(visit, identity, row["content"], layout, head, faults, row["bytes_read"], row["tokenizer"])


def keep_look(store: RunStore, look: Look) -> None:
    """Keeps a look in the place of an earlier one."""
    tensors = json.dumps(sorted(look.layout))
    layout = hashlib.sha256(tensors.encode()).hexdigest()
    digest, sketch = look.head if look.head is not None else (None, None)
    blob = None if sketch is None else np.ascontiguousarray(sketch, dtype="<f4").tobytes()
    with store._transaction() as db:
        db.execute("INSERT OR IGNORE INTO layouts VALUES (?, ?)", (layout, tensors))
        db.execute(
            "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                look.visit.model,
                look.visit.revision or "",
                look.identity,
                look.content,
                layout,
                digest,
                blob,
                json.dumps(look.faults),
                look.bytes_read,
            ),
        )
        which = (look.visit.model, look.visit.revision or "")
        db.execute("INSERT OR REPLACE INTO tokenizers VALUES (?, ?, ?)", (*which, look.tokenizer or ""))


def keep_findings(store: RunStore, looks: Sequence[Look], findings: Sequence[Finding]) -> None:
    """Keeps what an audit found in the place of what earlier ones found of the same models."""
    with store._transaction() as db:
        for model in dict.fromkeys(look.visit.model for look in looks):
            own = [look for look in looks if look.visit.model == model]
            db.execute("DELETE FROM audit WHERE model = ?", (model,))
            db.execute(
                "INSERT OR REPLACE INTO audited VALUES (?, ?, ?)",
                (model, len(own), sum(look.bytes_read for look in own)),
            )
        for model, revision, step, kind, line, twin in findings:
            db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", (model, revision or "", step, kind, line, twin))
