"""One measure of several models over relative depth."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lm_probe.reports._axes import NAMES
from lm_probe.reports._data import Checkpoint, Profiles
from lm_probe.reports._intervals import Z
from lm_probe.reports._layers import literature_layers
from lm_probe.reports._style import label, legend, look, panels

_MARKED = 13  # layers; on a deeper model's line markers stand at even distances


def models_over_depth(profiles: Profiles, groups: Mapping[str, Sequence[Checkpoint]], models: Sequence[str]) -> Figure:
    """A panel a group, each with its own legend: a line for each checkpoint, with 95 % intervals where they are known.

    Args:
        profiles: values at every site.
        groups: checkpoints by title; '' for a panel without one.
        models: all models of the report, whose place decides their look.
    """
    most = max(map(len, groups.values()))
    columns = 1 if len(groups) == 1 else 2
    rows = -(-most // (2 if columns == 1 else 1))
    figure, axes = panels(len(groups), 3.2 + 0.2 * rows, columns=columns, sharey=True)
    for place, (panel, (title, shown)) in enumerate(zip(axes, groups.items(), strict=True)):
        handles: list[Any] = []
        for one in shown:
            layers = literature_layers(profiles[one])
            style = look(models.index(one.model))
            errors = [Z * (layer.score.stderr or 0.0) for layer in layers]
            handles.append(
                panel.errorbar(
                    [layer.depth for layer in layers],
                    [layer.score.value for layer in layers],
                    yerr=errors if any(errors) else None,
                    color=style.color,
                    linestyle=style.linestyle,
                    marker=style.marker,
                    markevery=1 if len(layers) <= _MARKED else 0.1,
                    elinewidth=1.0,
                    capsize=2,
                )
            )
        names = [f"{one.model}, {one.when}" if one.step is not None else one.model for one in shown]
        legend(
            panel, handles, names, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3 - columns, handlelength=3.2
        )
        if title:
            label(panel.set_title(""), title)
        panel.set_xlabel(NAMES["relative"])
        if place % columns == 0:
            panel.set_ylabel("mean cosine")
    return figure
