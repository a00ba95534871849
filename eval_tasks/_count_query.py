"""How often does the query word occur in the list?

The control replaces every other word by one filler: the query word keeps its positions and its count, the list its
length and the question its wording. Only the number of different words changes (m against 2), so the difference
between the two errors, taken inside each document, is the effect of the vocabulary at that length.

With `control=matched` the control is another list, of the query word with probability 1 / m and of the filler: the
count then differs from the full list's, though not its distribution (under `iid`), and the difference is not one of
relabelling alone.
"""

import random
from collections.abc import Sequence

from lm_probe.eval_tasks._kind import Item, Kind
from lm_probe.eval_tasks._options import Options
from lm_probe.eval_tasks._sampling import draw_list, largest_count, tries


def draw(rng: random.Random, words: Sequence[str], options: Options, place: int) -> list[Item]:
    """Draw m words and a list of n of them; ask for some that occur. The filler rotates with the place.

    A list is drawn again if too few words can be asked for: those that occur (5 in 100,000 do not at n = 10 m), at
    most as often as the answers go, and do not fill the list, for their control would have one word instead of two.
    """
    top = largest_count(options.m, options.n, options.sampling)
    for _ in tries("count_query", options):
        vocabulary = rng.sample(words, options.m)
        full = draw_list(rng, vocabulary, options.n, options.sampling)
        queries = rng.sample(vocabulary, options.questions_per_list)
        if all(1 <= full.count(query) <= top for query in queries):
            break
    return [
        _item(rng, vocabulary, full, query, options, top, place * len(queries) + turn)
        for turn, query in enumerate(queries)
    ]


def _item(
    rng: random.Random, vocabulary: list[str], full: list[str], query: str, options: Options, top: int, turn: int
) -> Item:
    others = [word for word in vocabulary if word != query]
    filler = others[turn % len(others)]
    binary = [word if word == query else filler for word in full]
    if options.control == "matched":
        binary = _matched(rng, query, filler, options, top)
    answers = [str(number) for number in range(top + 1)]
    return Item(
        full=full,
        binary=binary,
        vocabulary=vocabulary,
        answers=answers,
        gold=full.count(query),
        binary_answers=answers,
        binary_gold=binary.count(query),
        query=query,
        facts={"filler": filler},
    )


def _matched(rng: random.Random, query: str, filler: str, options: Options, top: int) -> list[str]:
    for _ in tries("count_query", options):
        words = rng.choices((query, filler), (1, options.m - 1), k=options.n)
        if 1 <= words.count(query) <= top:
            break
    return words


KIND = Kind("count_query", "how often does a given word occur in a list of n words", True, draw)
