"""Where a checkpoint's numbers come from: measured, carried over from a copy, read from a file, or nowhere."""

from typing import NamedTuple

from lm_probe.reports._data import Checkpoint, Made, RunData


class Origins(NamedTuple):
    """The checkpoints of a report, each in one list, in the order of the report."""

    measured: list[Checkpoint]
    """Something was measured on them."""
    copied: list[Checkpoint]
    """They hold the same as another, byte for byte, and carry that one's values."""
    imported: list[Checkpoint]
    """All that is known of them was read from files."""
    failed: list[Checkpoint]
    """They have no number at all."""
    unlike: list[Checkpoint]
    """All that is known of them was measured otherwise than the rest, and is left out."""
    partly_imported: list[Checkpoint]
    """Those of `measured` and `copied` of which some scores were read from files."""


def origins(data: RunData) -> Origins:
    """Sorts all checkpoints by where their numbers come from."""
    made: dict[Checkpoint, set[str]] = {}
    for row in data.made:
        made.setdefault(row.checkpoint, set()).add(_origin(row))
    unlike = {one for odd in data.left_out for one in odd.checkpoints}
    found = Origins([], [], [], [], [], [])
    for one in (one for known in data.checkpoints.values() for one in known):
        ways = made.get(one, set())
        if "measured" in ways:
            found.measured.append(one)
        elif "copied" in ways:
            found.copied.append(one)
        elif "imported" in ways:
            found.imported.append(one)
        elif one in unlike:
            found.unlike.append(one)
        else:
            found.failed.append(one)
        if "imported" in ways and len(ways) > 1:
            found.partly_imported.append(one)
    return found


def _origin(row: Made) -> str:
    if "imported" in row.details:
        return "imported"
    copied_from = row.details.get("copied_from", row.checkpoint.revision)
    return "measured" if copied_from == row.checkpoint.revision else "copied"
