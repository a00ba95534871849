"""The report's figures for a notebook: of a run, or of any part of its values.

Each function takes a run (its folder, a `RunStore`) or a table of values (`RunStore(...).values()`, `measure(...)` in a
DataFrame; filter it as you like) and returns a matplotlib Figure of its own, which neither knows pyplot nor changes its
settings. A notebook shows it as the last line of a cell after `%matplotlib inline`; `figure.savefig("loss.pdf")` keeps
it.
"""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lm_probe.reports._counting_pictures import counting_pictures
from lm_probe.reports._data import Profiles, RunData
from lm_probe.reports._figure_layers import depth_curves, heat_map
from lm_probe.reports._figure_trend import trend
from lm_probe.reports._layers import final_place
from lm_probe.reports._load import load, of_values
from lm_probe.reports._pictures import spectrum_pictures
from lm_probe.reports._style import house_style
from lm_probe.reports._thin import lines_of
from lm_probe.sweeps import RunStore, UserError, Value

Run = pd.DataFrame | RunStore | Path | str

_UNITS = {"loss": "nats per token", "bits_per_byte": "bits", "singular_entropy": "nats"}
_COUNTING = {
    "count_query": "counting_error",
    "most_frequent_word": "most_frequent_word",
    "most_frequent_count": "most_frequent_count",
    "gap": "counting_gap",
}
_DEPTH_LINES = 6


def plot_loss(run: Run) -> Figure:
    """Next-token loss over training steps, a line a model, with the band that the report draws.

    Args:
        run: a run, or a table of values.

    Raises:
        UserError: there is no loss in it.

    Example:
        >>> plot_loss("runs/70m").savefig("loss.svg")  # doctest: +SKIP
    """
    return plot_metric(run, "loss", probe="loss")


def plot_metric(run: Run, metric: str, *, probe: str | None = None, component: str | None = None) -> Figure:
    """Any metric over training steps, a line a model; of one with a value a layer the last site.

    Values that span more than a factor of 100 are on a logarithmic axis.

    Args:
        run: a run, or a table of values.
        metric: name of the metric.
        probe: which probe's, where several measure it.
        component: which task's (`piqa`), or which part's (`all_rows`), where there are several.

    Raises:
        UserError: there is no such value, or more than one; the message says what there is.

    Example:
        >>> values = RunStore("runs/published").values()  # doctest: +SKIP
        >>> plot_metric(values[values.model == "pythia-70m"], "ppl", component="lambada_openai")  # doctest: +SKIP
    """
    data = _data(run)
    profiles, name = _profiles(data, metric, probe, component)
    scores = {one: places.get(final_place(places), next(iter(places.values()))) for one, places in profiles.items()}
    return _draw(lambda: trend(scores, data.checkpoints, name, {}))


def plot_layers(
    run: Run, metric: str = "mean_cosine", *, probe: str | None = "anisotropy", component: str | None = None
) -> Figure:
    """A metric by layer and step as a heat map, a panel a model with several checkpoints.

    Every site from the embedding up: blocks are before any final norm, which follows them. Colours span the values.

    Args:
        run: a run, or a table of values.
        metric: name of a metric with a value a layer.
        probe: which probe's.
        component: which part's, where there are several (`query` of `weight_spectra`).

    Raises:
        UserError: there is no such value, more than one, or only one checkpoint of each model (see `plot_depth`).
    """
    data = _data(run)
    profiles, name = _layered(data, metric, probe, component)
    if not any(sum(one in profiles for one in known) > 1 for known in data.checkpoints.values()):
        raise UserError(f"{metric} was measured at one checkpoint of each model: plot_depth shows that")
    return _draw(lambda: heat_map(profiles, data.checkpoints, name))


def plot_depth(
    run: Run, metric: str = "mean_cosine", *, probe: str | None = "anisotropy", component: str | None = None
) -> Figure:
    """A metric over layers, a panel a model and a line for each of up to six checkpoints.

    Over relative depth l / L where models are of different depth. What follows the last block stands at its layer,
    hollow. The first checkpoint is dotted, the last one heavy; the one with the lowest loss is among them.

    Args:
        run: a run, or a table of values.
        metric: name of a metric with a value a layer.
        probe: which probe's.
        component: which part's, where there are several.

    Raises:
        UserError: there is no such value, or more than one.
    """
    data = _data(run)
    profiles, name = _layered(data, metric, probe, component)
    return _draw(lambda: depth_curves(profiles, lines_of(data, profiles, _DEPTH_LINES), name))


def plot_spectrum(run: Run) -> Figure:
    """Singular values of the output head over the largest one, by rank, a line a checkpoint.

    Args:
        run: a run; a table of values holds no vectors.

    Raises:
        UserError: `head_spectrum` was not measured, or a table is given.
    """
    if isinstance(run, pd.DataFrame):
        raise UserError("singular values are no single values and not in the table: give the run, e.g. RunStore(...)")
    pictures = {one.name: one for one in spectrum_pictures(_data(run))}
    if "head_spectrum" not in pictures:
        raise UserError("the run holds no singular values: sweep it with --probes head_spectrum")
    return _draw(pictures["head_spectrum"].draw)


def plot_counting(run: Run, kind: str = "count_query") -> Figure:
    """A counting task over the vocabulary size m, against its binary control, at the last checkpoint of each model.

    Args:
        run: a run, or a table of values.
        kind: `count_query`, `most_frequent_word`, `most_frequent_count`, or `gap`: error in the full list less error in
            its control.

    Raises:
        UserError: there is no such kind, or it was not measured.
    """
    if kind not in _COUNTING:
        raise UserError(f"no counting figure {kind}: known are {', '.join(_COUNTING)}")
    pictures = {one.name: one for one in counting_pictures(_data(run))}
    if _COUNTING[kind] not in pictures:
        raise UserError(f"no {kind} was measured: sweep with --tasks word_counting_small")
    return _draw(pictures[_COUNTING[kind]].draw)


def _data(run: Run) -> RunData:
    if isinstance(run, RunStore):
        return load([run.folder])
    if isinstance(run, str | Path):
        return load([Path(run)])
    missing = [column for column in Value._fields if column not in run]
    if missing:
        raise UserError(f"the table has no column {', '.join(missing)}: give RunStore(...).values(), or a part of it")
    return of_values(run)


def _profiles(data: RunData, metric: str, probe: str | None, component: str | None) -> tuple[Profiles, str]:
    """The values of the one thing that is asked for, and what the axis says."""
    having = [address for address in data.indexed if address[1] == metric]
    if not having:
        there = sorted({address[1] for address in data.indexed})
        raise UserError(f"no values of {metric}: there are {_few(get_close_matches(metric, there) or there)}")
    found = [one for one in having if probe in (None, one[0]) and component in (None, one[2])]
    if not found:
        raise UserError(f"no {metric} of that probe and component: there is {_choices(having)}")
    if len(found) > 1:
        raise UserError(f"{len(found)} things are called {metric}: choose {_choices(found)}")
    name = metric.replace("_", " ") + (f" ({_UNITS[metric]})" if metric in _UNITS else "")
    return data.indexed[found[0]], name + (f", {component}" if component else "")


def _layered(data: RunData, metric: str, probe: str | None, component: str | None) -> tuple[Profiles, str]:
    profiles, name = _profiles(data, metric, probe, component)
    if all(place.site == "" for places in profiles.values() for place in places):
        raise UserError(f"{metric} has no layers: plot_metric shows it over steps")
    return profiles, name


def _choices(addresses: Sequence[tuple[str, str, str | None]]) -> str:
    return _few(
        [f"probe={one[0]!r}" + (f", component={one[2]!r}" if one[2] else "") for one in sorted(addresses, key=str)]
    )


def _few(names: list[str]) -> str:
    return "; ".join(names[:6]) + (f"; and {len(names) - 6} more" if len(names) > 6 else "")


def _draw(draw: Callable[[], Figure]) -> Figure:
    with house_style():
        return draw()
