"""The figures of the controls of hidden states (`--controls`)."""

import re
from collections.abc import Mapping
from functools import partial

from lm_probe.reports._data import Checkpoint, Place, Profiles, RunData, Score
from lm_probe.reports._figure_controls import beside_controls, over_tokens
from lm_probe.reports._layers import BEFORE_NORM, HOLLOW
from lm_probe.reports._markdown import sentences
from lm_probe.reports._numbers import Address
from lm_probe.reports._pictures import Picture
from lm_probe.reports._statistics import final

_METRIC, _NAME = "mean_cosine", "mean cosine"
_PROBES = ("anisotropy", "geometry")
"""Their mean cosine is one and the same quantity."""
_MEASURED = "measured"
_CONTROLS = {
    "random": ("random weights", "Random weights: the same architecture on the same text."),
    "gaussian": ("Gaussian vectors", "Gaussian vectors: as long as the measured ones, in random directions."),
    "shuffled": ("shuffled tokens", "Shuffled tokens: the same text without its order."),
}
_MODELS = 6
_LAST = "The last checkpoint of each model that has them."


def control_pictures(data: RunData) -> list[Picture]:
    """What was measured beside what its controls give, and what fewer tokens give."""
    return [*_beside(data), *_over_tokens(data)]


def _beside(data: RunData) -> list[Picture]:
    measured = data.mean_cosines
    controls = {kind: _first_known(data, kind) for kind in _CONTROLS}
    found: dict[Checkpoint, dict[str, Mapping[Place, Score]]] = {}
    for one in _last(data, [own for own in measured if any(own in profiles for profiles in controls.values())]):
        known = {_CONTROLS[kind][0]: profiles[one] for kind, profiles in controls.items() if one in profiles}
        found[one] = {_MEASURED: measured[one], **known}
    if not found:
        return []
    shown = dict(list(found.items())[:_MODELS])
    kinds = {kind for own in shown.values() for kind in own}
    said = [remark for name, remark in _CONTROLS.values() if name in kinds]
    caption = sentences(_LAST, *said, f"{BEFORE_NORM}; {HOLLOW}. Bars are 95 % intervals.", _some(shown, found))
    draw = partial(beside_controls, shown, data.models, _NAME)
    return [Picture("anisotropy_controls", "Anisotropy beside its controls", draw, caption)]


def _over_tokens(data: RunData) -> list[Picture]:
    curves: dict[Checkpoint, dict[int, Mapping[Place, Score]]] = {}
    for probe in reversed(_PROBES):  # of both the first one is shown
        for address in data.indexed:
            if address[:2] != (f"{probe}_curve", _METRIC) or not (size := _tokens(address.component)):
                continue
            for one, profile in data.indexed[address].items():
                curves.setdefault(one, {})[size] = profile
    found = {one: curves[one] for one in _last(data, [own for own, sizes in curves.items() if len(sizes) > 1])}
    if not found:
        return []
    shown = dict(list(found.items())[:_MODELS])
    caption = sentences(
        _LAST,
        "A point is over the first so many tokens of the sample: where a line is level, more text would not move it.",
        "Dashed is what comes after the last block; bars are 95 % intervals.",
        _some(shown, found),
    )
    draw = partial(over_tokens, shown, _NAME)
    return [Picture("anisotropy_tokens", "Anisotropy over the number of tokens", draw, caption)]


def _first_known(data: RunData, kind: str) -> Profiles:
    """A control's mean cosines: of the probe that comes first where both have it."""
    found: Profiles = {}
    for probe in reversed(_PROBES):
        found |= data.indexed.get(Address(f"{probe}_{kind}", _METRIC, None), {})
    return found


def _last(data: RunData, having: list[Checkpoint]) -> list[Checkpoint]:
    """Of each model, in the order of the report."""
    own = [[one for one in known if one in having] for known in data.checkpoints.values()]
    return [final(known) for known in own if known]


def _tokens(component: str | None) -> int | None:
    """How many tokens a point of the curve is over: its component is `00625 tokens`."""
    said = re.fullmatch(r"(\d+) tokens", component or "")
    return int(said[1]) if said else None


def _some(shown: Mapping[Checkpoint, object], found: Mapping[Checkpoint, object]) -> str:
    return "" if len(shown) == len(found) else f"{len(shown)} of {len(found)} models are shown."
