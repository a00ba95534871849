"""What a model scores that does not count, on the very documents: each document's share of the floor."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lm_probe.eval_tasks._kind import Document


def constants(documents: Sequence[Document], counts: bool) -> dict[str, Any]:
    """The answers that are best if all documents get the same one: the most common, and for counts the median.

    Documents carry them, so that each can be scored by itself; a `--limit` then leaves them as they are.
    """
    answers = [document["choices"][document["gold"]] for document in documents]
    best = Counter(answers).most_common(1)[0][0]
    if not counts:
        return {"constant": best}
    binary = [document["binary_choices"][document["binary_gold"]] for document in documents]
    return {
        "constant": best,
        "binary_constant": Counter(binary).most_common(1)[0][0],
        "constant_count": statistics.median_low(map(int, answers)),
        "binary_constant_count": statistics.median_low(map(int, binary)),
    }


def count_floors(document: Document) -> dict[str, float]:
    """Accuracy and error of a uniform guess among the answers, and of the best constant one.

    The control has floors of its own: with `control=matched`, and in `most_frequent_count`, its right answers are
    others. An error is relative to what the task's own is: the mean count, or without one the right count.
    """
    answers = [int(answer) for answer in document["choices"]]
    truth = answers[document["gold"]]
    binary_right = document["binary_choices"][document["binary_gold"]]
    binary_truth = int(binary_right)
    mean_count = document["n"] / document["m"] if document["query"] else None
    error = abs(document["constant_count"] - truth)
    binary_error = abs(document["binary_constant_count"] - binary_truth)
    return {
        "floor_chance_acc": 1 / len(answers),
        "floor_constant_acc": float(document["constant"] == document["choices"][document["gold"]]),
        "floor_chance_mae": sum(abs(answer - truth) for answer in answers) / len(answers),
        "floor_constant_acc_binary": float(document["binary_constant"] == binary_right),
        "floor_constant_mae": float(error),
        "floor_constant_mae_binary": float(binary_error),
        "floor_constant_mae_relative": error / (mean_count or truth),
        "floor_constant_mae_relative_binary": binary_error / (mean_count or binary_truth),
    }


def word_floors(document: Document) -> dict[str, float]:
    """Accuracy of a uniform guess among the words, of the best constant one, and of repeating the list's last word."""
    right = document["choices"][document["gold"]]
    return {
        "floor_chance_acc": 1 / len(document["choices"]),
        "floor_constant_acc": float(document["constant"] == right),
        "floor_last_word_acc": float(document["last_word"] == right),
        "floor_last_word_acc_binary": float(document["binary_last_word"] == right),
    }
