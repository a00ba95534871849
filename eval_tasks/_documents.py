"""From a cell and its options to documents: both prompts, the answers, the right one, and a hash.

A document is the same bytes on every machine and in every process, whatever else was drawn, imported or asked for
before it. Of the tokenizer it depends only on which words are chosen and what is said of their tokens.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lm_probe.eval_tasks._cells import KINDS, Cell, cell_of
from lm_probe.eval_tasks._floors import constants
from lm_probe.eval_tasks._kind import Document, Item, private_generator
from lm_probe.eval_tasks._options import Options, read_options, warn_of_near_names
from lm_probe.eval_tasks._prompts import STYLES, prompt
from lm_probe.eval_tasks._tokenizer import TokenizerAtHand, find_tokenizer
from lm_probe.eval_tasks._vocabulary import Vocabulary, choose_vocabulary, is_one_token, quoted

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = 16  # in the `train` split: the most that `--num_fewshot` can show


def build(cell: str, **metadata: Any) -> "dict[str, Dataset]":
    """The splits of a task, as lm-eval's `custom_dataset` wants them: `test`, and `train` for examples.

    Args:
        cell: The task's name in the grid.
        **metadata: Whatever lm-eval passes on: our options, the model's arguments, and things for others.

    Raises:
        TaskError: an option cannot have the value, or the tokenizer leaves too few words.
    """
    from datasets import Dataset

    place = cell_of(cell)
    warn_of_near_names(cell, metadata)
    options = read_options(cell, place.kind, place.m, place.n, metadata)
    at_hand = find_tokenizer(metadata)
    return {
        "test": Dataset.from_list(documents(place, options, at_hand)),
        "train": Dataset.from_list(documents(place, options._replace(num_docs=EXAMPLES), at_hand, split="train")),
    }


def options_of(cell: Cell, metadata: Mapping[str, Any]) -> Options:
    """The options of a cell under this metadata.

    Raises:
        TaskError: an option cannot have the value.
    """
    return read_options(cell.name, cell.kind, cell.m, cell.n, metadata)


def documents(
    cell: Cell, options: Options, at_hand: TokenizerAtHand | None = None, split: str = "test"
) -> list[Document]:
    """The documents of a split. Each is a function of its arguments, its place and `GENERATOR_VERSION` alone."""
    vocabulary = choose_vocabulary(cell.name, options.m, options.arm, options.separator, at_hand)
    drawn: list[Document] = []
    for place in range(-(-options.num_docs // options.questions_per_list)):
        rng = private_generator(split, cell.kind, options, place)
        for item in KINDS[cell.kind].draw(rng, vocabulary.words, options, place)[: options.num_docs - len(drawn)]:
            drawn.append(_document(cell, options, item, len(drawn), place, vocabulary, at_hand))
    shared = constants(drawn, KINDS[cell.kind].counts)
    if not cell.style and at_hand is not None:
        _warn_once(cell, {answer for document in drawn for answer in _split_answers(document, at_hand)})
    return [document | shared for document in drawn]


def _document(
    cell: Cell,
    options: Options,
    item: Item,
    index: int,
    place: int,
    vocabulary: Vocabulary,
    at_hand: TokenizerAtHand | None,
) -> Document:
    def text(words: list[str]) -> str:
        return prompt(cell.kind, words, item.query, cell.style, options.separator, options.paraphrase)

    full, binary = Counter(item.full), Counter(item.binary)
    fields: Document = {
        "index": index,
        "list_id": place,
        "m": options.m,
        "n": len(item.full),
        "full_prompt": text(item.full),
        "binary_prompt": text(item.binary),
        "choices": item.answers,
        "gold": item.gold,
        "binary_choices": item.binary_answers,
        "binary_gold": item.binary_gold,
        "target": STYLES[cell.style].prefix + item.answers[item.gold],
        "query": item.query,
        **item.facts,
        "vocabulary": item.vocabulary,
        "counts": [full[word] for word in item.vocabulary],
        "binary_counts": [binary[word] for word in item.vocabulary],
        "last_word": item.full[-1],
        "binary_last_word": item.binary[-1],
        **_token_facts(item, vocabulary, at_hand),
    }
    return {**fields, "hash": hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()}


def _token_facts(item: Item, vocabulary: Vocabulary, at_hand: TokenizerAtHand | None) -> Document:
    """What the tokenizer makes of the words; None where it is not known."""
    if at_hand is None:
        return dict.fromkeys(
            ("words_checked", "list_tokens", "query_tokens", "query_same_token", "answers_one_token"), None
        ) | {"words_checked": False}
    inside = quoted(item.query, vocabulary.tokens[item.query], at_hand) if item.query else None
    return {
        "words_checked": True,
        # Those of the separators are not counted.
        "list_tokens": sum(len(vocabulary.tokens[word]) for word in item.full),
        "query_tokens": inside and inside.tokens,
        "query_same_token": inside and inside.same,
        "answers_one_token": all(is_one_token(answer, at_hand) for answer in {*item.answers, *item.binary_answers}),
    }


def _split_answers(document: Document, at_hand: TokenizerAtHand) -> set[str]:
    """The answers that are more than one token."""
    if document["answers_one_token"]:
        return set()
    return {
        answer for answer in {*document["choices"], *document["binary_choices"]} if not is_one_token(answer, at_hand)
    }


_warned: set[str] = set()


def _warn_once(cell: Cell, split: set[str]) -> None:
    """Say once for each kind of question that answers are not one token each."""
    if split and cell.kind not in _warned:
        _warned.add(cell.kind)
        logging.getLogger(__name__).warning(
            "%s: answers such as %r are more than one token in this tokenizer: each costs a pass of its own, and a "
            "shorter answer is favoured over a longer one that begins with it (documents say answers_one_token)",
            cell.name,
            max(split),
        )


def first_hashes(cell: Cell, options: Options, at_hand: TokenizerAtHand | None, number: int = 3) -> Sequence[str]:
    """The hashes of the first documents."""
    return [document["hash"] for document in documents(cell, options._replace(num_docs=number), at_hand)]
