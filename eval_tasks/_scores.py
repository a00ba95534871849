"""Scores of the answers' log-likelihoods: plain numbers for each document."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lm_probe.eval_tasks._floors import count_floors, word_floors
from lm_probe.eval_tasks._kind import Document

Response = tuple[float, bool]  # lm-eval's (log-likelihood of the answer, whether greedy decoding would give it)


class Arm(NamedTuple):
    """One arm of a document: what was offered, how likely each was, which was right."""

    answers: list[str]
    likelihoods: list[float]
    gold: int

    @property
    def chosen(self) -> int:
        """The index of the most likely answer, the first of equals."""
        return self.likelihoods.index(max(self.likelihoods))

    @property
    def rank(self) -> float:
        """The right answer's place among all, 1 for the most likely; equals share the middle of their places."""
        right = self.likelihoods[self.gold]
        above = sum(likelihood > right for likelihood in self.likelihoods)
        return 1 + above + (self.likelihoods.count(right) - 1) / 2


def arms(document: Document, responses: Sequence[Response]) -> tuple[Arm, Arm]:
    """The full list's answers and the control's.

    Raises:
        ValueError: a log-likelihood is NaN (a comparison with it would quietly choose an answer), or there are not
            two arms of responses.
    """
    likelihoods = [likelihood for likelihood, _ in responses]
    size = len(document["choices"])
    if len(likelihoods) != 2 * size:
        raise ValueError(f"expected {2 * size} responses ({size} answers in two arms), got {len(likelihoods)}")
    if any(math.isnan(likelihood) for likelihood in likelihoods):
        raise ValueError(f"the model gave NaN for document {document['index']}; it cannot be scored")
    return (
        Arm(document["choices"], likelihoods[:size], document["gold"]),
        Arm(document["binary_choices"], likelihoods[size:], document["binary_gold"]),
    )


def score_counts(document: Document, responses: Sequence[Response]) -> dict[str, float | tuple[int, int]]:
    """The metrics `COUNTS` of one document."""
    full, binary = arms(document, responses)
    scores = _count_scores(full, document["n"] / document["m"] if document["query"] else None)
    other = _count_scores(binary, document["n"] / document["m"] if document["query"] else None)
    return {
        **scores,
        **{f"{name}_binary": value for name, value in other.items()},
        "acc_gap": other["acc"] - scores["acc"],
        "mae_gap": scores["mae"] - other["mae"],
        "mae_relative_gap": scores["mae_relative"] - other["mae_relative"],
        "slope": (int(full.answers[full.chosen]), int(full.answers[full.gold])),
        "slope_binary": (int(binary.answers[binary.chosen]), int(binary.answers[binary.gold])),
        **count_floors(document),
    }


def _count_scores(arm: Arm, mean_count: float | None) -> dict[str, float]:
    """The scores of one arm; errors are relative to the mean count, or without one to the right count."""
    counts = [int(answer) for answer in arm.answers]
    answer, truth = counts[arm.chosen], counts[arm.gold]
    return {
        "acc": float(answer == truth),
        "off_by_one": float(abs(answer - truth) <= 1),
        "mae": float(abs(answer - truth)),
        "mae_relative": abs(answer - truth) / (mean_count or truth),
        "bias": float(answer - truth),
        "expected_mae": abs(_expected(counts, arm.likelihoods) - truth),
        "rank": arm.rank,
        "round_share": float(answer % 10 == 0),
    }


def _expected(counts: Sequence[int], likelihoods: Sequence[float]) -> float:
    """The mean of the counts under the softmax of their log-likelihoods."""
    highest = max(likelihoods)
    weights = [math.exp(likelihood - highest) for likelihood in likelihoods]
    return sum(count * weight for count, weight in zip(counts, weights, strict=True)) / sum(weights)


def score_words(document: Document, responses: Sequence[Response]) -> dict[str, float]:
    """The metrics `WORDS` of one document."""
    full, binary = arms(document, responses)
    scores = _word_scores(full, document["counts"])
    other = _word_scores(binary, document["binary_counts"])
    return {
        **scores,
        **{f"{name}_binary": value for name, value in other.items()},
        "acc_gap": other["acc"] - scores["acc"],
        **word_floors(document),
    }


def _word_scores(arm: Arm, counts: Sequence[int]) -> dict[str, float]:
    regret = max(counts) - counts[arm.chosen]
    return {
        "acc": float(arm.chosen == arm.gold),
        "acc_ties": float(regret == 0),
        "regret": float(regret),
        "rank": arm.rank,
    }
