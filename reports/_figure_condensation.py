"""Condensation of neurons: cosines between the neurons of a projection, sorted so that groups stand together."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lm_probe.reports._data import HeatMap
from lm_probe.reports._style import label, panels

_COLUMNS = 4


def condensation(maps: Sequence[HeatMap]) -> Figure:
    """A panel a projection, a model's in rows of their own where that goes."""
    roles = len({one.role for one in maps})
    columns = next((number for number in range(_COLUMNS, 1, -1) if roles % number == 0), _COLUMNS)
    figure, axes = panels(len(maps), 2.0 * _COLUMNS / columns, columns=columns)
    norm = Normalize(-1.0, 1.0)
    for panel, one in zip(axes, maps, strict=True):
        panel.imshow(_square(one), norm=norm, cmap="RdBu_r", interpolation="nearest")
        panel.grid(False)
        panel.set_xticks([])
        panel.set_yticks([])
        label(panel.set_title("", fontsize=9), one.checkpoint.model)
        panel.set_xlabel(one.role.replace("_", " "))
    bar = figure.colorbar(ScalarMappable(norm, "RdBu_r"), ax=axes, shrink=0.9 if len(maps) <= columns else 0.4)
    bar.set_label("cosine")
    bar.outline.set_visible(False)
    return figure


def _square(one: HeatMap) -> np.ndarray:
    """The full matrix of n neurons from its n (n - 1) / 2 cosines."""
    size = round((1 + np.sqrt(1 + 8 * len(one.cosines))) / 2)
    square = np.eye(size)
    rows, columns = np.triu_indices(size, 1)
    square[rows, columns] = square[columns, rows] = one.cosines
    return square
