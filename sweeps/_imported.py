"""What a file of scores holds, before any of it is stored."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from lm_probe.probes import Reading
from lm_probe.sweeps._records import TASK_PROBE, CheckpointKey, Conditions, Measurement

LARGEST = 2**63
"""A step or a count from here on does not fit into a run, and is none."""

LARGEST_SCORE = 1e100
"""A score beyond it is none either: the squares of a report's statistics must not overflow."""

_SHOTS = re.compile(r"(?P<task>.+) \((?P<shots>\d{1,6})-shot\)", re.DOTALL)


class Origin(NamedTuple):
    """Where scores were read from."""

    file: str
    sha256: str
    date: float | None
    """When they were measured, in seconds since 1970; None where the file does not say."""


class Imported(NamedTuple):
    """All that a file says of one checkpoint."""

    checkpoint: CheckpointKey
    measurements: Sequence[Measurement]
    failures: Mapping[str, str] = MappingProxyType({})
    """By its name, why a probe has no values."""


@dataclass
class FileContent:
    """What a file holds, and what there is to say about it."""

    checkpoints: list[Imported] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    """What a reader should know."""
    problems: list[str] = field(default_factory=list)
    """What was refused."""


def address(task: str, shots: int | None) -> str:
    """What a run calls a task: `t`, or `t (5-shot)`.

    A task whose own name ends like that gets its shots behind it even where there are none, `t (5-shot) (0-shot)`: so
    the end of a name always says the shots. Where nobody says them the name does, see `shots_in_name`.
    """
    if shots is None or not (shots or _SHOTS.fullmatch(task)):
        return task
    return f"{task} ({shots}-shot)"


def shots_in_name(task: str) -> tuple[str, int | None]:
    """Task and shots of `t (5-shot)`; None where the name says none."""
    found = _SHOTS.fullmatch(task)
    return (found["task"], int(found["shots"])) if found else (task, None)


def task_measurement(
    origin: Origin,
    task: str,
    shots: int | None,
    scores: Sequence[Reading],
    asked: Mapping[str, Any],
    conditions: Conditions = Conditions(),  # noqa: B008 (frozen)
    versions: Mapping[str, str] | None = None,
) -> Measurement:
    """The scores of one task, each shot number a task of its own, so that no curve goes through two of them.

    Args:
        origin: where the scores were read.
        task: its name in lm-eval.
        shots: solved examples in the prompt; None where nobody says.
        scores: without a component.
        asked: what else decides whether two scores compare; what is not known is None.
        conditions: how the file says they were measured.
        versions: of the packages, as far as the file says.
    """
    name = address(task, shots)
    known = {key: value for key, value in {"num_fewshot": shots, **asked}.items() if value is not None}
    details = {**conditions.details, "imported": origin._asdict()}
    return Measurement(
        TASK_PROBE,
        {"task": name, **known},
        [score._replace(component=name) for score in scores],
        Conditions(conditions.dtype, conditions.device, seed=conditions.seed, details=details),
        versions or {},
    )
