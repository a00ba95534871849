"""What a probe gives: numbers and vectors with their place in the model."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Reading(NamedTuple):
    """One measured number and where in the model it was measured; the checkpoint is added by who stores it."""

    metric: str
    value: float
    layer: int | None = None
    site: str | None = None
    component: str | None = None
    stderr: float | None = None
    n: int | None = None


class VectorReading(NamedTuple):
    """A measured vector (a spectrum, a sum for each document), float64."""

    metric: str
    values: Float[np.ndarray, " k"]
    layer: int | None = None
    site: str | None = None
    component: str | None = None
