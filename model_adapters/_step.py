"""The training step that a name says."""

import re

_STEP = re.compile(r"step[-_]?(\d+)")
_IN_A_SERIES = re.compile(r"(?:step|checkpoint-)(\d+)")  # the second as transformers' Trainer names its folders


def step_of(name: str | None) -> int | None:
    """The training step that a revision or folder name says: `step1000`, `step1000-tokens4B`, `checkpoint-1000`."""
    found = _IN_A_SERIES.fullmatch(name or "") or _STEP.search(name or "")
    return int(found.group(1)) if found else None


def step_in_series(name: str | None) -> int | None:
    """The training step of a name that stands for a checkpoint of a local series: `step1000`, `checkpoint-1000`."""
    found = _IN_A_SERIES.fullmatch(name or "")
    return int(found.group(1)) if found else None
