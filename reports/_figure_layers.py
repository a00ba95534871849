"""Anisotropy over layers: a heat map of layer and step, and curves over depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lm_probe.reports._axes import NAMES, logged
from lm_probe.reports._data import Checkpoint, Place, Profiles, Score
from lm_probe.reports._intervals import Z
from lm_probe.reports._layers import all_layers, depths_differ, place_name
from lm_probe.reports._numbers import from_below
from lm_probe.reports._step_axis import StepAxis, short, step_axis
from lm_probe.reports._style import TIME, label, look, panels, tick_names

_MOST_ROWS = 9


def heat_map(profiles: Profiles, checkpoints: Mapping[str, Sequence[Checkpoint]], name: str = "mean cosine") -> Figure:
    """A panel a model with several checkpoints: sites upwards; a checkpoint without values is an empty column."""
    models = [model for model, known in checkpoints.items() if sum(one in profiles for one in known) > 1]
    figure, axes = panels(len(models), 2.9 if len(models) > 1 else 3.4)
    values = [score.value for profile in profiles.values() for score in profile.values()]
    # The range of the values, whatever it is: of .9 to 1 a scale from 0 would show nothing.
    around = 0.5 if min(values) == max(values) else 0.0
    norm = Normalize(min(values) - around, max(values) + around)
    for panel, model in zip(axes, models, strict=True):
        _map(panel, profiles, checkpoints[model], norm)
        label(panel.set_title(""), model)
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, shrink=0.9 if len(axes) < 5 else 0.4, pad=0.015)
    label(bar.ax.yaxis.label, name)
    bar.outline.set_visible(False)
    return figure


def _map(axes: Axes, profiles: Profiles, known: Sequence[Checkpoint], norm: Normalize) -> None:
    places = sorted({place for one in known for place in profiles.get(one, ())}, key=from_below)
    cells = np.full((len(places), len(known)), np.nan)
    for column, one in enumerate(known):
        for place, score in profiles.get(one, {}).items():
            cells[places.index(place), column] = score.value
    axes.imshow(cells, aspect="auto", origin="lower", norm=norm, cmap="viridis", interpolation="nearest")
    axes.grid(False)
    rows = _rows(len(cells) - 1)
    tick_names(axes.yaxis, rows, [place_name(places[row]) for row in rows])
    stepped = all(one.step is not None for one in known)
    columns = _some(len(known), 6 if stepped else 3)
    shown = [known[column] for column in columns]
    tick_names(axes.xaxis, columns, [one.when if one.step is None else short(one.step) for one in shown], 18)
    axes.set_xlabel(NAMES["columns" if stepped else "checkpoints"])


def _rows(last: int) -> list[int]:
    """Rows that get a label: every one, or every second, third, ...; always the first and the last."""
    stride = max(1, -(-last // (_MOST_ROWS - 1)))
    return [*(row for row in range(0, last, stride) if row == 0 or 2 * (last - row) > stride), last]


def _some(count: int, most: int) -> list[int]:
    """About evenly spaced places, first and last among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def depth_curves(profiles: Profiles, chosen: Mapping[str, Sequence[Checkpoint]], name: str = "mean cosine") -> Figure:
    """A panel a model: a quantity over layers, a line for each chosen checkpoint; hollow is what follows block L.

    Over relative depth where models are of different depth.
    """
    models = [model for model, known in chosen.items() if any(one in profiles for one in known)]
    figure, axes = panels(len(models), 2.7 if len(models) > 1 else 3.4, sharex=True, sharey=True)
    shown = [one for model in models for one in chosen[model] if one in profiles]
    colours = step_colours(shown)
    relative = depths_differ(profiles.values())
    for place, (panel, model) in enumerate(zip(axes, models, strict=True)):
        own = [one for one in chosen[model] if one in profiles]
        for index, one in enumerate(own):
            style = {"color": line_colour(one, colours, index), **line_emphasis(index, len(own))}
            layer_line(panel, profiles[one], relative, marker=look(index).marker, markersize=3.5, **style)
        label(panel.set_title(""), model)
        if place % 2 == 0:
            label(panel.set_ylabel(""), name)
        if place >= len(models) - 2:
            name_depth(panel, relative)
    add_step_bar(figure, axes, colours)
    return figure


def layer_line(
    panel: Axes, profile: Mapping[Place, Score], relative: bool, *, bars: bool = False, aside: float = 0.0, **style: Any
) -> Line2D:
    """A line over all sites; markers of what follows the last block, at whose layer it stands, are hollow.

    Args:
        panel: where it is drawn.
        profile: what is drawn.
        relative: over relative depth.
        bars: with 95 % intervals, where an error is known.
        aside: how far from its layer, so that intervals of several lines do not cover one another.
        style: of the line.
    """
    layers = all_layers(profile)
    across, values = [layer.across(relative) + aside for layer in layers], [layer.score.value for layer in layers]
    filled = [at for at, layer in enumerate(layers) if not layer.after]
    (line,) = panel.plot(across, values, markevery=filled, **style)
    for at, layer in enumerate(layers):
        if layer.after:
            panel.plot(across[at], values[at], **style | {"linestyle": ""}, markerfacecolor="none")
    errors = [Z * (layer.score.stderr or 0.0) for layer in layers]
    if bars and any(errors):
        look_of_bars = {"fmt": "none", "ecolor": style["color"], "elinewidth": 1.0, "capsize": 2}
        panel.errorbar(across, values, yerr=errors, **look_of_bars)
    return line


def name_depth(panel: Axes, relative: bool) -> None:
    """The axis of `layer_line`."""
    panel.set_xlabel(NAMES["relative" if relative else "layer"])
    if not relative:
        panel.xaxis.set_major_locator(MaxNLocator(9, integer=True))


def step_colours(shown: Sequence[Checkpoint]) -> tuple[StepAxis, LogNorm] | None:
    """Colours for steps on a log scale; None where there is nothing to tell apart."""
    steps = {one.step for one in shown if one.step is not None}
    if len(steps) < 2:
        return None
    axis = step_axis(steps)
    return axis, LogNorm(axis.place(min(steps)), axis.place(max(steps)))


def line_colour(one: Checkpoint, colours: tuple[StepAxis, LogNorm] | None, index: int) -> Any:
    """The colour of a checkpoint's line."""
    if colours is None or one.step is None:
        return look(index).color
    axis, norm = colours
    return TIME(norm(axis.place(one.step)))


def line_emphasis(index: int, count: int) -> dict[str, Any]:
    """First checkpoint dotted, last one heavy: the direction of time without colour."""
    if count > 1 and index == 0:
        return {"linestyle": (0, (1.5, 1.5)), "linewidth": 1.6}
    return {"linestyle": "-", "linewidth": 2.6 if count > 1 and index == count - 1 else 1.3}


def add_step_bar(figure: Figure, axes: Sequence[Axes], colours: tuple[StepAxis, LogNorm] | None) -> None:
    """The scale of the line colours."""
    if colours is None:
        return
    axis, norm = colours
    ticks = axis.ticks(7)
    bar = figure.colorbar(ScalarMappable(norm, TIME), ax=list(axes), shrink=0.9 if len(axes) < 5 else 0.4, pad=0.015)
    bar.set_ticks([axis.place(step) for step in ticks], labels=[short(step) for step in ticks])
    bar.minorticks_off()
    bar.set_label(logged(NAMES["step"]))
    bar.outline.set_visible(False)
