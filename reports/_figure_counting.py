"""Counting over the vocabulary size m: the full list against its binary control."""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_probe.reports._counting import Cell
from lm_probe.reports._data import Score
from lm_probe.reports._style import GREY, label, legend, look, panels

_SHIFT = 0.07  # keeps two intervals at one m from covering each other


def counting(cells: Mapping[str, Sequence[Cell]], ylabel: str, *, chance: bool) -> Figure:
    """A panel a model: full and binary over m, with intervals of two standard errors.

    Args:
        cells: of each model, ascending in m.
        ylabel: quantity and unit.
        chance: draw 1 / m, what a guess among the m words would reach.
    """
    sizes = sorted({cell.m for own in cells.values() for cell in own})
    place = {m: index for index, m in enumerate(sizes)}
    figure, axes = panels(len(cells), 2.7 if len(cells) > 1 else 3.2, sharey=True)
    handles: list[Artist] = []
    for index, (panel, (model, own)) in enumerate(zip(axes, cells.items(), strict=True)):
        at = [float(place[cell.m]) for cell in own]
        handles = [
            _arm(panel, [x - _SHIFT for x in at], [cell.full for cell in own], 0, filled=True),
            _arm(panel, [x + _SHIFT for x in at], [cell.binary for cell in own], 1, filled=False),
        ]
        if chance:
            handles += panel.plot(at, [1 / cell.m for cell in own], color=GREY, linestyle=":", linewidth=1.2)
        panel.set_xticks(range(len(sizes)), [str(m) for m in sizes])
        panel.set_xlim(-0.4, len(sizes) - 0.6)
        label(
            panel.set_title(""), f"{model}, {own[0].checkpoint.when}" if own[0].checkpoint.step is not None else model
        )
        panel.set_xlabel("vocabulary size m (different words in the list)")
        if index % 2 == 0:
            panel.set_ylabel(ylabel)
    # After all are drawn: the panels share the axis, and a limit that is set no longer grows.
    axes[0].set_ylim(bottom=0)
    names = ["full list (m words)", "binary control (2 words)", "a guess, 1 / m"]
    legend(figure, handles, names[: len(handles)], loc="outside upper center", ncols=len(handles))
    return figure


def _arm(axes: Axes, places: Sequence[float], scores: Sequence[Score | None], index: int, *, filled: bool) -> Artist:
    pairs = [(x, score) for x, score in zip(places, scores, strict=True) if score is not None]
    style = look(index)
    places, values = [x for x, _ in pairs], [score.value for _, score in pairs]
    errors = [2 * (score.stderr or 0.0) for _, score in pairs]
    axes.errorbar(places, values, yerr=errors, fmt="none", ecolor=style.color, capsize=3)
    (line,) = axes.plot(
        places,
        values,
        color=style.color,
        linestyle="-" if filled else "--",
        marker=style.marker,
        markerfacecolor=style.color if filled else "none",
    )
    return line
