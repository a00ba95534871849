"""Anisotropy over layers: a heat map of layer and step, and curves over depth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from lm_probe.reports._data import Checkpoint, Profiles
from lm_probe.reports._layers import literature_layers
from lm_probe.reports._step_axis import StepAxis, short, step_axis
from lm_probe.reports._style import TIME, label, look, panels, tick_names

_MOST_ROWS = 9


def heat_map(profiles: Profiles, checkpoints: Mapping[str, Sequence[Checkpoint]], name: str = "mean cosine") -> Figure:
    """A panel a model with several checkpoints: layers upwards; a checkpoint without values is an empty column."""
    models = [model for model, known in checkpoints.items() if sum(one in profiles for one in known) > 1]
    figure, axes = panels(len(models), 2.9 if len(models) > 1 else 3.4)
    values = [layer.score.value for one in profiles for layer in literature_layers(profiles[one])]
    # Up to 1 where the range says something; a series that stays near 0 would be one flat colour.
    norm = Normalize(min(0.0, *values), 1.0 if 0.5 < max(values) <= 1 else max(*values, 0.01))
    for place, (panel, model) in enumerate(zip(axes, models, strict=True)):
        _map(panel, profiles, checkpoints[model], norm)
        label(panel.set_title(""), model)
        if place % 2 == 0:
            panel.set_ylabel("layer")
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, shrink=0.9 if len(axes) < 5 else 0.4, pad=0.015)
    label(bar.ax.yaxis.label, name)
    bar.outline.set_visible(False)
    return figure


def _map(axes: Axes, profiles: Profiles, known: Sequence[Checkpoint], norm: Normalize) -> None:
    found = {one: literature_layers(profiles[one]) for one in known if one in profiles}
    names = {layer.layer: layer.name for layers in found.values() for layer in layers}
    cells = np.full((max(names) + 1, len(known)), np.nan)
    for column, one in enumerate(known):
        for layer in found.get(one, []):
            cells[layer.layer, column] = layer.score.value
    axes.imshow(cells, aspect="auto", origin="lower", norm=norm, cmap="viridis", interpolation="nearest")
    axes.grid(False)
    rows = _rows(len(cells) - 1)
    axes.set_yticks(rows, [names.get(row, str(row)) for row in rows])
    stepped = all(one.step is not None for one in known)
    columns = _some(len(known), 6 if stepped else 3)
    shown = [known[column] for column in columns]
    tick_names(axes.xaxis, columns, [one.when if one.step is None else short(one.step) for one in shown], 18)
    axes.set_xlabel("training step (a column a checkpoint)" if stepped else "checkpoint")


def _rows(last: int) -> list[int]:
    """Layers that get a label: every one, or every second, third, ...; always the first and the last."""
    stride = max(1, -(-last // (_MOST_ROWS - 1)))
    return [*(row for row in range(0, last, stride) if row == 0 or 2 * (last - row) > stride), last]


def _some(count: int, most: int) -> list[int]:
    """About evenly spaced places, first and last among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def depth_curves(profiles: Profiles, chosen: Mapping[str, Sequence[Checkpoint]], name: str = "mean cosine") -> Figure:
    """A panel a model: a quantity over relative depth, a line for each chosen checkpoint."""
    models = [model for model, known in chosen.items() if any(one in profiles for one in known)]
    figure, axes = panels(len(models), 2.7 if len(models) > 1 else 3.4, sharex=True, sharey=True)
    shown = [one for model in models for one in chosen[model] if one in profiles]
    colours = step_colours(shown)
    for place, (panel, model) in enumerate(zip(axes, models, strict=True)):
        own = [one for one in chosen[model] if one in profiles]
        for index, one in enumerate(own):
            layers = literature_layers(profiles[one])
            panel.plot(
                [layer.depth for layer in layers],
                [layer.score.value for layer in layers],
                color=line_colour(one, colours, index),
                marker=look(index).marker,
                markersize=3.5,
                **line_emphasis(index, len(own)),
            )
        label(panel.set_title(""), model)
        if place % 2 == 0:
            label(panel.set_ylabel(""), name)
        if place >= len(models) - 2:
            panel.set_xlabel("relative depth l / L")
    add_step_bar(figure, axes, colours)
    return figure


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
    bar.set_label("training step (log scale)")
    bar.outline.set_visible(False)
