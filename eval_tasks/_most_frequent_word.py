"""Which word occurs most often in the list?

Both arms offer the same m answers. With only the control's two words to choose from, a model that knows nothing
would be right half of the time there and 1 / m of the time in the full list: a gap made of chance alone.
"""

import random
from collections.abc import Sequence

from lm_probe.eval_tasks._kind import Item, Kind
from lm_probe.eval_tasks._most_frequent import draw_pair
from lm_probe.eval_tasks._options import Options


def draw(rng: random.Random, words: Sequence[str], options: Options, place: int) -> list[Item]:
    """One question over a list with a most frequent word."""
    pair = draw_pair(rng, words, options, place)
    gold = pair.vocabulary.index(pair.first)
    return [
        Item(
            full=pair.full,
            binary=pair.binary,
            vocabulary=pair.vocabulary,
            answers=pair.vocabulary,
            gold=gold,
            binary_answers=pair.vocabulary,
            binary_gold=gold,
            facts={"rival": pair.rival, "margin": pair.margin},
        )
    ]


KIND = Kind("most_frequent_word", "which word occurs most often in a list of n words", False, draw)
