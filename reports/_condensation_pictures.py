"""The figures of condensation: every block and role over training, and the neurons of the most condensed projection."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from lm_probe.reports._data import Checkpoint, HeatMap, RunData
from lm_probe.reports._figure_condensation import ByRole, neurons, over_layers, over_training
from lm_probe.reports._figure_trend import has_lines
from lm_probe.reports._markdown import escape, few, number, sentences
from lm_probe.reports._numbers import Address, Place
from lm_probe.reports._pictures import Picture
from lm_probe.reports._provenance import machine

_PROBE, _METRIC = "condensation", "mean_abs_cosine_over_gaussian"
_LABEL = "mean |cos| over chance"
_ROLES = ("embedding", "query", "key", "value", "attention_output", "mlp_gate", "mlp_in", "mlp_out")
_MODELS = 4
_PAIRS = 8
_CHANCE = (
    "Mean absolute cosine between the incoming weights of the neurons of a projection, over that of a Gaussian matrix "
    "with as many columns: 1 (dashed) is chance, and above it neurons share directions."
)
_SORTED = (
    "Cosines between the incoming weights of up to 48 evenly spaced neurons, sorted at each checkpoint by itself so "
    "that neurons of one direction stand together: a row is not the same neuron in both panels. Blocks of red are "
    "neurons of one direction, and blue is between opposite ones; between rows of a Gaussian matrix with d columns "
    "cosines scatter by 1/√d around 0."
)


class _Strongest(NamedTuple):
    """The projection of a block that is farthest above chance at the last checkpoint of its model."""

    ratio: float
    maps: Sequence[HeatMap]
    """Of the first and the last checkpoint; of the only one."""


def condensation_pictures(data: RunData) -> list[Picture]:
    """How each projection condenses, and what that looks like where it is strongest."""
    made = machine(data, _PROBE)
    models = _by_role(data)
    series = {model: own for model, own in models.items() if has_lines(_measured(own))}
    single = {model: own for model, own in models.items() if model not in series}
    pictures = []
    if series:
        shown = dict(list(series.items())[:_MODELS])
        caption = f"{sentences(_CHANCE, 'A line is a layer.', _first_of(shown, series))}{made}"
        draw = partial(over_training, shown, _LABEL)
        pictures.append(Picture("condensation", "Condensation over training", draw, caption))
    if single:
        shown = dict(list(single.items())[:_MODELS])
        caption = f"{sentences(_CHANCE, 'One checkpoint of each model.', _first_of(shown, single))}{made}"
        draw = partial(over_layers, shown, _LABEL)
        pictures.append(Picture("condensation_layers", "Condensation over layers", draw, caption))
    strongest = {model: found for model in models if (found := _strongest(data, model, models[model]))}
    if strongest:
        drawn = dict(list(strongest.items())[:_PAIRS])
        maps = [one for found in drawn.values() for one in found.maps]
        caption = f"{sentences(_why(drawn), _SORTED, _first_of(drawn, strongest))}{made}"
        title = "Neurons of the most condensed projection"
        pictures.append(Picture("condensed_neurons", title, partial(neurons, maps), caption))
    return pictures


def _by_role(data: RunData) -> dict[str, ByRole]:
    """Models in the order of the report; roles in that of a forward pass."""
    having = {one.component for one in data.indexed if one[:2] == (_PROBE, _METRIC)} & set(_ROLES)
    grids = {role: data.indexed.grids(Address(_PROBE, _METRIC, role)) for role in _ROLES if role in having}
    found = {model: {role: own[model] for role, own in grids.items() if model in own} for model in data.models}
    return {model: own for model, own in found.items() if own}


def _measured(own: ByRole) -> list[Checkpoint]:
    return list(dict.fromkeys(one for grid in own.values() for one in grid.checkpoints))


def _strongest(data: RunData, model: str, own: ByRole) -> _Strongest | None:
    """Of the projections of blocks: the embedding is a panel of its own."""
    maps: dict[tuple[str, int], list[HeatMap]] = {}
    for one in data.heat_maps:
        if one.checkpoint.model == model and one.layer > 0:
            maps.setdefault((one.role, one.layer), []).append(one)
    ratios = {}
    for (role, layer), drawn in maps.items():
        grid, place, last = own.get(role), Place(layer, "block"), drawn[-1].checkpoint
        if grid is not None and place in grid.places and last in grid.checkpoints:
            value = grid.value[grid.checkpoints.index(last), grid.places.index(place)]
            if value == value:
                ratios[role, layer] = float(value)
    if not ratios:
        return None
    where = max(ratios, key=ratios.__getitem__)
    return _Strongest(ratios[where], maps[where])


def _why(shown: Mapping[str, _Strongest]) -> str:
    said = [
        f"{escape(model)} block {found.maps[-1].layer}, {found.maps[-1].role.replace('_', ' ')} "
        f"({number(found.ratio, 3)} times chance)"
        for model, found in shown.items()
    ]
    return f"Of each model the projection that is farthest above chance at its last checkpoint: {few(said)}."


def _first_of(shown: Mapping[str, object], having: Mapping[str, object]) -> str:
    return "" if len(shown) == len(having) else f"{len(shown)} of {len(having)} models are shown."
