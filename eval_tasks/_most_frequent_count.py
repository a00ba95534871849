"""How often does the most frequent word occur in the list?

No list of two words keeps the count: the maximum of two is at least n / 2, that of m words about 14 to 22 at n = 10 m.
The difference between the arms therefore mixes the number of different words with the size of the count, and only
relative errors can be compared. So that they can, both arms offer answers at the same ratios to the right one: where
the full list offers 0, 1, 2, ... around a count c, the control offers the multiples of (its count) / c, rounded. The
number of answers, the right one's place among them and the relative error of every wrong one are then the same.
Conclusions about the vocabulary belong to `count_query`, whose control keeps the count.
"""

import random
from collections.abc import Sequence

from lm_probe.eval_tasks._kind import Item, Kind
from lm_probe.eval_tasks._most_frequent import draw_pair
from lm_probe.eval_tasks._options import Options
from lm_probe.eval_tasks._sampling import largest_count


def draw(rng: random.Random, words: Sequence[str], options: Options, place: int) -> list[Item]:
    """One question over a list with a most frequent word."""
    pair = draw_pair(rng, words, options, place)
    gold, binary_gold = pair.full.count(pair.first), pair.binary.count(pair.first)
    counts = range(largest_count(options.m, options.n, options.sampling) + 1)
    return [
        Item(
            full=pair.full,
            binary=pair.binary,
            vocabulary=pair.vocabulary,
            answers=[str(count) for count in counts],
            gold=gold,
            # In whole numbers: (2 c b + g) // 2 g is c b / g rounded half up, the same on every machine.
            binary_answers=[str((2 * count * binary_gold + gold) // (2 * gold)) for count in counts],
            binary_gold=gold,
            facts={"most": pair.first, "rival": pair.rival, "margin": pair.margin},
        )
    ]


KIND = Kind("most_frequent_count", "how often does the most frequent word occur in a list of n words", True, draw)
