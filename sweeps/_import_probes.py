"""Probes in a result file of lm-eval: what the model type `hf-probe` measured, and why some have no values."""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from lm_probe.probes import Reading
from lm_probe.sweeps._imported import LARGEST, LARGEST_SCORE, FileContent, Origin
from lm_probe.sweeps._records import TASK_PROBE, Conditions, Measurement

_WRITTEN_BY = "hf-probe"
_DEEPEST = 1 << 20
"""More layers than any model has."""


def probe_measurements(
    rows: object,
    origin: Origin,
    asked: Mapping[str, Any],
    conditions: Conditions,
    versions: Mapping[str, str],
    content: FileContent,
) -> list[Measurement]:
    """A measurement for each probe; what is no number of one is counted among the file's problems.

    Args:
        rows: of `config.lm_probe`, one a number.
        origin: where they were read.
        asked: on whose prompts the probes looked: a curve through these and a sweep's text would show the texts.
        conditions: how the file says they were measured.
        versions: of the packages, as far as the file says.
        content: takes what is wrong.
    """
    probes: dict[str, dict[tuple[str, int | None, str | None, str | None], Reading]] = {}
    wrong = repeated = 0
    given: list[Any] = rows if isinstance(rows, list) else [] if rows is None else [rows]
    for row in given:
        reading = _reading(row) if isinstance(row, Mapping) else None
        if reading is None or not _is_name(row["probe"]) or row["probe"] == TASK_PROBE:
            wrong += 1
        else:
            place = reading.metric, reading.layer, reading.site, reading.component
            repeated += place in probes.setdefault(row["probe"], {})
            probes[row["probe"]][place] = reading
    if wrong:
        content.problems.append(f"{wrong} of {len(given)} rows of config.lm_probe are no values and are left out")
    if repeated:
        said = "1 row of config.lm_probe is" if repeated == 1 else f"{repeated} rows of config.lm_probe are"
        content.notices.append(f"{said} followed by another for the same place, and the last counts")
    known = {name: value for name, value in asked.items() if value is not None}
    details = {**conditions.details, "imported": origin._asdict()}
    made = Conditions(conditions.dtype, conditions.device, seed=conditions.seed, details=details)
    return [
        Measurement(probe, {"prompts": _WRITTEN_BY, **known}, list(places.values()), made, versions)
        for probe, places in probes.items()
    ]


def probe_failures(said: object, content: FileContent) -> dict[str, str]:
    """Why probes have no values, by their names; what is no reason is counted among the file's problems.

    Args:
        said: `config.lm_probe_errors`, a line for each.
        content: takes what is wrong.
    """
    given = said if isinstance(said, Mapping) else {} if said is None else {"": said}
    known = {
        probe: " ".join(reason.encode("utf-8", "replace").decode().split())
        for probe, reason in given.items()
        if _is_name(probe) and probe != TASK_PROBE and _is_name(reason) and reason.strip()
    }
    if len(known) < len(given):
        content.problems.append(
            f"{len(given) - len(known)} of {len(given)} entries of config.lm_probe_errors are no reasons and are left "
            f"out"
        )
    return known


def _reading(row: Mapping[str, Any]) -> Reading | None:
    """One number with its place; None where a part of it is something else."""
    names = [row.get(name) for name in ("site", "component")]
    layer, n = row.get("layer"), row.get("n")
    value, error = row.get("value"), row.get("stderr")
    if (
        not _is_name(row.get("metric"))
        or not _is_number(value)
        or not all(one is None or _is_name(one) for one in names)
    ):
        return None
    if not _is_whole(layer, _DEEPEST) or not _is_whole(n, LARGEST):
        return None
    if error is not None and not (_is_number(error) and error >= 0):
        error = None
    return Reading(row["metric"], float(row["value"]), layer, names[0], names[1], error, n)


def _is_whole(said: object, end: int) -> bool:
    return said is None or (type(said) is int and 0 <= said < end)


def _is_name(said: object) -> TypeGuard[str]:
    return isinstance(said, str) and bool(said) and "\0" not in said


def _is_number(said: object) -> bool:
    if isinstance(said, bool) or not isinstance(said, int | float):
        return False
    return abs(said) <= LARGEST_SCORE and not math.isnan(said)
