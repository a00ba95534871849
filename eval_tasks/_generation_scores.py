"""Scores of generated answers. What could not be read is never a number: it has its own share, or is imputed."""

from collections.abc import Sequence

from lm_probe.eval_tasks._floors import count_floors, word_floors
from lm_probe.eval_tasks._kind import Document
from lm_probe.eval_tasks._parsing import Reading, read_number, read_word

Response = tuple[str, bool | None]  # the text, and whether it reached the token budget (None: not known)
Scores = dict[str, float | None]


def score_counts(document: Document, responses: Sequence[Response]) -> Scores:
    """The metrics `GENERATED_COUNTS` of one document; without a tokenizer `truncated` is not among them."""
    (full, full_cut), (binary, binary_cut) = responses
    scores = _counts(
        read_number(full, bool(full_cut)),
        int(document["choices"][document["gold"]]),
        document["constant_count"],
        document["n"],
    )
    other = _counts(
        read_number(binary, bool(binary_cut)),
        int(document["binary_choices"][document["binary_gold"]]),
        document["binary_constant_count"],
        document["n"],
    )
    both = _join(scores, other, full_cut is not None)
    both["mae_imputed_gap"] = _difference(scores["mae_imputed"], other["mae_imputed"])
    return both | count_floors(document)


def score_words(document: Document, responses: Sequence[Response]) -> Scores:
    """The metrics `GENERATED_WORDS` of one document; without a tokenizer `truncated` is not among them."""
    (full, full_cut), (binary, binary_cut) = responses
    words, right = document["choices"], document["choices"][document["gold"]]
    scores = _words(read_word(full, words, bool(full_cut)), right, words, document["counts"])
    other = _words(read_word(binary, words, bool(binary_cut)), right, words, document["binary_counts"])
    return _join(scores, other, full_cut is not None) | word_floors(document)


def _counts(reading: Reading[int], truth: int, constant: int, n: int) -> Scores:
    # No count lies outside 0..n; taken as it is, one answer of many digits would decide a mean over documents.
    answer = None if reading.answer is None else min(max(reading.answer, 0), n)
    return {
        **_outcome(reading, truth),
        "off_by_one": float(answer is not None and abs(answer - truth) <= 1),
        "mae_imputed": float(abs((constant if answer is None else answer) - truth)),
        "mae_parsed": None if answer is None else float(abs(answer - truth)),
        "bias": None if answer is None else float(answer - truth),
        "round_share": None if answer is None else float(answer % 10 == 0),
    }


def _words(reading: Reading[str], right: str, words: Sequence[str], counts: Sequence[int]) -> Scores:
    most = {word for word, count in zip(words, counts, strict=True) if count == max(counts)}
    return {**_outcome(reading, right), "acc_ties": float(reading.answer in most)}


def _outcome(reading: Reading[int] | Reading[str], right: int | str) -> Scores:
    return {
        "acc": float(reading.answer == right),
        "acc_strict": float(reading.strict == right),
        "acc_first": float(reading.first == right),
        "acc_last": float(reading.last == right),
        "parse_failure": float(reading.failed),
        "truncated": float(reading.truncated),
        "refused": float(reading.refused),
    }


def _join(scores: Scores, other: Scores, cut_is_known: bool) -> Scores:
    both = {**scores, **{f"{name}_binary": value for name, value in other.items()}}
    both["acc_gap"] = _difference(other["acc"], scores["acc"])
    if not cut_is_known:
        del both["truncated"], both["truncated_binary"]
    return both


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
