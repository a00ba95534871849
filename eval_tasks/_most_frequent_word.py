"""Which word occurs most often in the list?

The control has two words, the same length and the same margin between the most frequent word and the runner-up (with
a smaller margin the question would be harder, with a larger one easier). In a list of two words that margin has the
parity of the length, so a document with an odd margin has n + 1 words in both arms; leaving odd margins out would
drop the hardest documents, those with margin 1. Lists where two words share the first place are drawn again.

Both arms offer the same m answers. With only the control's two words to choose from, a model that knows nothing
would be right half of the time there and 1 / m of the time in the full list: a gap made of chance alone.
"""

import random
from collections import Counter
from collections.abc import Sequence

from lm_probe.eval_tasks._kind import Document, Item, Kind, Response, chosen_answers
from lm_probe.eval_tasks._words import WORDS


def draw(rng: random.Random, m: int, n: int, index: int) -> Item:
    """Draw n words uniformly from m until one is the most frequent; the control's rival rotates with the index."""
    vocabulary = rng.sample(WORDS, m)
    full, gold, margin = _without_tie(rng, vocabulary, n)
    while (len(full) - margin) % 2:
        full, gold, margin = _without_tie(rng, vocabulary, n + 1)
    others = [word for word in vocabulary if word != gold]
    rival = others[index % len(others)]
    wins = (len(full) + margin) // 2
    binary = [gold] * wins + [rival] * (len(full) - wins)
    rng.shuffle(binary)
    return Item(
        full=full,
        binary=binary,
        question="Which word appears most often in the list? Answer with a single word.",
        answers=vocabulary,
        gold=vocabulary.index(gold),
        facts={"rival": rival, "margin": margin},
    )


def _without_tie(rng: random.Random, vocabulary: list[str], length: int) -> tuple[list[str], str, int]:
    """A uniform list with one most frequent word, that word, and its lead over the runner-up."""
    while True:
        words = rng.choices(vocabulary, k=length)
        (first, most), (_, second) = [*Counter(words).most_common(2), ("", 0)][:2]
        if most > second:
            return words, first, most - second


def score(document: Document, responses: Sequence[Response]) -> dict[str, float]:
    """Accuracy in both arms; the gap is positive where the full list is harder than its control."""
    gold: int = document["gold"]
    full, binary = chosen_answers(document, responses)
    return {
        "acc": float(full == gold),
        "acc_binary": float(binary == gold),
        "acc_gap": float(binary == gold) - float(full == gold),
    }


KIND = Kind(
    description="which word occurs most often in a list of n words",
    draw=draw,
    score=score,
    higher_is_better={"acc": True, "acc_binary": True, "acc_gap": False},
)
