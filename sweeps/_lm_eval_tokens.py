"""Encodes a prompt once for all its answers, where the tokenizer makes that exact."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from tokenizers import normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase

_CACHED_ENDS = 4096  # documents share them: they end in the same words and have the same answers


class _Prompt(NamedTuple):
    tokens: list[int]
    before: list[int]
    """The tokens before the end."""
    end: str
    """The prompt from its last cut on, to be encoded again with each answer."""


class PairEncoder:
    """Splits prompt and answer into tokens as lm-eval does: those of both together, cut where the prompt's own end.

    lm-eval encodes prompt and answer together, once for each answer. Where the tokenizer always cuts between two
    words, only the prompt's last word can join with the answer, so only that is encoded again.
    """

    def __init__(self, encode: Callable[..., list[int]]) -> None:
        """`encode` is lm-eval's `tok_encode` on a tokenizer that `cuts_between_words`."""
        self._prompt = functools.lru_cache(maxsize=2)(functools.partial(_split, encode))
        self._end = functools.lru_cache(maxsize=_CACHED_ENDS)(functools.partial(encode, add_special_tokens=False))

    def encode(self, prompt: str, answer: str) -> tuple[list[int], list[int]] | None:
        """The tokens of prompt and answer; None where the prompt has no cut that holds for every answer."""
        found = self._prompt(prompt)
        if found is None:
            return None
        together = found.before + self._end(found.end + answer)
        return list(found.tokens), together[len(found.tokens) :]


def cuts_between_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether what follows " w" can never change the tokens of what is before it: the tokenizers of GPT-2's kind.

    Those cut the text with GPT-2's pattern and encode each piece by itself, and no piece of that pattern holds a space
    that stands between two characters other than space, unless as its first. Composing characters (NFC) does not
    reach over a space. True of GPT-2, OPT and GPT-NeoX (Pythia).
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    plain = backend.normalizer is None or isinstance(backend.normalizer, normalizers.NFC)
    return plain and isinstance(backend.pre_tokenizer, pre_tokenizers.ByteLevel) and backend.pre_tokenizer.use_regex


def _split(encode: Callable[..., list[int]], prompt: str) -> _Prompt | None:
    cut = next((place for place in range(len(prompt) - 2, 0, -1) if _is_cut(prompt, place)), None)
    if cut is None:
        return None
    tokens, end = encode(prompt), encode(prompt[cut:], add_special_tokens=False)
    # Not so where a token is put after every text, or an added token takes the space behind it.
    if encode(prompt[:cut]) + end != tokens:
        return None
    return _Prompt(tokens, tokens[: -len(end)], prompt[cut:])


def _is_cut(text: str, place: int) -> bool:
    return text[place] == " " and not text[place - 1].isspace() and not text[place + 1].isspace()
