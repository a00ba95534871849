"""Condensation of neurons: how far each projection shares directions, and the cosines between its neurons."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lm_probe.reports._axes import NAMES, logged, plain_ticks
from lm_probe.reports._data import HeatMap
from lm_probe.reports._depth_colours import DepthColours
from lm_probe.reports._numbers import Grid
from lm_probe.reports._step_axis import step_axis
from lm_probe.reports._style import GREY, WIDTH, label, legend, look, panels

_COLUMNS = 4
_STEPS = 4
"""Labels under a panel of a quarter of the width."""
_CHANCE = 1.0

ByRole = Mapping[str, Grid]
"""Of one model: mean absolute cosine over chance, by role."""


def over_training(models: Mapping[str, ByRole], ylabel: str) -> Figure:
    """Rows of panels a model, a panel a role, a line a layer; all on one vertical axis."""
    rows = {model: -(-len(roles) // _COLUMNS) for model, roles in models.items()}
    figure = Figure(figsize=(WIDTH, sum(1.75 * count + 0.55 for count in rows.values())))
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.05, wspace=0.02, hspace=0.03)
    parts = figure.subfigures(len(models), 1, squeeze=False, height_ratios=[count + 0.3 for count in rows.values()])
    limits = _limits(models)
    for part, (model, roles) in zip(parts.flat, models.items(), strict=True):
        axes = list(part.subplots(rows[model], _COLUMNS, squeeze=False, sharey=True).flat)
        colours = DepthColours(max(place.layer for grid in roles.values() for place in grid.places))
        for panel, (role, grid) in zip(axes, roles.items(), strict=False):
            _lines(panel, grid, colours)
            _chance(panel, limits)
            panel.set_title(role.replace("_", " "), fontsize=9.5)
        for unused in axes[len(roles) :]:
            unused.remove()
        for panel in axes[max(len(roles) - _COLUMNS, 0) : len(roles)]:
            panel.xaxis.set_tick_params(labelbottom=True)
        label(part.suptitle("", fontsize=10.5), model)
        label(part.supylabel("", fontsize=9.5), logged(ylabel))
        part.supxlabel(logged(NAMES["step"]), fontsize=9.5)
        colours.bar(part, axes[: len(roles)])
    return figure


def _lines(panel: Axes, grid: Grid, colours: DepthColours) -> None:
    stepped = [row for row, one in enumerate(grid.checkpoints) if one.step is not None]
    steps = [step for row in stepped if (step := grid.checkpoints[row].step) is not None]
    axis = step_axis(steps)
    for column, place in enumerate(grid.places):
        values = grid.value[stepped, column]
        panel.plot(list(map(axis.place, steps)), values, color=colours(place.layer), linewidth=1.4)
    axis.apply(panel, _STEPS)


def over_layers(models: Mapping[str, ByRole], ylabel: str) -> Figure:
    """A panel a model with one checkpoint: a line a role over the layers."""
    figure, axes = panels(len(models), 3.0, sharey=True)
    roles = list(dict.fromkeys(role for own in models.values() for role in own))
    limits = _limits(models)
    named = {}
    for place, (panel, (model, own)) in enumerate(zip(axes, models.items(), strict=True)):
        for role, grid in own.items():
            style = look(roles.index(role))
            layers = [at.layer for at in grid.places]
            (named[role],) = panel.plot(
                layers, grid.value[-1], color=style.color, marker=style.marker, linestyle=style.linestyle
            )
        _chance(panel, limits)
        panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        panel.set_xlabel(NAMES["layer"])
        label(panel.set_title(""), model)
        if place % 2 == 0:
            label(panel.set_ylabel(""), logged(ylabel))
    names = [role.replace("_", " ") for role in named]
    legend(figure, list(named.values()), names, loc="outside lower center", ncols=4, handlelength=3.2)
    return figure


def _limits(models: Mapping[str, ByRole]) -> tuple[float, float]:
    seen = np.concatenate([grid.value.ravel() for own in models.values() for grid in own.values()])
    seen = seen[seen > 0]  # also what is known
    return min(float(seen.min(initial=_CHANCE)), _CHANCE) / 1.1, max(float(seen.max(initial=_CHANCE)), _CHANCE) * 1.1


def _chance(panel: Axes, limits: tuple[float, float]) -> None:
    """A logarithmic axis, since these are ratios, and on it the line of chance."""
    panel.axhline(_CHANCE, color=GREY, linewidth=1.0, linestyle="--")
    panel.set_yscale("log")
    panel.set_ylim(*limits)
    plain_ticks(panel.yaxis)


def neurons(maps: Sequence[HeatMap]) -> Figure:
    """Cosines between the neurons of a projection, sorted so that groups stand together; a panel a checkpoint."""
    columns = min(_COLUMNS, len(maps))
    figure, axes = panels(len(maps), min(WIDTH / columns + 0.3, 3.2), columns=columns)
    norm = Normalize(-1.0, 1.0)
    for panel, one in zip(axes, maps, strict=True):
        panel.imshow(_square(one), norm=norm, cmap="RdBu_r", interpolation="nearest")
        panel.grid(False)
        panel.set_xticks([])
        panel.set_yticks([])
        label(panel.set_title("", fontsize=9), f"{one.checkpoint.model}, {one.checkpoint.when}")
        label(panel.set_xlabel(""), f"block {one.layer}, {one.role.replace('_', ' ')}")
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
