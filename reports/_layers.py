"""Which sites of a model stand for its layers."""

from collections.abc import Mapping
from typing import NamedTuple

from lm_probe.reports._data import Place, Score


class Layer(NamedTuple):
    """One layer of a profile in the convention of the literature."""

    layer: int
    name: str
    depth: float
    score: Score


def depth_of(profile: Mapping[Place, Score]) -> int:
    """L, the number of blocks."""
    return max((place.layer for place in profile), default=0)


def literature_layers(profile: Mapping[Place, Score]) -> list[Layer]:
    """Embedding, blocks 1..L-1, and the final norm in the place of block L, as in transformers' `hidden_states`."""
    last = depth_of(profile)
    places = [Place(0, "embedding"), *(Place(layer, "block") for layer in range(1, last))]
    if last > 0:
        places.append(final_place(profile))
    return [
        Layer(place.layer, _name(place), place.layer / max(last, 1), profile[place])
        for place in places
        if place in profile
    ]


def final_place(profile: Mapping[Place, Score]) -> Place:
    """The last site: the final norm; in a model without one what the head multiplies; else the last block."""
    last = depth_of(profile)
    for site in ("final_norm", "head_input", "block"):
        if Place(last, site) in profile:
            return Place(last, site)
    return Place(last, "embedding")


def last_block(profile: Mapping[Place, Score]) -> Score | None:
    """The value at block L, before any final norm."""
    return profile.get(Place(depth_of(profile), "block"))


def _name(place: Place) -> str:
    return str(place.layer) if place.site == "block" else place.site.replace("_", " ")
