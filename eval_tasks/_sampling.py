"""How a list is drawn, and the largest count that is offered as an answer."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from lm_probe.eval_tasks._errors import TaskError
from lm_probe.eval_tasks._options import Options

TRIES = 20_000


def tries(task: str, options: Options) -> Iterator[None]:
    """So many tries to draw a list, and then a refusal: some options leave no list that could be asked about.

    Raises:
        TaskError: none was found.
    """
    yield from itertools.repeat(None, TRIES)
    raise TaskError(
        f"{task}: in {TRIES} tries no list of n={options.n} words of m={options.m} different ones could be asked about "
        f"with sampling={options.sampling}: give a larger n, for example --metadata '{{\"n\": {10 * options.m}}}'"
    )


def draw_list(rng: random.Random, words: Sequence[str], n: int, sampling: str) -> list[str]:
    """A list of n of the words, in random order.

    `iid` draws each uniformly, so that counts lie close to n / m. `balanced` draws the counts as a uniform random
    partition of n into m parts of at least 1, so that small and large counts are seen as well.
    """
    if sampling == "iid":
        return rng.choices(words, k=n)
    cuts = [0, *sorted(rng.sample(range(1, n), len(words) - 1)), n]
    drawn = [word for word, (start, end) in zip(words, pairwise(cuts), strict=True) for _ in range(end - start)]
    rng.shuffle(drawn)
    return drawn


def largest_count(m: int, n: int, sampling: str) -> int:
    """The largest count that is asked for and offered; a list that would go beyond it is drawn again.

    For `iid` 6.5 standard deviations over the mean n / m, which fewer than one word in ten million exceeds; for
    `balanced` 14 times the mean (its counts are nearly geometric), which one in a million exceeds.
    """
    mean = n / m
    largest = mean + 6.5 * math.sqrt(mean) if sampling == "iid" else 14 * mean
    return min(n - 1, math.ceil(largest))
