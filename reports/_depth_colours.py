"""Colours of the layers of a model, where each has a line of its own."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from lm_probe.reports._axes import NAMES

# Of middle lightness on light and dark pages, and no colour of `TIME`'s late end: steps and layers stay two scales.
DEPTH = LinearSegmentedColormap.from_list("depth", ["#8b9a1c", "#0f9a74", "#2f86d6", "#7d5fd3", "#b052b8"])


class DepthColours:
    """The colours of layers 0 to `last`."""

    def __init__(self, last: int) -> None:
        self._norm = Normalize(0, max(last, 1))

    def __call__(self, layer: int) -> Any:
        """The colour of a layer."""
        return DEPTH(self._norm(layer))

    def bar(self, figure: FigureBase, axes: Sequence[Axes]) -> None:
        """The scale of the colours, beside the panels."""
        bar = figure.colorbar(ScalarMappable(self._norm, DEPTH), ax=list(axes), shrink=0.9, pad=0.015)
        bar.ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        bar.set_label(NAMES["layer"])
        bar.outline.set_visible(False)
