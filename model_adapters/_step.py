"""The training step that a name says."""

import re

_STEP = re.compile(r"step[-_]?(\d+)")


def step_of(name: str | None) -> int | None:
    """The training step that a revision or folder name says: `step1000`, `step1000-tokens4B`."""
    found = _STEP.search(name or "")
    return int(found.group(1)) if found else None
