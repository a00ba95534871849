"""From a cell to its documents: both prompts, the answers, the gold index and a hash.

The design follows arXiv 2407.15160; the wording of the prompts is ours. A document is the same bytes on every
machine, whatever else was drawn, imported or asked for before it.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from lm_probe.eval_tasks._cells import KINDS
from lm_probe.eval_tasks._kind import Document, private_generator

if TYPE_CHECKING:
    from datasets import Dataset

NUM_DOCS = 200
SEED = 1234


def prompt(words: list[str], question: str) -> str:
    """The text before the answer, which begins with a space."""
    return f"Here is a list of words: {' '.join(words)}\nQuestion: {question}\nAnswer:"


def document(kind: str, m: int, n: int, index: int, seed: int = SEED) -> Document:
    """The document at this place: a function of its arguments and of `GENERATOR_VERSION` alone."""
    item = KINDS[kind].draw(private_generator(kind, m, n, index, seed), m, n, index)
    fields: Document = {
        "index": index,
        "m": m,
        "n": len(item.full),
        "full_prompt": prompt(item.full, item.question),
        "binary_prompt": prompt(item.binary, item.question),
        "choices": item.answers,
        "gold": item.gold,
        "chance": 1 / len(item.answers),  # of a blind uniform guess, the same in both arms
        **item.facts,
    }
    return {**fields, "hash": hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()}


def build(kind: str, m: int, n: int, num_docs: int = NUM_DOCS, seed: int = SEED, **_: Any) -> "dict[str, Dataset]":
    """The `test` split of a cell, as lm-eval's `custom_dataset` wants it.

    Args:
        kind: The kind of question, a key of `KINDS`.
        m: How many different words a list draws on.
        n: How many words a list has.
        num_docs: How many documents; `--metadata num_docs=1000` sets it.
        seed: Which documents; `--metadata seed=7` sets it.
        **_: Whatever else lm-eval passes (version, source of the configuration, model arguments).

    Raises:
        ValueError: `num_docs` is not a positive whole number, or `seed` is not a whole number.
    """
    if not isinstance(num_docs, int) or num_docs < 1:
        raise ValueError(f"num_docs={num_docs!r}: a positive whole number is needed, for example num_docs={NUM_DOCS}")
    if not isinstance(seed, int):
        raise ValueError(f"seed={seed!r}: a whole number is needed, for example seed={SEED}")
    from datasets import Dataset

    return {"test": Dataset.from_list([document(kind, m, n, index, seed) for index in range(num_docs)])}
