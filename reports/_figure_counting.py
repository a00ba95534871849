"""Counting over the vocabulary size m: the full list against its binary control, and the gap between them."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lm_probe.reports._axes import NAMES
from lm_probe.reports._counting import Cell
from lm_probe.reports._data import Score
from lm_probe.reports._intervals import interval
from lm_probe.reports._style import GREY, Look, label, legend, look, panels

_BLIND: tuple[tuple[str, Any, int], ...] = (("blind in the full list", ":", 0), ("blind in the control", "-.", 1))
_SHIFT = 0.07  # keeps two intervals at one m from covering each other


def arms(cells: Mapping[str, Sequence[Cell]], models: Sequence[str], metric: str, ylabel: str) -> Figure:
    """A panel a model in its colour: full and binary over m with 95 % intervals, and what a blind answer reaches.

    Args:
        cells: of each model, ascending in m.
        models: all models of the report, whose place decides their look.
        metric: name of the quantity in the full arm.
        ylabel: quantity and unit.
    """
    figure, axes, places = _panels(cells, ylabel)
    named: dict[str, Artist] = {}
    floors = [[floor and floor.value for floor in _floors(cell)] for own in cells.values() for cell in own]
    same = all(full == control for full, control in floors)
    for panel, (model, own) in zip(axes, cells.items(), strict=True):
        style = look(models.index(model))
        at = [float(places[cell.m]) for cell in own]
        full, binary = [cell.full for cell in own], [cell.binary for cell in own]
        _series(panel, [x - _SHIFT for x in at], full, metric, style)
        _series(panel, [x + _SHIFT for x in at], binary, f"{metric}_binary", style)
        for name, dashes, arm in _BLIND[:1] if same else _BLIND:
            points = [(x, floor.value) for x, cell in zip(at, own, strict=True) if (floor := _floors(cell)[arm])]
            if points:
                level = "_" if len(points) == 1 else ""  # one point is no line
                panel.plot(*zip(*points, strict=True), color=style.color, linestyle=dashes, linewidth=1.2, marker=level)
                named["blind answer" if same else name] = Line2D([], [], color=GREY, linestyle=dashes, linewidth=1.2)
    # After all are drawn: the panels share the axis, and a limit that is set no longer grows.
    axes[0].set_ylim(bottom=0)
    marked: dict[str, Any] = {"color": GREY, "marker": "o"}
    named = {
        "full list (m words)": Line2D([], [], **marked),
        "binary control (2 words)": Line2D([], [], linestyle="--", markerfacecolor="none", **marked),
    } | named
    legend(figure, list(named.values()), list(named), loc="outside upper center", ncols=2 if len(named) > 3 else 3)
    return figure


def _floors(cell: Cell) -> tuple[Score | None, Score | None]:
    """What a blind answer reaches in the full list and in the control."""
    return cell.floor, cell.binary_floor


def gaps(cells: Mapping[str, Sequence[Cell]], models: Sequence[str], metric: str) -> Figure:
    """A panel a model: the paired gap over m with 95 % intervals, and the line of no gap."""
    figure, axes, places = _panels(cells, "full less control (words)")
    for panel, (model, own) in zip(axes, cells.items(), strict=True):
        panel.axhline(0, color=GREY, linewidth=1.0)
        at, found = [float(places[cell.m]) for cell in own], [cell.gap for cell in own]
        _series(panel, at, found, f"{metric}_gap", look(models.index(model)))
    return figure


def _panels(cells: Mapping[str, Sequence[Cell]], ylabel: str) -> tuple[Figure, Sequence[Axes], dict[int, int]]:
    sizes = sorted({cell.m for own in cells.values() for cell in own})
    figure, axes = panels(len(cells), 2.7 if len(cells) > 1 else 3.2, sharey=True)
    for index, (panel, (model, own)) in enumerate(zip(axes, cells.items(), strict=True)):
        panel.set_xticks(range(len(sizes)), [str(m) for m in sizes])
        panel.set_xlim(-0.4, len(sizes) - 0.6)
        label(
            panel.set_title(""), f"{model}, {own[0].checkpoint.when}" if own[0].checkpoint.step is not None else model
        )
        panel.set_xlabel(NAMES["m"])
        if index % 2 == 0:
            panel.set_ylabel(ylabel)
    return figure, axes, {m: index for index, m in enumerate(sizes)}


def _series(axes: Axes, places: Sequence[float], scores: Sequence[Score | None], metric: str, style: Look) -> None:
    pairs = [(x, score) for x, score in zip(places, scores, strict=True) if score is not None]
    at, values = [x for x, _ in pairs], [score.value for _, score in pairs]
    known = [(x, score.value, ends) for x, score in pairs if (ends := interval(metric, score))]
    if known:
        # An interval for a paired share is centred beside the mean and may leave it out.
        below = [max(0.0, value - ends.low) for _, value, ends in known]
        above = [max(0.0, ends.high - value) for _, value, ends in known]
        axes.errorbar(
            [x for x, _, _ in known],
            [value for _, value, _ in known],
            yerr=[below, above],
            fmt="none",
            ecolor=style.color,
            capsize=3,
        )
    axes.plot(
        at,
        values,
        color=style.color,
        linestyle="--" if metric.endswith("_binary") else "-",
        marker=style.marker,
        markerfacecolor="none" if metric.endswith("_binary") else style.color,
        clip_on=False,  # or half of a marker at 0 is lost
    )
