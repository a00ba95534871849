"""The first checkpoint of a series beside another: whether weight probes can compare the two."""

import math
from collections.abc import Callable, Collection

import torch

from lm_probe.model_adapters import UserError, Weights
from lm_probe.probes import Need


def why_unsound(open_first: Callable[[], Weights], needs: Collection[Need]) -> str | None:
    """What keeps everybody from comparing with a checkpoint: tensors that are missing, damaged or not finite.

    Reads every tensor that probes of these needs read.
    """
    try:
        first = open_first()
        for name in _names(first, needs):
            if not math.isfinite(float(first.read(name).sum(dtype=torch.float64))):
                return f"it has NaN or infinite values in {name}"
    except UserError as error:
        return str(error)
    return None


def why_unlike(first: Weights, other: Weights, needs: Collection[Need]) -> str | None:
    """What keeps one checkpoint from being compared with the first: other matrices, by the files' headers.

    Raises:
        UserError: the other lacks a tensor; this is its own fault.
    """
    shapes = [[(name, weights.listed_as(name).shape) for name in _names(weights, needs)] for weights in (first, other)]
    for (name, then), (_, now) in zip(*shapes, strict=False):
        if then != now:
            return f"its {name} is {_times(then)} and not {_times(now)}"
    return None if len(shapes[0]) == len(shapes[1]) else "it has another number of matrices"


def _names(weights: Weights, needs: Collection[Need]) -> list[str]:
    return weights.names_for(head="head" in needs, embedding="embedding" in needs, projections="projections" in needs)


def _times(shape: Collection[int]) -> str:
    return " x ".join(map(str, shape))
