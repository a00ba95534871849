"""The report's section on the audit: whether the checkpoints are what their names say."""

from collections.abc import Iterator

from lm_probe.reports._data import Checkpoint, Made, RunData
from lm_probe.reports._markdown import counted, escape, fold, step_cell, table
from lm_probe.reports._provenance import memory
from lm_probe.reports._sections import ROWS

HEADER = ("model", "revision", "step", "kind", "twin", "line")


def rows(data: RunData) -> Iterator[tuple[object, ...]]:
    """Findings for the table beside the report."""
    for audit in data.audits:
        for one in audit.findings:
            yield audit.model, one.revision, one.step, one.kind, one.twin, one.line


def section(data: RunData) -> list[str]:
    """What was looked at, what was found, and which checkpoints carry another's values; empty without an audit."""
    if not data.audits:
        return []
    looked = sum(audit.checkpoints for audit in data.audits)
    found = sum(len(audit.findings) for audit in data.audits)
    size = memory(sum(audit.bytes_read for audit in data.audits))
    parts = [
        f"Before they were measured, headers and output head of {counted(looked, 'checkpoint')} were looked at ({size} "
        f"read): {counted(found, 'finding') if found else 'nothing found'}. Faults outside the head that change no "
        "shape go unseen.",
        fold(
            "What was looked for",
            "Missing and truncated files, tensors that do not fit the config or the other steps, a tokenizer unlike "
            "the other steps', NaN and Inf in the head, copies, and heads that lie elsewhere than their step, "
            "exchanged neighbours among them where nine steps or more surround them.",
        ),
    ]
    shown = [
        [escape(audit.model), step_cell(Checkpoint(audit.model, one.revision, one.step)), one.kind, escape(one.line)]
        for audit in data.audits
        for one in audit.findings
    ]
    if shown:
        parts.append(table(["model", "step", "kind", "what was found"], shown[:ROWS], text_columns=4))
    if len(shown) > ROWS:
        parts.append(f"{ROWS} of {len(shown)} findings are shown; all are in [tables/audit.csv](tables/audit.csv).")
    return parts + _copied(data)


def _copied(data: RunData) -> list[str]:
    copies: dict[tuple[Checkpoint, str], list[Made]] = {}
    for row in data.made:
        if row.details.get("copied_from", row.checkpoint.revision) != row.checkpoint.revision:
            copies.setdefault((row.checkpoint, str(row.details["copied_from"])), []).append(row)
    lines = [
        f"- {escape(one.model)} {escape(one.when)} was not measured: it holds the same as {escape(origin)}, byte for "
        f"byte, and carries that one's values ({counted(len(rows), 'measurement')}). Take the two for one checkpoint."
        for (one, origin), rows in copies.items()
    ]
    return ["\n".join(lines)] if lines else []
