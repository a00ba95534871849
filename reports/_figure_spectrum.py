"""The singular values of the head, a line a checkpoint."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lm_probe.reports._axes import FEW_DECADES, NAMES, logged, plain_ticks
from lm_probe.reports._data import Checkpoint, Vectors
from lm_probe.reports._figure_layers import add_step_bar, line_colour, line_emphasis, step_colours
from lm_probe.reports._style import label, panels

_MOST_RANKS = 128
_LINEAR_RANKS = 40  # up to this width of all models every rank is seen on a linear axis
LOWEST = 1e-6
"""Where the axis of ratios begins at the lowest."""


def spectra(sigmas: Vectors, chosen: Mapping[str, Sequence[Checkpoint]]) -> Figure:
    """A panel a model: each singular value over the largest, by rank."""
    models = [model for model, known in chosen.items() if any(one in sigmas for one in known)]
    figure, axes = panels(len(models), 2.8 if len(models) > 1 else 3.4)
    shown = [one for model in models for one in chosen[model] if one in sigmas]
    colours = step_colours(shown)
    smallest = min(float(sigma[sigma > 0].min() / sigma.max()) for sigma in map(sigmas.__getitem__, shown))
    # One kind of axis for all panels: side by side, a linear one and a logarithmic one read as two shapes of spectrum.
    log_ranks = over_log_ranks(len(sigmas[one]) for one in shown)
    for place, (panel, model) in enumerate(zip(axes, models, strict=True)):
        own = [one for one in chosen[model] if one in sigmas]
        for index, one in enumerate(own):
            sigma = sigmas[one]
            ranks = ranks_shown(len(sigma))
            ratios = sigma[ranks - 1] / sigma.max()
            marker = "." if len(sigma) <= _LINEAR_RANKS and len(own) <= 8 else ""
            panel.plot(
                ranks[ratios > 0],
                ratios[ratios > 0],
                color=line_colour(one, colours, index),
                marker=marker,
                **line_emphasis(index, len(own)),
            )
        width = max(len(sigmas[one]) for one in own)
        if log_ranks:
            panel.set_xscale("log")
            if width < FEW_DECADES:
                plain_ticks(panel.xaxis)
        else:
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.set_yscale("log")
        panel.set_ylim(max(smallest / 1.3, LOWEST), 1.2)
        if smallest > 1 / FEW_DECADES:
            plain_ticks(panel.yaxis)
        label(panel.set_title(""), f"{model}, d = {width}")
        if place % 2 == 0:
            panel.set_ylabel(logged("σᵢ / σ₁"))
        panel.set_xlabel(logged(NAMES["rank"]) if log_ranks else NAMES["rank"])
    add_step_bar(figure, axes, colours)
    return figure


def over_log_ranks(widths: Iterable[int]) -> bool:
    """Whether the axis of ranks is logarithmic, for spectra of these widths."""
    return max(widths, default=0) > _LINEAR_RANKS


def ranks_shown(width: int) -> np.ndarray:
    """Ranks from 1 that are drawn: all, or about evenly spaced in log(rank)."""
    if width <= _MOST_RANKS:
        return np.arange(1, width + 1)
    return np.unique(np.geomspace(1, width, _MOST_RANKS).round().astype(int))
