"""What a page knows: every number of the report with its place, its error and the measurement that it came from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from lm_probe.reports._axes import LOG, NAMES, spans_decades
from lm_probe.reports._counting import (
    BETWEEN_TWO,
    FLOORS,
    MEASURES,
    TASKS,
    counting_task,
    different_words,
    task_metrics,
)
from lm_probe.reports._data import Checkpoint, Place, RunData, Score, Scores
from lm_probe.reports._figure_spectrum import LOWEST, over_log_ranks, ranks_shown
from lm_probe.reports._intervals import Interval, Z, interval_of, normal
from lm_probe.reports._layers import place_name
from lm_probe.reports._markdown import plain
from lm_probe.reports._numbers import Address, Grid, from_below
from lm_probe.reports._pictures import View
from lm_probe.reports._step_axis import short, step_axis
from lm_probe.reports._style import look
from lm_probe.reports._web_colours import DARK, LIGHT
from lm_probe.reports._web_pack import Numbered, Pack


def packed(data: RunData, derived: Sequence[View]) -> str:
    """Everything that a page shows, as base64 (see `Pack.text`).

    A *grid* is one metric and component of one model: its checkpoints by its places. Values, sizes, and the ends of
    intervals that are not the value ± 1.96 standard errors have six digits, standard errors and spectra four. A size
    that is the same throughout a grid is exact.

    Args:
        data: what the runs hold.
        derived: figures of what is computed from that; their values are in no table of stored ones.
    """
    pack = Pack()
    order = {model: number for number, model in enumerate(data.checkpoints)}
    known = {model: {one: row for row, one in enumerate(own)} for model, own in data.checkpoints.items()}
    places, made = Numbered(), _Measurements(data)
    index: dict[str, Any] = {
        "z": Z,
        "axis": _axis(data),
        "names": NAMES,
        "log": LOG,
        "models": [_model(number, model, own, made) for number, (model, own) in enumerate(data.checkpoints.items())],
        "grids": [
            _grid(pack, places, made, order[model], known[model], address, numbers) | {"log": log}
            for address in sorted(data.indexed, key=lambda address: (*address[:2], address[2] or ""))
            for grids in (data.indexed.grids(address),)
            for log in (_spans_decades(grids),)
            for model, numbers in sorted(grids.items(), key=lambda one: order[one[0]])
        ],
        "derived": [
            _grid(pack, places, made, order[model], known[model], view.address, numbers) | {"derived": True, "log": log}
            for view in derived
            for grids in (_grids_of(view.derived or {}),)
            for log in (_spans_decades(grids),)
            for model, numbers in grids.items()
        ],
        "spectra": _spectra(pack, data),
        "log_ranks": over_log_ranks(map(len, data.vectors["singular_values"].values())),
        "lowest_ratio": LOWEST,
        "counting": _counting(data),
        "runs": len({row.run for row in data.made}),
    }
    sites = [(*place, place_name(place)) for place in places.things]
    return pack.text(index | {"places": sites, **made.columns()})


def _spans_decades(grids: Mapping[str, Grid]) -> bool:
    """Whether a quantity's values at its last place do, which stand for it over steps."""
    last = max((place for grid in grids.values() for place in grid.places), key=from_below)
    columns = [grid.value[:, grid.places.index(last)] for grid in grids.values() if last in grid.places]
    return spans_decades(np.concatenate(columns))


def _axis(data: RunData) -> dict[str, Any]:
    axis = step_axis([one.step for known in data.checkpoints.values() for one in known if one.step is not None])
    return {"zero": axis.place(0), "ticks": [[step, short(step)] for step in axis.ticks()]}


def _model(number: int, model: str, known: Sequence[Checkpoint], made: "_Measurements") -> dict[str, Any]:
    # Colours come again with the eleventh model: with other dashes, so that fifty are told apart.
    style, dashes = look(number), look(number + number // len(LIGHT)).linestyle
    dash = "" if dashes == "-" else ",".join(f"{2 * length:g}px" for length in dashes[1])
    return {
        "name": plain(model, 80),
        "colors": [palette[number % len(palette)] for palette in (LIGHT, DARK)],
        "symbol": _SYMBOLS[style.marker],
        "dash": dash or "solid",
        "steps": [one.step for one in known],
        "whens": [plain(one.when, 60) for one in known],
        "ticks": [plain(one.when, 60) if one.step is None else short(one.step) for one in known],
        "identities": [made.identity(one) for one in known],
    }


_SYMBOLS = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond"},
    **{"v": "triangle-down", "P": "cross", "X": "x", "*": "star"},
}


class _Measurements:
    """The measurements as columns, and which of them holds a value."""

    def __init__(self, data: RunData) -> None:
        self._rows = data.made
        self._at = {(row.checkpoint, row.probe, row.config.get("task")): place for place, row in enumerate(data.made)}
        self._identities = {row.checkpoint: row.identity for row in data.made}
        self._sets = Numbered()

    def identity(self, one: Checkpoint) -> str | None:
        """Which weights a checkpoint is."""
        return self._identities.get(one)

    def of(self, checkpoints: Sequence[Checkpoint], probe: str, component: str | None) -> int:
        """The number of a list that has for each checkpoint the place of its measurement, -1 where there is none."""
        task = component if probe == TASKS else None
        return self._sets(tuple(self._at.get((one, probe, task), -1) for one in checkpoints))

    def columns(self) -> dict[str, Any]:
        """All measurements; texts by number, since most occur many times."""
        texts = Numbered()
        said: dict[str, Any] = {
            name: [texts(_said(getattr(row, name))) for row in self._rows]
            for name in ("run", "config_hash", "config", "details", "versions", "dtype", "device", "attention")
        }
        numbers = {name: [getattr(row, name) for row in self._rows] for name in ("id", "seed", "seconds")}
        memory = {"peak_memory": [row.peak_memory for row in self._rows]}
        return {
            "made": said,
            "made_numbers": numbers | memory,
            "sets": self._sets.things,
            "texts": [plain(text, 2000) for text in texts.things],
        }


def _said(what: object) -> str:
    return what if isinstance(what, str) else json.dumps(what, sort_keys=True)


def _grid(
    pack: Pack,
    places: Numbered,
    made: _Measurements,
    model: int,
    known: Mapping[Checkpoint, int],
    address: Address,
    numbers: Grid,
) -> dict[str, Any]:
    """One model's values of a quantity; `known` has the place of each checkpoint among those of its model."""
    probe, metric, component = address
    grid: dict[str, Any] = {
        "model": model,
        **named(address),
        "rows": [known[one] for one in numbers.checkpoints],
        "places": [places(place) for place in numbers.places],
        "made": made.of(numbers.checkpoints, probe, component),
        "value": pack.values(numbers.value),
        "n": _sizes(pack, numbers.n),
    }
    if not np.isnan(numbers.stderr).all():
        grid["stderr"] = pack.errors(numbers.stderr)
    if probe == TASKS and (ends := interval_of(metric)) is not normal:
        found = [[_score(*cell) for cell in zip(*row, strict=True)] for row in zip(*numbers[2:], strict=True)]
        for place, name in enumerate(Interval._fields):
            grid[name] = pack.values(np.array([[(ends(one) or (np.nan,) * 2)[place] for one in row] for row in found]))
    return grid


def named(address: Address) -> dict[str, str | None]:
    """What a page calls a quantity: names from outside are cut, and without characters that are not seen."""
    probe, metric, component = address
    shown = None if component is None else plain(component, 120)
    return {"probe": plain(probe, 80), "metric": plain(metric, 120), "component": shown}


def _grids_of(scores: Scores) -> dict[str, Grid]:
    """Scores that have no layer, by model."""
    found: dict[str, list[Checkpoint]] = {}
    for one in scores:
        found.setdefault(one.model, []).append(one)
    return {model: _column(own, [scores[one] for one in own]) for model, own in found.items()}


def _column(known: list[Checkpoint], scores: Sequence[Score]) -> Grid:
    cells = np.array([[np.nan if part is None else part for part in one] for one in scores], dtype=float)
    return Grid(known, [Place(-1, "")], *cells.T[:, :, None])


def _score(value: float, stderr: float, n: float) -> Score:
    return Score(float(value), None if np.isnan(stderr) else float(stderr), None if np.isnan(n) else int(n))


def _sizes(pack: Pack, n: Float[np.ndarray, "checkpoints places"]) -> dict[str, Any] | None:
    known = np.unique(n[~np.isnan(n)])
    if len(known) < 2:
        return {"same": int(known[0])} if len(known) else None
    return {"at": pack.values(n)}


def _spectra(pack: Pack, data: RunData) -> list[dict[str, Any]]:
    found = []
    sigmas = data.vectors["singular_values"]
    for number, known in enumerate(data.checkpoints.values()):
        rows = [row for row, one in enumerate(known) if one in sigmas and len(sigmas[one]) and sigmas[one].max() > 0]
        for width in sorted({len(sigmas[known[row]]) for row in rows}):
            own = [row for row in rows if len(sigmas[known[row]]) == width]
            ranks = ranks_shown(width)
            ratios = np.stack([sigmas[known[row]][ranks - 1] / sigmas[known[row]].max() for row in own])
            found.append({"model": number, "rows": own, "ranks": ranks.tolist(), "at": pack.errors(ratios.T)})
    return found


def _counting(data: RunData) -> list[dict[str, Any]]:
    """Which tasks make up each question, by m."""
    tasks: dict[str, list[tuple[int, str]]] = {}
    for task in dict.fromkeys(task for task, _ in task_metrics(data)):
        if said := counting_task(task):
            tasks.setdefault(said[0], []).append((different_words(data, task), task))
    return [
        {
            "kind": kind,
            "metric": metric,
            "floor": FLOORS.get((kind, metric)),
            "control_floor": BETWEEN_TWO.value if kind == "most_frequent_word" else None,
            "tasks": sorted(tasks[kind]),
        }
        for kind, metric in MEASURES
        if kind in tasks
    ]
