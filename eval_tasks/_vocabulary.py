"""Which words a list may use, with the tokenizer at hand.

A word of the arm `single` is one token with the separator before it: the same token first, in the middle and last in
the list. A word of `two_token` is two. Inside the question's quotes most tokenizers see another token (there is no
space before it), which is said in the document and not refused.
"""

import json
from collections import Counter
from typing import NamedTuple

from lm_probe.eval_tasks._cells import SIZES
from lm_probe.eval_tasks._errors import TaskError
from lm_probe.eval_tasks._prompts import SEPARATORS
from lm_probe.eval_tasks._tokenizer import TokenizerAtHand
from lm_probe.eval_tasks._words import INVENTED_WORDS, LONGER_WORDS, WORDS

_WORDS = {"single": WORDS, "two_token": LONGER_WORDS, "rare": INVENTED_WORDS}
_TOKENS = {"single": 1, "two_token": 2}


class Vocabulary(NamedTuple):
    """The words to draw from, in the order of the word list."""

    words: tuple[str, ...]
    tokens: dict[str, tuple[int, ...]]
    """Of each word in the list; empty where no tokenizer is known."""


class Quoted(NamedTuple):
    """A word inside the question's quotes."""

    tokens: int
    same: bool
    """Whether its token of the list is among them."""


def choose_vocabulary(task: str, m: int, arm: str, separator: str, at_hand: TokenizerAtHand | None) -> Vocabulary:
    """The words of the arm that have as many tokens as it asks for; without a tokenizer all words.

    Raises:
        TaskError: fewer than m words, or an arm that cannot do without a tokenizer.
    """
    if at_hand is None:
        if arm == "two_token":
            raise TaskError(
                f"{task}: arm=two_token needs to know the tokenizer; name one, for example "
                '--metadata \'{"tokenizer": "EleutherAI/pythia-14m"}\', or take the arm "single"'
            )
        chosen = Vocabulary(_WORDS[arm], {})
    else:
        key = (arm, separator)
        if key not in at_hand.remember:
            at_hand.remember[key] = _choose(arm, separator, at_hand)
        chosen = at_hand.remember[key]
    if len(chosen.words) < m:
        wanted = f"{_TOKENS[arm]} token{'s' * (_TOKENS[arm] > 1)}" if arm in _TOKENS else "made of known tokens"
        other = json.dumps({"arm": "single" if arm == "rare" else "rare"})
        smaller = "take a task with a smaller m, or " if m > min(SIZES) else "take "
        raise TaskError(
            f"{task}: {m} words are needed, {len(chosen.words)} of {len(_WORDS[arm])} are {wanted} in this tokenizer; "
            f"{smaller}other words with --metadata '{other}'"
        )
    return chosen


def _choose(arm: str, separator: str, at_hand: TokenizerAtHand) -> Vocabulary:
    tokens = {word: list_tokens(word, separator, at_hand) for word in _WORDS[arm]}
    kept = {
        word: found
        for word, found in tokens.items()
        if found and at_hand.unknown not in found and len(found) == _TOKENS.get(arm, len(found))
    }
    return Vocabulary(tuple(kept), kept)


def list_tokens(word: str, separator: str, at_hand: TokenizerAtHand) -> tuple[int, ...]:
    """The tokens of a word in a list, separator excluded; empty if they are not the same all along the list."""
    tokens = at_hand.encode(f"0 {SEPARATORS[separator].join([word] * 4)}\n")
    counts = Counter(tokens)  # the frame shares no letter with the word, and the separator occurs three times
    return tuple(token for token in counts for _ in range(counts[token] // 4)) if _repeats(counts) else ()


def _repeats(counts: Counter[int]) -> bool:
    """Whether what is repeated is repeated four times: nothing of the word is joined to its neighbours."""
    return any(count >= 4 for count in counts.values()) and all(
        count % 4 == 0 for count in counts.values() if count >= 4
    )


def quoted(word: str, in_list: tuple[int, ...], at_hand: TokenizerAtHand) -> Quoted:
    """How the word is seen inside quotes: what remains of the sentence's tokens besides those of the frame."""
    key = ("quoted", word, in_list)
    if key not in at_hand.remember:
        tokens, other = at_hand.encode(f'the word "{word}" appear'), at_hand.encode('the word "0" appear')
        start = _common(tokens, other)
        end = min(_common(tokens[::-1], other[::-1]), len(tokens) - start)
        inside = tokens[start : len(tokens) - end]
        at_hand.remember[key] = Quoted(len(inside), list(in_list) == inside)
    found: Quoted = at_hand.remember[key]
    return found


def _common(first: list[int], second: list[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)


def is_one_token(answer: str, at_hand: TokenizerAtHand) -> bool:
    """Whether the answer, with its space, is one token after the prompt; if all are, one pass scores them all."""
    key = ("answer", answer)
    if key not in at_hand.remember:
        at_hand.remember[key] = at_hand.encode(f"Answer: {answer}")[:-1] == at_hand.encode("Answer:")
    found: bool = at_hand.remember[key]
    return found
