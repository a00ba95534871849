"""What the audit in front of a sweep said, as a run holds it."""

from collections.abc import Sequence
from typing import NamedTuple

from lm_probe.sweeps import RunStore


class Finding(NamedTuple):
    """Something that is wrong with a checkpoint."""

    revision: str | None
    step: int | None
    kind: str
    line: str
    twin: str | None
    """The revision of the checkpoint that it equals, where it does."""


class Audited(NamedTuple):
    """One model's checkpoints as its last audit saw them."""

    model: str
    checkpoints: int
    bytes_read: int
    findings: Sequence[Finding]


def read_audits(store: RunStore) -> list[Audited]:
    """The audits of a run, model by model; none where the run had none."""
    found = store.audit()
    rows = found.astype(object).where(found.notna(), None)
    by_model = {model: list(group.itertuples(index=False, name=None)) for model, group in rows.groupby("model")}
    return [
        Audited(model, checkpoints, size, [Finding(*row[1:]) for row in by_model.get(model, ())])
        for model, checkpoints, size in store.audited().itertuples(index=False, name=None)
    ]
