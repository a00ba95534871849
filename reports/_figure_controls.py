"""The mean cosine of a model beside its controls, and over the number of tokens."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from lm_probe.reports._axes import NAMES, logged
from lm_probe.reports._data import Checkpoint, Place, Score
from lm_probe.reports._depth_colours import DepthColours
from lm_probe.reports._figure_layers import layer_line, name_depth
from lm_probe.reports._intervals import Z
from lm_probe.reports._layers import AFTER, all_layers, depth_of, depths_differ
from lm_probe.reports._step_axis import short
from lm_probe.reports._style import GREY, label, legend, look, panels

Profile = Mapping[Place, Score]
_TICKS = 5
_ASIDE = 0.012  # of the axis


def beside_controls(shown: Mapping[Checkpoint, Mapping[str, Profile]], models: Sequence[str], name: str) -> Figure:
    """A panel a checkpoint: what was measured in its model's colour, the controls in grey, with 95 % intervals.

    Args:
        shown: profiles by what they are of, what was measured first.
        models: all models of the report, whose place decides their look.
        name: of the quantity.
    """
    figure, axes = panels(len(shown), 3.0, sharex=True, sharey=True)
    relative = depths_differ(own[kind] for own in shown.values() for kind in own)
    span = 1 if relative else max(depth_of(profile) for own in shown.values() for profile in own.values())
    kinds = list(dict.fromkeys(kind for own in shown.values() for kind in own))
    styles = {kind: {"linestyle": look(at).linestyle, "marker": look(at).marker} for at, kind in enumerate(kinds)}
    styles[kinds[0]]["linewidth"] = 2.6
    for place, (panel, (one, own)) in enumerate(zip(axes, shown.items(), strict=True)):
        for kind, profile in own.items():
            at = kinds.index(kind)
            colour = GREY if at else look(models.index(one.model)).color
            aside = _ASIDE * span * (at - (len(kinds) - 1) / 2)
            layer_line(panel, profile, relative, bars=True, aside=aside, color=colour, **styles[kind])
        _title(panel, one)
        if place % 2 == 0:
            label(panel.set_ylabel(""), name)
        if place >= len(shown) - 2:
            name_depth(panel, relative)
    handles = [Line2D([], [], color=GREY, **styles[kind]) for kind in kinds]
    legend(figure, handles, kinds, loc="outside upper center", ncols=4, handlelength=3.6)
    return figure


def over_tokens(shown: Mapping[Checkpoint, Mapping[int, Profile]], name: str) -> Figure:
    """A panel a checkpoint: a line a layer over the number of tokens, with 95 % intervals; dashed what follows block L.

    Args:
        shown: profiles by the number of tokens that they are of.
        name: of the quantity.
    """
    figure, axes = panels(len(shown), 3.0, sharey=True)
    colours = DepthColours(max(depth_of(profile) for own in shown.values() for profile in own.values()))
    for number, (panel, (one, own)) in enumerate(zip(axes, shown.items(), strict=True)):
        sizes = sorted(own)
        for layer in all_layers(own[sizes[-1]]):
            having = [size for size in sizes if layer.place in own[size]]
            scores = [own[size][layer.place] for size in having]
            panel.errorbar(
                having,
                [score.value for score in scores],
                yerr=[Z * (score.stderr or 0.0) for score in scores],
                color=colours(layer.place.layer),
                linestyle="--" if layer.place.site in AFTER else "-",
                marker=".",
                linewidth=1.4,
                elinewidth=0.8,
                capsize=2,
            )
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(FixedLocator(sizes[-_TICKS:]))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticklabels([short(size) for size in sizes[-_TICKS:]])
        panel.set_xlabel(logged(NAMES["tokens"]))
        _title(panel, one)
        if number % 2 == 0:
            label(panel.set_ylabel(""), name)
    colours.bar(figure, axes)
    return figure


def _title(panel: Axes, one: Checkpoint) -> None:
    label(panel.set_title(""), one.model if one.step is None else f"{one.model}, {one.when}")
