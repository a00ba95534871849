"""What a model scores that does not count: each document's share of the floor."""

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lm_probe.eval_tasks._kind import Document


def constants(documents: Sequence[Document], counts: bool) -> dict[str, Any]:
    """The answers that are best if all documents get the same one, and what they score on all of them.

    The most common answer, and for counts the median. Documents carry both, so that each can be scored by itself and a
    `--limit` changes nothing: of the four documents that it leaves, none may have the answer that is right in an eighth
    of all, and any right answer would beat a floor of 0.
    """
    found: dict[str, Any] = {}
    for arm, name in (("", ""), ("binary_", "_binary")) if counts else (("", ""),):
        answers = [document[f"{arm}choices"][document[f"{arm}gold"]] for document in documents]
        best, times = Counter(answers).most_common(1)[0]
        found |= {f"{arm}constant": best, f"floor_constant_acc{name}": times / len(answers)}
        if counts:
            truths = list(map(int, answers))
            middle = statistics.median_low(truths)
            errors = [abs(middle - truth) for truth in truths]
            relative = [
                error / _scale(document, truth)
                for document, error, truth in zip(documents, errors, truths, strict=True)
            ]
            found[f"{arm}constant_count"] = middle
            found[f"floor_constant_mae{name}"] = statistics.fmean(errors)
            found[f"floor_constant_mae_relative{name}"] = statistics.fmean(relative)
    return found


def _scale(document: Document, truth: int) -> float:
    """What the task's own errors are relative to: the mean count, or without one the right count."""
    return document["n"] / document["m"] if document["query"] else truth


def count_floors(document: Document) -> dict[str, float]:
    """Accuracy and error of a uniform guess among the answers, and of the best constant one over all documents.

    The control has floors of its own: with `control=matched`, and in `most_frequent_count`, its right answers are
    others.
    """
    answers = [int(answer) for answer in document["choices"]]
    truth = answers[document["gold"]]
    of_constants = ("acc", "mae", "mae_relative")
    return {
        "floor_chance_acc": 1 / len(answers),
        "floor_chance_mae": sum(abs(answer - truth) for answer in answers) / len(answers),
        **{name: document[name] for kind in of_constants for name in _arms(f"floor_constant_{kind}")},
    }


def _arms(name: str) -> tuple[str, str]:
    return name, f"{name}_binary"


def word_floors(document: Document) -> dict[str, float]:
    """Accuracy of a uniform guess, of the best constant word over all documents, and of repeating the list's last."""
    right = document["choices"][document["gold"]]
    return {
        "floor_chance_acc": 1 / len(document["choices"]),
        "floor_constant_acc": document["floor_constant_acc"],
        "floor_last_word_acc": float(document["last_word"] == right),
        "floor_last_word_acc_binary": float(document["binary_last_word"] == right),
    }
