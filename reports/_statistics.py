"""Best, last and extreme checkpoints, and the paired difference of two losses."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lm_probe.reports._data import Checkpoint, RunData, Score, Scores


class Difference(NamedTuple):
    """A difference with its standard error."""

    value: float
    stderr: float | None
    paired: bool
    clusters: int


def of_model(scores: Scores, checkpoints: Sequence[Checkpoint]) -> Scores:
    """The scores of one model, in the order of its checkpoints."""
    return {checkpoint: scores[checkpoint] for checkpoint in checkpoints if checkpoint in scores}


def extreme(scores: Mapping[Checkpoint, Score], best: Callable[..., Checkpoint]) -> Checkpoint:
    """The earliest checkpoint with the lowest (`best=min`) or highest (`best=max`) value."""
    return best(scores, key=lambda checkpoint: scores[checkpoint].value)


def final(scores: Iterable[Checkpoint]) -> Checkpoint:
    """The one with the highest step; where none has a step, the last in the order of names."""
    known = list(scores)
    return ([one for one in known if one.step is not None] or known)[-1]


def loss_difference(data: RunData, later: Checkpoint, earlier: Checkpoint) -> Difference:
    """Loss of one checkpoint less that of another, paired document by document where both saw the same sample."""
    losses = data.scores("loss", "loss")
    value = losses[later].value - losses[earlier].value
    if same_documents(data, (later, earlier)):
        nats, tokens = data.vectors["nats_by_cluster"], data.vectors["tokens_by_cluster"][later]
        return Difference(value, paired_error(nats[later] - nats[earlier], tokens), True, len(tokens))
    first, second = losses[later].stderr, losses[earlier].stderr
    independent = None if first is None or second is None else sqrt(first**2 + second**2)
    return Difference(value, independent, False, 0)


def same_documents(data: RunData, checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether the losses of these checkpoints are sums over the same pieces of text, two or more of them."""
    tokens, nats = data.vectors["tokens_by_cluster"], data.vectors["nats_by_cluster"]
    if not all(one in tokens and one in nats for one in checkpoints):
        return False
    samples = {data.sample(one) for one in checkpoints}
    first = tokens[checkpoints[0]]
    return (
        len(samples) == 1
        and None not in samples
        and len(first) > 1
        and all(np.array_equal(tokens[one], first) for one in checkpoints)
    )


def paired_error(differences: Float[np.ndarray, " c"], tokens: Float[np.ndarray, " c"]) -> float:
    r"""Cluster-robust standard error of $\sum_c y_c / \sum_c x_c$ for differences y and tokens x of each document.

    $\sqrt{C/(C-1) \sum_c (y_c - R x_c)^2} / \sum_c x_c$, as for the loss itself: what both checkpoints find hard in
    a document cancels.
    """
    clusters, total = len(tokens), tokens.sum()
    residuals = differences - differences.sum() / total * tokens
    return float(np.sqrt(clusters / (clusters - 1) * np.square(residuals).sum()) / total)
