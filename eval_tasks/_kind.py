"""What a kind of counting question is: how an item is drawn, what is asked, how the two answers are scored."""

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Document = dict[str, Any]
Response = tuple[float, bool]  # lm-eval's (log-likelihood of the answer, whether greedy decoding would give it)

# Part of every document's seed. Raise it whenever the same (kind, m, n, index, seed) would give another document.
GENERATOR_VERSION = 1


class Item(NamedTuple):
    """One question over two lists: `full` draws on m words, `binary` (the control) on two."""

    full: list[str]
    binary: list[str]
    question: str
    answers: list[str]  # what the model chooses from, the same in both arms
    gold: int  # index of the right answer, the same in both arms
    facts: dict[str, str | int]  # what the kind wants recorded: query, filler, margin, ...


class Kind(NamedTuple):
    """A kind of question. A new one is a file like `_count_query.py` and a line in `_cells.py`."""

    description: str
    draw: Callable[[random.Random, int, int, int], Item]  # (private generator, m, n, index)
    score: Callable[[Document, Sequence[Response]], dict[str, float]]
    higher_is_better: dict[str, bool]  # the metrics that `score` gives, in the order of the table


def private_generator(kind: str, m: int, n: int, index: int, seed: int) -> random.Random:
    """A generator that depends on nothing but its arguments: not on what was drawn or imported before."""
    name = f"{GENERATOR_VERSION}/{kind}/{m}/{n}/{index}/{seed}"
    return random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))


def chosen_answers(document: Document, responses: Sequence[Response]) -> tuple[int, int]:
    """The most likely answer in the full arm and in the binary arm, as indices into the document's answers.

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
    full, binary = likelihoods[:size], likelihoods[size:]
    return full.index(max(full)), binary.index(max(binary))
