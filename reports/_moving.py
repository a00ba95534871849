"""Which measures of hidden states and weights change at the checkpoints at which the loss does."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lm_probe.reports._comovement import FEWEST, Comovement, measure_comovement
from lm_probe.reports._data import RunData, Scores
from lm_probe.reports._layers import final_place
from lm_probe.reports._many import holm
from lm_probe.reports._series import stepped


@dataclass(frozen=True)
class Moving:
    """A measure beside the loss of one model. An association, whatever the p value."""

    model: str
    measure: str
    found: Comovement
    """Its lag is that of the measure behind the loss."""
    p_adjusted: float
    """Holm, over all pairs of the report."""


def moving(data: RunData) -> list[Moving]:
    """Co-movement of each measure with the loss, for each model with checkpoints enough."""
    losses = data.scores("loss", "loss")
    found = []
    for model in data.models:
        for name, scores in _measures(data):
            own = stepped({one: score for one, score in scores.items() if one in losses}, data.curve(model))
            values = np.array([score.value for score in own.values()])
            if len(own) > FEWEST and np.ptp(values):
                loss = np.array([losses[one].value for one in own])
                steps = [float(one.step or 0) for one in own]
                found.append((model, name, measure_comovement(loss, values, steps=steps)))
    adjusted = holm([one.p_value for _, _, one in found])
    return [Moving(*one, p) for one, p in zip(found, adjusted, strict=True)]


def _measures(data: RunData) -> Iterator[tuple[str, Scores]]:
    for probe, metric, name in (
        (data.cosine_probe, "mean_cosine", "mean cosine, last site"),
        ("geometry", "mean_cosine_centred", "mean cosine after centring, last site"),
        ("geometry", "effective_rank", "effective rank of the states, last site"),
    ):
        profiles = data.profiles(probe, metric)
        places = {one: final_place(profile) for one, profile in profiles.items()}
        yield name, {one: profiles[one][place] for one, place in places.items() if place in profiles[one]}
    for metric, name in (("singular_entropy", "singular entropy of the head"), ("effective_rank", "rank of the head")):
        yield name, data.scores("head_spectrum", metric, "all_rows")
