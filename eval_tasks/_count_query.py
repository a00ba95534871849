"""How often does the query word occur in the list?

The control replaces every other word by one filler: the query word keeps its positions and its count, the list its
length and the question its wording. Only the number of different words changes (m against 2), so the difference
between the two errors, taken inside each document, is the effect of the vocabulary at that length.
"""

import math
import random
from collections.abc import Sequence

from lm_probe.eval_tasks._kind import Document, Item, Kind, Response, chosen_answers
from lm_probe.eval_tasks._words import WORDS


def largest_count(m: int, n: int) -> int:
    """The largest count that is asked for and offered: 6.5 standard deviations over the mean n / m.

    Fewer than one list in ten million would go beyond it and is drawn again.
    """
    mean = n / m
    return min(n - 1, math.ceil(mean + 6.5 * math.sqrt(mean)))


def draw(rng: random.Random, m: int, n: int, index: int) -> Item:
    """Draw n words uniformly from m, ask for one of the m that occurs; the filler rotates with the index.

    A query word that does not occur (about 5 in 100,000 at n = 10 m) or that fills the whole list is drawn again:
    its control would have one word instead of two.
    """
    top = largest_count(m, n)
    while True:
        vocabulary = rng.sample(WORDS, m)
        full = rng.choices(vocabulary, k=n)
        query = rng.choice(vocabulary)
        count = full.count(query)
        if 1 <= count <= top:
            break
    others = [word for word in vocabulary if word != query]
    filler = others[index % len(others)]
    return Item(
        full=full,
        binary=[word if word == query else filler for word in full],
        question=f'How many times does the word "{query}" appear in the list? Answer with a single number.',
        answers=[str(number) for number in range(top + 1)],
        gold=count,
        facts={"query": query, "filler": filler},
    )


def score(document: Document, responses: Sequence[Response]) -> dict[str, float]:
    """Accuracy and absolute error in both arms; a gap is positive where the full list is harder than its control."""
    gold: int = document["gold"]
    full, binary = chosen_answers(document, responses)
    return {
        "acc": float(full == gold),
        "acc_binary": float(binary == gold),
        "acc_gap": float(binary == gold) - float(full == gold),
        "mae": float(abs(full - gold)),
        "mae_binary": float(abs(binary - gold)),
        "mae_gap": float(abs(full - gold) - abs(binary - gold)),
    }


KIND = Kind(
    description="how often does a given word occur in a list of n words",
    draw=draw,
    score=score,
    higher_is_better={
        "acc": True,
        "acc_binary": True,
        "acc_gap": False,
        "mae": False,
        "mae_binary": False,
        "mae_gap": False,
    },
)
