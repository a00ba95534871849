"""Values over the number of parameters: final losses with their law, and task scores with their shapes."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lm_probe.reports._axes import NAMES, logged
from lm_probe.reports._data import Score
from lm_probe.reports._intervals import interval
from lm_probe.reports._scaling_findings import Scaling, TaskCurve
from lm_probe.reports._style import GREY, label, legend, look, panels

_COLUMNS = 3
_TICKS = 4
_DASHES: tuple[Any, ...] = ("--", (0, (2, 1.5)), (0, (7, 2, 2, 2)))
_DECADE = 10
_LONGEST = 34
"""Letters over a panel."""


def loss_by_size(found: Scaling, places: Mapping[str, int]) -> Figure:
    """A marker a model, hollow where its family's law was not fitted to it, and each law as a line.

    Args:
        found: final losses, smallest model first.
        places: place of each model among those of the report, which decides its look.
    """
    figure, (axes,) = panels(1, 3.4 + 0.22 * -(-len(found.losses) // 2))
    handles: list[Any] = []
    for one in found.losses:
        style = look(places[one.model])
        filled = one.predicted is None or one.fitted
        handles.append(
            axes.errorbar(
                [one.size.parameters],
                [one.measured.value],
                yerr=_bars("loss", [one.measured]),
                fmt=style.marker,
                color=style.color,
                markerfacecolor=style.color if filled else "none",
                capsize=3,
                zorder=3,
            )
        )
    sizes = [one.size.parameters for one in found.losses]
    names = [one.model for one in found.losses]
    for fit, dashes in zip(found.laws, cycle(_DASHES)):
        assert fit.law is not None
        own = [loss.size.parameters for loss in found.losses if loss.model in fit.models]
        line = np.geomspace(min(own), max(own), 100)
        handles += axes.plot(line, fit.law.loss(line, 1.0), color=GREY, linestyle=dashes, linewidth=1.3)
        names.append(f"law of {fit.family}" if len(found.families) > 1 else "law")
    _over_sizes(axes, sizes)
    axes.set_xlabel(logged(NAMES["parameters"]))
    axes.set_ylabel("loss (nats per token)")
    legend(axes, handles, names, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, handlelength=3.2)
    return figure


def scores_by_size(shown: Sequence[Sequence[TaskCurve]], families: Sequence[str]) -> Figure:
    """A panel a score, a line a family, each with its shape; dotted what guessing scores, where that is known.

    Args:
        shown: curves of one score each, one for each family that has it.
        families: all families of the report, whose place decides their look.
    """
    figure, axes = panels(len(shown), 2.35, columns=_COLUMNS)
    sizes = [size for curves in shown for one in curves for size in one.sizes]
    handles: dict[str, Any] = {}
    for panel, curves in zip(axes, shown, strict=True):
        for one in curves:
            style = look(families.index(one.family))
            values = [score.value for score in one.scores]
            bars = _bars(one.measure.metric, one.scores)
            line: dict[str, Any] = {"color": style.color, "linestyle": style.linestyle, "marker": style.marker}
            handles[one.family] = panel.errorbar(one.sizes, values, yerr=bars, capsize=2, **line)
            if one.chance is not None:
                panel.axhline(one.chance, color=GREY, linestyle=":", linewidth=1.2)
        if all(one.measure.lower_is_better and _spans_a_decade(one.scores) for one in curves):
            panel.set_yscale("log")
        shapes = ", ".join(f"{one.family}: {one.shape}" if len(families) > 1 else one.shape for one in curves)
        label(panel.set_title("", fontsize=9.5, pad=19), curves[0].measure.name, _LONGEST)
        said = panel.text(0.5, 1.03, "", transform=panel.transAxes, ha="center", va="bottom", fontsize=9)
        label(said, shapes, _LONGEST)
        _over_sizes(panel, sizes)
    for panel in axes[-_COLUMNS:]:
        panel.set_xlabel(logged(NAMES["parameters"]))
    if len(handles) > 1:
        legend(figure, list(handles.values()), list(handles), loc="outside lower center", ncols=4, handlelength=3.2)
    return figure


def _spans_a_decade(scores: Sequence[Score]) -> bool:
    values = [score.value for score in scores]
    return min(values) > 0 and max(values) > _DECADE * min(values)


def _bars(metric: str, scores: Sequence[Score]) -> np.ndarray | None:
    """How far 95 % intervals reach down and up; None where no score has one."""
    ends = [interval(metric, score) for score in scores]
    if not any(ends):
        return None
    reach = [
        (0.0, 0.0) if one is None else (score.value - one.low, one.high - score.value)
        for one, score in zip(ends, scores, strict=True)
    ]
    return np.asarray(np.maximum(np.array(reach).T, 0.0))


def _over_sizes(axes: Axes, sizes: Sequence[float]) -> None:
    """A logarithmic axis with few ticks, as models are named: 100M, 1B."""
    axes.set_xscale("log")
    low, high = min(sizes) / 1.3, max(sizes) * 1.3
    axes.set_xlim(low, high)
    powers = [10.0**power for power in range(19)]
    for steps in ((1,), (1, 3), (1, 2, 5)):
        ticks = [step * power for power in powers for step in steps if low <= step * power <= high]
        if len(ticks) >= _TICKS - 1:
            break
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([size_name(tick) for tick in ticks])


def size_name(parameters: float) -> str:
    """A number of parameters as models are named by it."""
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:g}{letter}"
    return f"{parameters:g}"
