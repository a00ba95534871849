"""Whether a context that is asked for fits the models, from their configs, before anything is measured."""

from collections.abc import Sequence
from contextlib import suppress

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._audit import open_to_look
from lm_probe.sweeps._plan import Visit


def refuse_long_context(context: int, visits: Sequence[Visit]) -> None:
    """Refuses a context that a model has no positions for.

    The first checkpoint of a source whose config can be read stands for the others; one at fault is told at its turn.

    Raises:
        UserError: there is such a model.
    """
    limits: dict[str, tuple[str, int | None]] = {}
    for visit in visits:
        if visit.source not in limits:
            with suppress(UserError):
                limits[visit.source] = visit.model, open_to_look(visit).max_context
    short = {model: limit for model, limit in limits.values() if limit is not None and limit < context}
    if short:
        model = min(short, key=lambda name: short[name])
        raise UserError(
            f"--context {context} is more than the {short[model]} positions of {model}: give --context "
            f"{short[model]} or less{', or leave it out of the sources' if len(limits) > len(short) else ''}"
        )
