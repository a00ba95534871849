"""Axes of every figure, on the page and in drawings alike: what they are called, and when they are logarithmic."""

import numpy as np
from jaxtyping import Float
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator

NAMES = {
    "step": "training step",
    "columns": "training step (a column a checkpoint)",
    "checkpoints": "checkpoint (a column each)",
    "layer": "layer",
    "relative": "relative depth l / L",
    "rank": "rank i",
    "parameters": "parameters",
    "tokens": "tokens",
    "m": "vocabulary size m (different words in the list)",
}
LOG = ", log scale"
"""Follows the name of an axis."""
_DECADES = 100.0
FEW_DECADES = 200
"""Range of a logarithmic axis below which 1, 2 and 5 of each decade have their number."""
_FEWEST_TICKS = 3


def logged(name: str) -> str:
    """The name of an axis that is logarithmic."""
    return name + LOG


def spans_decades(values: Float[np.ndarray, " k"]) -> bool:
    """Whether values are so far apart that on a linear axis the small ones are one line; all must be positive."""
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() > _DECADES * known.min())


def plain_ticks(axis: Axis) -> None:
    """Numbers in place of powers of ten, of which a short axis would have two; evenly spaced where 1, 2, 5 are few."""
    low, high = axis.get_view_interval()
    some = LogLocator(subs=(1.0, 2.0, 5.0))
    seen = [tick for tick in some.tick_values(low, high) if low <= tick <= high]
    axis.set_major_locator(some if len(seen) >= _FEWEST_TICKS else MaxNLocator(5))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")
