"""What the run store holds: values with their full address, and how each was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lm_probe.model_adapters import UserError
from lm_probe.probes import Reading, VectorReading

TASK_PROBE = "lm_eval"
"""The probe that task scores are stored under."""

UNSEEN = "imported"
"""The identity of a checkpoint whose scores were read from a file that does not say which weights it had."""


_WITH = "+"  # between the identities of a model and of an adapter on it
_SHOWN = 12  # of a sha


def joint_identity(parts: Sequence[str]) -> str:
    """The identity of a model with adapters, from those of its parts; `UNSEEN` where one of them is not known."""
    return _WITH.join(parts) if all(parts) else UNSEEN


def short_identity(identity: str) -> str:
    """The beginning of an identity, and of each of its parts: enough to tell checkpoints of one run apart."""
    parts = (part.rpartition(":") for part in identity.split(_WITH))
    return _WITH.join(f"{kind}{colon}{sha[:_SHOWN]}" for kind, colon, sha in parts)


class Value(NamedTuple):
    """One number with its address."""

    model: str
    revision: str | None
    step: int | None
    probe: str
    metric: str
    layer: int | None
    site: str | None
    component: str | None
    value: float
    stderr: float | None
    n: int | None


@dataclass(frozen=True)
class CheckpointKey:
    """Which checkpoint a measurement belongs to."""

    model: str
    revision: str | None
    step: int | None
    identity: str
    source: str


@dataclass(frozen=True)
class Conditions:
    """How a measurement was made: recorded with it, but not part of what makes it the same measurement."""

    dtype: str = ""
    device: str = ""
    attention: str = ""
    seed: int = 0
    seconds: float = 0.0
    bytes_read: int = 0
    peak_memory: int = 0
    """Bytes: highest resident memory of the process, or highest allocation on the GPU."""
    details: dict[str, Any] = field(default_factory=dict)
    """What a report says of the measurement: the text, the context, how many documents."""


@dataclass(frozen=True)
class Measurement:
    """All that one probe says of one checkpoint: stored together or not at all."""

    probe: str
    config: dict[str, Any]
    """What was asked. Its hash, the checkpoint and the versions make a measurement the same or another."""
    readings: Sequence[Reading | VectorReading]
    conditions: Conditions = Conditions()
    versions: Mapping[str, str] | None = None
    """Of the packages that it depends on; None stands for those that are installed."""


def refuse_non_finite(probe: str, readings: Sequence[Reading | VectorReading]) -> None:
    """A NaN or an infinity never becomes a number.

    Raises:
        UserError: a reading is not finite.
    """
    for reading in readings:
        numbers = reading.value if isinstance(reading, Reading) else reading.values
        error = reading.stderr if isinstance(reading, Reading) else None
        if not np.isfinite(numbers).all() or not np.isfinite(error or 0.0):
            where = "" if reading.layer is None else f" at layer {reading.layer} ({reading.site})"
            raise UserError(
                f"{probe}: {reading.metric}{where} is not finite: the hidden states or logits overflow or hold NaN; "
                f"measure it in float32, or look at the checkpoint"
            )
