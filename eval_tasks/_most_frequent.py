"""Lists with a most frequent word, and their controls of two words with the same lead.

The control has the same length and the same margin between the most frequent word and the runner-up (with a smaller
margin the question would be harder, with a larger one easier). In a list of two words that margin has the parity of
the length, so a document with an odd margin has n + 1 words in both arms; leaving odd margins out would drop the
hardest documents, those with margin 1. Lists where several words share the first place are drawn again, or with
`ties=accept` kept, with one of those words as the answer.
"""

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from lm_probe.eval_tasks._options import Options
from lm_probe.eval_tasks._sampling import draw_list, largest_count, tries


class Pair(NamedTuple):
    """A list, its control, and what both are about."""

    vocabulary: list[str]
    full: list[str]
    binary: list[str]
    first: str  # the most frequent word, in both
    rival: str  # the control's other word
    margin: int


def draw_pair(rng: random.Random, words: Sequence[str], options: Options, place: int) -> Pair:
    """Draw m words, a list of them, and its control; the control's rival rotates with the place."""
    vocabulary = rng.sample(words, options.m)
    full, first, margin = _draw_full(rng, vocabulary, options.n, options)
    for _ in tries("most_frequent", options):
        if (len(full) - margin) % 2 == 0:
            break
        full, first, margin = _draw_full(rng, vocabulary, options.n + 1, options)
    others = [word for word in vocabulary if word != first]
    rival = others[place % len(others)]
    wins = (len(full) + margin) // 2
    binary = [first] * wins + [rival] * (len(full) - wins)
    rng.shuffle(binary)
    return Pair(vocabulary, full, binary, first, rival, margin)


def _draw_full(rng: random.Random, vocabulary: list[str], length: int, options: Options) -> tuple[list[str], str, int]:
    """A list that may be asked about, its most frequent word, and that word's lead over the runner-up."""
    top = largest_count(options.m, options.n, options.sampling)
    for _ in tries("most_frequent", options):
        words = draw_list(rng, vocabulary, length, options.sampling)
        counts = Counter(words)
        most, second = sorted((*counts.values(), 0), reverse=True)[:2]
        # A word that fills the list would leave the control with one word instead of two.
        if most > top or most == length or (most == second and options.ties == "reject"):
            continue
        break
    first = rng.choice([word for word in vocabulary if counts[word] == most])
    return words, first, most - second
