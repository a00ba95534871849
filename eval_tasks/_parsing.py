"""Reads an answer out of generated text, and tells a wrong answer from none."""

import re
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_ANSWER = re.compile(r"answer[\s*_]*(?:is)?[\s*_]*[:=]|(?:answer|total|count)[\s*_]+is\b", re.IGNORECASE)
# A whole number, thousands commas allowed; not a piece of a word, of a decimal or of a longer number.
_WHOLE = r"(?![\w]|[.,]\d)"
_DIGITS = re.compile(
    rf"(?<![\w.,])-?(?:\d{{1,3}}(?:,\d{{3}})+|\d+){_WHOLE}|(?<=[-\u2013\u2212+=*/(])\d+{_WHOLE}"  # also the 7 of "3+7"
)
_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen""".split()  # noqa: SIM905
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {word: 10 * ten for ten, word in enumerate(_TENS, 2)}
_SCALES = {"hundred": 100, "thousand": 1000}
_ANY = "|".join([*_VALUES, *_SCALES])
_NUMBER_WORDS = re.compile(rf"\b(?:{_ANY})(?:(?:[\s-]+(?:and\s+)?)(?:{_ANY}))*\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am)? (?:sorry|unable|not able)|i can(?:no|')t|as an ai|it(?: i|')s (?:impossible|not possible))\b",
    re.IGNORECASE,
)
# A refusal only where no answer follows: "I don't see any more, so 7".
_UNWILLING = re.compile(r"\bi (?:won't|will not|do not|don't)\b", re.IGNORECASE)
_MOST_DIGITS = 9  # a longer run of digits is a loop of the model and no count


class Found(NamedTuple, Generic[T]):
    """An answer, and the text that says it."""

    value: T
    text: str


class Reading(NamedTuple, Generic[T]):
    """What a response says under each rule; None where it says nothing."""

    answer: T | None
    """The main rule: after the last "Answer:", else the last one, if the response was neither cut nor a refusal."""
    strict: T | None
    """The response, or what follows its last "Answer:", is the answer and nothing else."""
    first: T | None
    last: T | None
    refused: bool
    truncated: bool
    """Cut at the token budget before it gave an answer."""

    @property
    def failed(self) -> bool:
        """No answer, for no other reason that could be told."""
        return self.answer is None and not self.refused and not self.truncated


def read_number(response: str, truncated: bool = False) -> Reading[int]:
    """The count that a response gives."""
    return _read(response, truncated, _numbers)


def read_word(response: str, words: Sequence[str], truncated: bool = False) -> Reading[str]:
    """The word of the list that a response names."""
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)
    return _read(response, truncated, lambda text: [Found(found.lower(), found) for found in named.findall(text)])


def _read(response: str, truncated: bool, find: Callable[[str], list[Found[T]]]) -> Reading[T]:
    everywhere = find(response)
    marks = list(_ANSWER.finditer(response))
    marked = find(response[marks[-1].end() :]) if marks else []
    refused = not marked and _is_refusal(response.replace("\u2019", "'"), find)
    truncated = truncated and not marked and not refused
    chosen = marked[:1] or ([] if refused or truncated else everywhere[-1:])
    return Reading(
        answer=_one(chosen),
        strict=_one(_alone(response[marks[-1].end() :] if marks else response, find)),
        first=_one(everywhere[:1]),
        last=_one(everywhere[-1:]),
        refused=refused,
        truncated=truncated,
    )


def _is_refusal(response: str, find: Callable[[str], list[Found[T]]]) -> bool:
    unwilling = _UNWILLING.search(response)
    return bool(_REFUSAL.search(response)) or (unwilling is not None and not find(response[unwilling.end() :]))


def _one(found: Sequence[Found[T]]) -> T | None:
    return found[0].value if found else None


def _alone(text: str, find: Callable[[str], list[Found[T]]]) -> list[Found[T]]:
    """What is found where nothing but it is there, punctuation around it aside."""
    bare = text.strip(" \t\r\n\"'`*.")
    return [found for found in find(bare) if found.text == bare]


def _numbers(text: str) -> list[Found[int]]:
    """The whole numbers in digits; where there are none, those in words ("one" is often no number)."""
    runs = [found for found in _DIGITS.findall(text) if sum(map(str.isdigit, found)) <= _MOST_DIGITS]
    digits = [Found(int(found.replace(",", "")), found) for found in runs]
    return digits or [Found(_value(found), found) for found in _NUMBER_WORDS.findall(text)]


def _value(words: str) -> int:
    total, current = 0, 0
    for word in re.findall("[a-z]+", words.lower()):
        if word in _VALUES:
            current += _VALUES[word]
        elif word == "hundred":
            current = max(current, 1) * 100
        elif word == "thousand":
            total, current = total + max(current, 1) * 1000, 0
    return total + current
