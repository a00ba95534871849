"""Which checkpoints of a long series are shown."""

from collections.abc import Collection, Sequence

import numpy as np

from lm_probe.reports._data import Checkpoint, Profiles, RunData, Vectors
from lm_probe.reports._statistics import extreme, of_model


def thinned(checkpoints: Sequence[Checkpoint], limit: int, keep: Collection[Checkpoint] = ()) -> list[Checkpoint]:
    """At most `limit` checkpoints: first, last, those to keep, and what is farthest from these again and again.

    Far is meant in log(step) and in position by turns, so that neither the many late checkpoints nor the few early
    ones are left out. Order is kept.
    """
    if len(checkpoints) <= limit:
        return list(checkpoints)
    chosen = {0, len(checkpoints) - 1} | {index for index, one in enumerate(checkpoints) if one in keep}
    scales = (
        np.log([max(checkpoint.step or 0, 0.5) for checkpoint in checkpoints]),
        np.arange(len(checkpoints), dtype=float),
    )
    for turn in range(limit - len(chosen)):
        scale = scales[turn % 2]
        distances = np.abs(scale[:, None] - scale[sorted(chosen)]).min(axis=1)
        distances[sorted(chosen)] = -1.0  # also where steps are equal
        chosen.add(int(np.argmax(distances)))
    return [checkpoints[index] for index in sorted(chosen)]


def lines_of(data: RunData, having: Profiles | Vectors, limit: int) -> dict[str, list[Checkpoint]]:
    """For each model the checkpoints that get a line: first, last, the one with the lowest loss, and some between."""
    losses = data.scores("loss", "loss")
    chosen = {}
    for model, known in data.checkpoints.items():
        own = [one for one in known if one in having]
        measured = of_model(losses, own)
        chosen[model] = thinned(own, limit, {extreme(measured, min)} if measured else ())
    return chosen
