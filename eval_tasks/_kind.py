"""What a kind of counting question is: how items are drawn from a list, and what kind of answer they have."""

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lm_probe.eval_tasks._options import Options

Document = dict[str, Any]

# Part of every document's seed. Raise it whenever the same (kind, options, index) would give another document.
GENERATOR_VERSION = 2


class Item(NamedTuple):
    """One question over two lists: `full` draws on m words, `binary` (the control) on two."""

    full: list[str]
    binary: list[str]
    vocabulary: list[str]  # the m words
    answers: list[str]  # what the model chooses from
    gold: int  # index of the right answer
    binary_answers: list[str]  # the same number of answers as in the full arm, so that chance is the same
    binary_gold: int
    query: str = ""  # the word that is asked for, where one is
    facts: dict[str, str | int] = {}  # noqa: RUF012  (never changed)  what the kind wants recorded


class Kind(NamedTuple):
    """A kind of question. A new one is a file like `_count_query.py` and a line in `_cells.py`."""

    name: str
    description: str
    counts: bool  # whether the answers are numbers rather than words of the list
    draw: Callable[[random.Random, Sequence[str], Options, int], list[Item]]
    """(private generator, words, options, place of the list) to the items of one list."""


def private_generator(split: str, kind: str, options: Options, place: int) -> random.Random:
    """A generator that depends on nothing but its arguments: not on what was drawn or imported before.

    Wording and separator are left out: lists are the same under all of them, so their effects are paired.
    """
    name = f"{GENERATOR_VERSION}/{split}/{kind}/{options.m}/{options.n}/{place}/{options.seed}"
    return random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))
