"""Which sites of a model stand for its layers, and what they are called."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lm_probe.reports._data import Place, Score
from lm_probe.reports._numbers import from_below

AFTER = ("final_norm", "head_input")
"""Sites that follow the last block."""
BEFORE_NORM = "Blocks 1 to L are before any final norm"
HOLLOW = "hollow, also at layer L, is what comes after it"


class Layer(NamedTuple):
    """One site of a profile."""

    place: Place
    depth: float
    """l / L."""
    score: Score

    @property
    def after(self) -> bool:
        """Whether it follows the last block, at whose layer it stands."""
        return self.place.site in AFTER

    def across(self, relative: bool) -> float:
        """Where it stands on an axis of relative depth, or of layers."""
        return self.depth if relative else self.place.layer


def place_name(place: Place) -> str:
    """What a site is called in every figure; '' for what is no part of a model."""
    if place.layer < 0:
        return ""
    if place.site == "block":
        return f"block {place.layer}"
    known = ("embedding", *AFTER)
    return place.site.replace("_", " ") if place.site in known else f"{place.site} {place.layer}"


def depth_of(profile: Iterable[Place]) -> int:
    """L, the number of blocks."""
    return max((place.layer for place in profile), default=0)


def depths_differ(profiles: Iterable[Mapping[Place, Score]]) -> bool:
    """Whether models are of different depth, so that only relative depth compares them."""
    return len({depth_of(profile) for profile in profiles}) > 1


def all_layers(profile: Mapping[Place, Score]) -> list[Layer]:
    """Every site, from the embedding up: blocks are before any final norm, and what follows block L is at L too."""
    last = max(depth_of(profile), 1)
    return [Layer(place, place.layer / last, profile[place]) for place in sorted(profile, key=from_below)]


def literature_layers(profile: Mapping[Place, Score]) -> list[Layer]:
    """Embedding, blocks 1..L-1, and the final norm in the place of block L, as in transformers' `hidden_states`."""
    last = depth_of(profile)
    shown = {Place(0, "embedding"), *(Place(layer, "block") for layer in range(1, last)), final_place(profile)}
    return [layer for layer in all_layers(profile) if layer.place in shown]


def final_place(profile: Mapping[Place, Score]) -> Place:
    """The last site: the final norm; in a model without one what the head multiplies; else the last block."""
    last = depth_of(profile)
    for site in (*AFTER, "block"):
        if Place(last, site) in profile:
            return Place(last, site)
    return Place(last, "embedding")


def last_block(profile: Mapping[Place, Score]) -> Score | None:
    """The value at block L, before any final norm."""
    return profile.get(Place(depth_of(profile), "block"))
