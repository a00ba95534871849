"""Several metrics of the same answers, recomputed from the log-likelihoods that lm-eval's sample logs hold."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import softmax

DISCONTINUOUS = ("accuracy", "exact_match")
CONTINUOUS = ("brier", "probability", "log_likelihood")
LOWER_IS_BETTER = frozenset({"brier"})


def choice_metrics(
    log_likelihoods: Sequence[Sequence[float] | Float[np.ndarray, " c"]],
    right: Sequence[int],
    *,
    greedy: Sequence[bool] | Bool[np.ndarray, " n"] | None = None,
    lengths: Sequence[Sequence[float] | Float[np.ndarray, " c"]] | None = None,
) -> dict[str, Float[np.ndarray, " n"]]:
    r"""Scores of each document, by metric; a document may have any number of choices.

    With l the log-likelihoods (divided by `lengths`, where given) and p = softmax(l) over a document's choices, g the
    right one: `accuracy` [argmax l = g]; `brier` $\sum_c (p_c - [c = g])^2$, in [0, 2], better low; `probability`
    $p_g$; `log_likelihood` $l_g$, the model's own and not relative to the choices; `exact_match`, where `greedy` says
    for each document whether the right answer is what the model would write. `brier` without lengths equals lm-eval's
    where every document has as many choices. Cost O(n choices). Does not show knowledge of what is not among the
    choices; p_g can stay at 1/choices while l_g improves, so read both.

    Args:
        log_likelihoods: For each document, of each of its choices.
        right: Index of the right choice.
        greedy: lm-eval's `is_greedy` of the right choice.
        lengths: Of each choice, in tokens or bytes, to compare answers of unequal length.
    """
    if len(log_likelihoods) != len(right):
        raise ValueError(f"{len(log_likelihoods)} documents but {len(right)} right answers: give one for each")
    rows = [np.asarray(row, dtype=float) for row in log_likelihoods]
    if lengths is not None:
        rows = [row / np.asarray(length, dtype=float) for row, length in zip(rows, lengths, strict=True)]
    for place, (row, answer) in enumerate(zip(rows, right, strict=True)):
        if not 0 <= answer < len(row):
            raise ValueError(
                f"document {place} has {len(row)} choices, its right answer is number {answer}: count from 0"
            )
        if np.isnan(row).any():
            raise ValueError(f"document {place} has a log-likelihood of NaN: leave it out for every model")
    pairs = list(zip(rows, map(int, right), strict=True))
    shares = [softmax(row) for row in rows]
    found = {
        "accuracy": np.array([float(row.argmax() == answer) for row, answer in pairs]),
        "brier": np.array([np.square(p - np.eye(len(p))[g]).sum() for p, (_, g) in zip(shares, pairs, strict=True)]),
        "probability": np.array([p[g] for p, (_, g) in zip(shares, pairs, strict=True)]),
        "log_likelihood": np.array([row[answer] for row, answer in pairs]),
    }
    if greedy is not None:
        found["exact_match"] = np.asarray(greedy, dtype=float)
        if found["exact_match"].shape != (len(rows),):
            raise ValueError(
                f"greedy has shape {found['exact_match'].shape}, expected one entry for each of {len(rows)}"
            )
    return found


def chance_of(log_likelihoods: Sequence[Sequence[float] | Float[np.ndarray, " c"]]) -> dict[str, float]:
    """What guessing evenly among the choices scores: 1/c in accuracy and probability, (c - 1)/c in Brier."""
    even = float(np.mean([1 / len(row) for row in log_likelihoods]))
    return {"accuracy": even, "probability": even, "brier": 1 - even, "exact_match": 0.0}


def expected_exact_match(token_log_probabilities: Sequence[Sequence[float]]) -> Float[np.ndarray, " n"]:
    r"""$\prod_t p_t$ of each answer's tokens: the chance of drawing exactly that answer.

    Smooth in the model, where exact match itself cannot resolve a share below 1/n. Set beside the observed exact match
    it says whether a jump is the metric's: if this product follows it, the tokens improved gradually. Greedy decoding
    is right more often than drawing where each token is the likeliest.
    """
    return np.array([np.exp(np.sum(answer)) for answer in token_log_probabilities])
