"""How figures look: readable on white and on dark pages, told apart without colour, the same bytes every time."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.rcsetup import cycler
from matplotlib.text import Text

from lm_probe.reports._markdown import plain

WIDTH = 8.3  # inches: 800 pixels where a page shows the figure at its own size
# Contrast 4.3 to 1 with white and with GitHub's dark page alike: the best that one grey can do for both.
GREY = "#787d84"
FAINT = "#787d8455"
# Of middle lightness, so that each stands out from both pages; marker and dashes tell them apart as well.
COLOURS = ("#2f7fd1", "#d55e00", "#0a9373", "#b35fb0", "#94780a", "#c9455c", "#5f75d8", "#71803a")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 2, 2)), (0, (4, 1, 1, 1, 1, 1)))
TIME = LinearSegmentedColormap.from_list("time", ["#4f74dc", "#a765c4", "#d1557a", "#dd7414"])

_SETTINGS = {
    "svg.hashsalt": "lm-probe",
    "svg.fonttype": "path",  # the same letters on every machine
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.color": GREY,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "axes.unicode_minus": True,
}


class Look(NamedTuple):
    """How one model is drawn in every figure."""

    color: str
    marker: str
    linestyle: Any


def look(index: int) -> Look:
    """The look of the model with this place in the list, in the colours of `house_style`."""
    colours = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    return Look(
        colours[index % len(colours)],
        _MARKERS[(index + index // len(COLOURS)) % len(_MARKERS)],
        _DASHES[index % len(_DASHES)],
    )


def label(artist: Text, said: str, longest: int = 44) -> None:
    """Writes text from outside, in which `$` is a dollar."""
    artist.set_parse_math(False)
    artist.set_text(plain(said, longest))


def tick_names(axis: Axis, places: Sequence[int], names: Sequence[str], longest: int = 44) -> None:
    """Writes text from outside beside ticks."""
    axis.set_ticks(list(places), labels=[plain(name, longest) for name in names])
    for text in axis.get_ticklabels():
        text.set_parse_math(False)


def legend(axes: Axes | Figure, handles: Sequence[Artist], names: Sequence[str], **where: Any) -> Legend:
    """A legend with names from outside; matplotlib itself would leave out those that begin with an underscore."""
    made = axes.legend(list(handles), ["name"] * len(names), **where)
    for text, name in zip(made.get_texts(), names, strict=True):
        label(text, name)
    return made


def panels(count: int, height: float, *, columns: int = 2, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in a grid."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.25))
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.05)
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.remove()
    for one in axes[max(count - columns, 0) : count]:
        one.xaxis.set_tick_params(labelbottom=True)  # also above a place that stays empty
    return figure, axes[:count]


@contextmanager
def house_style(colours: Sequence[str] = COLOURS) -> Iterator[None]:
    """The settings above over matplotlib's defaults, whatever the user's own are, and only inside the context.

    Args:
        colours: of the models, in their order.
    """
    kept = ("backend", "interactive", "toolbar", "webagg")
    with warnings.catch_warnings(), matplotlib.rc_context():
        # Some defaults are deprecated names; letters that the font lacks are drawn as boxes.
        warnings.simplefilter("ignore")
        defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith(kept)}
        matplotlib.rcParams.update(cast(Any, defaults))
        matplotlib.rcParams.update(cast(Any, {**_SETTINGS, "axes.prop_cycle": cycler(color=colours)}))
        yield


def write_svg(draw: Callable[[], Figure], path: Path | IO[bytes], title: str, colours: Sequence[str] = COLOURS) -> None:
    """Draws a figure in the house style and writes it without a date."""
    with house_style(colours):
        FigureCanvasSVG(draw()).print_figure(
            path, format="svg", dpi=200, metadata={"Date": None, "Creator": "lm-probe", "Title": title}
        )
