"""A value over training steps for all models in one picture, with a band of 95 %."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from lm_probe.reports._axes import NAMES, logged, spans_decades
from lm_probe.reports._data import Checkpoint, Scores
from lm_probe.reports._intervals import Z
from lm_probe.reports._noise import late_from
from lm_probe.reports._statistics import of_model
from lm_probe.reports._step_axis import short, step_axis
from lm_probe.reports._style import Look, label, legend, look, panels, tick_names

_MARKED = 40  # points; on longer lines markers stand at even distances instead
_ONE_ROW = 3  # models in a legend above the figure; more stand below it


def trend(
    scores: Scores,
    checkpoints: Mapping[str, Sequence[Checkpoint]],
    ylabel: str,
    notes: Mapping[str, str],
    *,
    late: bool = False,
) -> Figure:
    """Lines over steps; a checkpoint that has no step gets a row of its own below them, and so do all without a line.

    Values are on a logarithmic axis where they span decades, except late in training.

    Args:
        scores: what to draw.
        checkpoints: of each model, in order.
        ylabel: quantity and unit.
        notes: what the legend says after a model's name.
        late: whether each line has the late part of training alone (`late_from`), over a linear axis: beside the fall
            of the first steps all that follows is flat.
    """
    lined = has_lines(scores)
    if late and lined:
        scores = _late(scores, checkpoints)
    log = not late and spans_decades(np.array([score.value for score in scores.values()], dtype=float))
    stepped = {one: score for one, score in scores.items() if lined and one.step is not None}
    single = {one: score for one, score in scores.items() if one not in stepped}
    looks = {model: look(index) for index, model in enumerate(checkpoints)}
    lines = len({one.model for one in stepped})
    high = 3.6 + (0.22 * -(-lines // 2) if lines > _ONE_ROW else 0.0)  # room for a legend below
    if stepped and single:
        low = 0.45 + 0.3 * len(single)
        figure, _ = panels(1, high + low)
        figure.clear()
        upper, lower = figure.subplots(2, 1, height_ratios=[high, low])
        _lines(upper, stepped, checkpoints, looks, ylabel, notes, late, log)
        _points(lower, single, checkpoints, looks, ylabel, log)
    elif single:
        figure, axes = panels(1, 0.9 + 0.32 * len(single))
        _points(axes[0], single, checkpoints, looks, ylabel, log)
    else:
        figure, axes = panels(1, high)
        _lines(axes[0], stepped, checkpoints, looks, ylabel, notes, late, log)
    return figure


def has_lines(scores: Iterable[Checkpoint]) -> bool:
    """Whether a model has several steps; one checkpoint of each would lie over one another at the step they share."""
    models = [one.model for one in scores if one.step is not None]
    return len(set(models)) < len(models)


def _lines(
    axes: Axes,
    scores: Scores,
    checkpoints: Mapping[str, Sequence[Checkpoint]],
    looks: Mapping[str, Look],
    ylabel: str,
    notes: Mapping[str, str],
    late: bool,
    log: bool,
) -> None:
    axis = step_axis([one.step for one in scores if one.step is not None])
    handles: list[Artist] = []
    names = []
    for model, known in checkpoints.items():
        own = of_model(scores, known)
        if own:
            handles.append(_line(axes, own, float if late else axis.place, looks[model]))
            names.append(f"{model}{notes.get(model, '')}")
    if late:
        axes.xaxis.set_major_formatter(lambda step, _: short(round(step)))
        axes.set_xlabel(NAMES["step"])
    else:
        axis.apply(axes)
        axes.set_xlabel(logged(NAMES["step"]))
    _values(axes.yaxis, axes.set_yscale, ylabel, log)
    if len(names) > _ONE_ROW:
        legend(axes, handles, names, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, handlelength=3.2)
    else:
        legend(axes, handles, names, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names), handlelength=3.2)


def _late(scores: Scores, checkpoints: Mapping[str, Sequence[Checkpoint]]) -> Scores:
    found = {one: score for one, score in scores.items() if one.step is None}
    for known in checkpoints.values():
        own = {one: score for one, score in of_model(scores, known).items() if one.step is not None}
        if own:
            start = late_from(np.array([one.step for one in own], dtype=float))
            found |= dict(list(own.items())[start:])
    return found


def _line(axes: Axes, own: Scores, place: Callable[[int], float], style: Look) -> Artist:
    places = [place(one.step or 0) for one in own]
    values = [score.value for score in own.values()]
    errors = [Z * (score.stderr or 0.0) for score in own.values()]
    every = 1 if len(own) <= _MARKED else 0.06
    (line,) = axes.plot(
        places, values, color=style.color, linestyle=style.linestyle, marker=style.marker, markevery=every
    )
    if any(errors):
        low = [value - error for value, error in zip(values, errors, strict=True)]
        high = [value + error for value, error in zip(values, errors, strict=True)]
        axes.fill_between(places, low, high, color=style.color, alpha=0.22, linewidth=0)
    return line


def _points(
    axes: Axes,
    scores: Scores,
    checkpoints: Mapping[str, Sequence[Checkpoint]],
    looks: Mapping[str, Look],
    xlabel: str,
    log: bool,
) -> None:
    shown = [one for known in checkpoints.values() for one in known if one in scores]
    for place, one in enumerate(shown):
        score, style = scores[one], looks[one.model]
        error = None if score.stderr is None else [Z * score.stderr]
        axes.errorbar([score.value], [place], xerr=error, fmt=style.marker, color=style.color, capsize=3)
    tick_names(axes.yaxis, range(len(shown)), [point_name(one) for one in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    _values(axes.xaxis, axes.set_xscale, xlabel, log)


def _values(axis: Axis, scale: Callable[[str], None], name: str, log: bool) -> None:
    """The axis of the values."""
    label(axis.label, logged(name) if log else name)
    if log:
        scale("log")
        axis.set_major_formatter("{x:g}")


def point_name(checkpoint: Checkpoint) -> str:
    """A checkpoint without a step."""
    return f"{checkpoint.model} ({checkpoint.revision})" if checkpoint.revision else checkpoint.model
