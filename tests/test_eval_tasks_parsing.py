"""Answers read from generated text: every case of the specification in its own outcome."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_probe.eval_tasks._floors import constants
from lm_probe.eval_tasks._generation_scores import score_counts, score_words
from lm_probe.eval_tasks._metrics import GENERATED_COUNTS, GENERATED_WORDS, mean_of_parsed, slope
from lm_probe.eval_tasks._parsing import read_number, read_word

# response, main rule, strict, first, last
NUMBERS = [
    ("12 \u2212 3 = 9", 9, None, 12, 9),
    ("12-3=9", 9, None, 12, 9),
    ("10", 10, 10, 10, 10),
    (" 10.\n", 10, 10, 10, 10),
    ('"12"', 12, 12, 12, 12),
    ("ten", 10, 10, 10, 10),
    ("It appears twenty-one times.", 21, None, 21, 21),
    ("one hundred and five", 105, 105, 105, 105),
    ("two thousand three hundred", 2300, 2300, 2300, 2300),
    ("1,234", 1234, 1234, 1234, 1234),
    ("5 apples, 3 pears, 2", 2, None, 5, 2),
    ("1 cat, 2 cats, 3 cats.\nAnswer: 3", 3, 3, 1, 3),
    ("Answer: 4, no.\nAnswer: 7\nDone 9", 7, None, 4, 9),
    ("The answer is: **14**.", 14, 14, 14, 14),
    ("One of them: 8", 8, None, 8, 8),
    ("So that one is the third, thus 6", 6, None, 6, 6),
    ("-4", -4, -4, -4, -4),
    ("3.5", None, None, None, None),
    ("the 10th word", None, None, None, None),
    ("", None, None, None, None),
    ("many", None, None, None, None),
]


@pytest.mark.parametrize(("response", "main", "strict", "first", "last"), NUMBERS)
def test_numbers(response: str, main, strict, first, last) -> None:
    reading = read_number(response)
    assert (reading.answer, reading.strict, reading.first, reading.last) == (main, strict, first, last)
    assert not reading.refused and not reading.truncated
    assert reading.failed == (main is None)


@given(st.integers(0, 9999))
def test_any_count_is_read_in_digits_and_with_commas(count: int) -> None:
    for said in (f"{count}", f"{count:,}", f"I counted 3 and 4.\nAnswer: {count:,}."):
        assert read_number(said).answer == count


def test_a_refusal_and_a_cut_are_no_answers_of_another_kind() -> None:
    refused = read_number("I'm sorry, I can\u2019t count 50 words.")
    assert (refused.answer, refused.refused, refused.truncated, refused.failed) == (None, True, False, False)
    assert refused.last == 50  # what another rule would have taken
    cut = read_number("First 1, then 2, then 3", truncated=True)
    assert (cut.answer, cut.refused, cut.truncated, cut.failed) == (None, False, True, False)
    answered = read_number("I cannot be sure.\nAnswer: 7\nQuestion: and so", truncated=True)
    assert (answered.answer, answered.refused, answered.truncated) == (7, False, False)


def test_words_of_the_list_as_whole_words_only() -> None:
    words = ["apple", "bear", "cat"]
    assert read_word("The apple, the bear; Bear", words)[:4] == ("bear", None, "apple", "bear")
    assert read_word(" APPLE.", words).strict == "apple"
    assert read_word("category", words).failed
    assert read_word("A cat?\nAnswer: bear and not cat", words).answer == "bear"


DOCUMENT = {
    "index": 0,
    "m": 5,
    "n": 50,
    "choices": [str(k) for k in range(32)],
    "gold": 9,
    "binary_choices": [str(k) for k in range(32)],
    "binary_gold": 9,
    "query": "apple",
    "constant": "10",
    "binary_constant": "12",
    "constant_count": 10,
    "binary_constant_count": 12,
    **{f"floor_constant_{kind}{arm}": 0.25 for kind in ("acc", "mae", "mae_relative") for arm in ("", "_binary")},
}


def test_a_failure_is_imputed_or_left_out_and_never_a_number() -> None:
    scores = score_counts(DOCUMENT, [("", False), ("I am unable to say.", False)])
    assert set(scores) == {metric.name for metric in GENERATED_COUNTS}
    assert (scores["parse_failure"], scores["refused"]) == (1, 0)
    assert (scores["parse_failure_binary"], scores["refused_binary"]) == (0, 1)
    assert (scores["mae_imputed"], scores["mae_imputed_binary"], scores["mae_imputed_gap"]) == (1, 3, -2)
    for name in ("mae_parsed", "bias", "round_share"):
        assert scores[name] is scores[f"{name}_binary"] is None
    assert scores["acc"] == scores["off_by_one"] == scores["acc_gap"] == 0


def test_a_constant_is_scored_on_all_documents() -> None:
    golds, controls = (9, 9, 12, 30), (8, 9, 10, 10)
    drawn = [DOCUMENT | {"gold": gold, "binary_gold": other} for gold, other in zip(golds, controls, strict=True)]
    found = constants(drawn, counts=True)
    assert (found["constant"], found["constant_count"], found["binary_constant_count"]) == ("9", 9, 9)
    assert (found["floor_constant_acc"], found["floor_constant_acc_binary"]) == (0.5, 0.5)
    assert (found["floor_constant_mae"], found["floor_constant_mae_binary"]) == (24 / 4, 3 / 4)
    assert found["floor_constant_mae_relative"] == pytest.approx(0.6)  # n / m is 10
    alone = constants([one | {"query": ""} for one in drawn], counts=True)
    assert alone["floor_constant_mae_relative"] == pytest.approx((3 / 12 + 21 / 30) / 4)


def test_right_and_wrong_counts_and_what_the_floor_would_be() -> None:
    scores = score_counts(DOCUMENT, [("Answer: 10", None), ("nine", None)])
    assert "truncated" not in scores  # nobody knows the budget in tokens
    assert (scores["acc"], scores["acc_binary"], scores["acc_gap"]) == (0, 1, 1)
    assert (scores["off_by_one"], scores["mae_parsed"], scores["bias"], scores["round_share"]) == (1, 1, 1, 1)
    assert (scores["floor_constant_acc"], scores["floor_chance_acc"]) == (0.25, 1 / 32)  # the task's, and its own
    assert score_counts(DOCUMENT, [("1, 2, 3", True), ("9", True)])["truncated_binary"] == 1


def test_generated_words() -> None:
    document = {
        "choices": ["apple", "bear", "cat"],
        "gold": 1,
        "counts": [3, 5, 5],
        "binary_counts": [0, 7, 3],
        "constant": "bear",
        "floor_constant_acc": 0.5,
        "last_word": "cat",
        "binary_last_word": "bear",
    }
    scores = score_words(document, [("cat", False), ("bear", False)])
    assert set(scores) == {metric.name for metric in GENERATED_WORDS}
    assert (scores["acc"], scores["acc_ties"], scores["acc_binary"], scores["acc_gap"]) == (0, 1, 1, 1)
    assert (scores["floor_last_word_acc"], scores["floor_last_word_acc_binary"]) == (0, 1)
    assert score_words(document, [("", False), ("no", False)])["acc_ties"] == 0


def test_aggregations_of_nothing_are_no_numbers() -> None:
    assert mean_of_parsed([1.0, None, 3.0]) == 2
    assert mean_of_parsed([None]) != mean_of_parsed([None])
    assert slope([(3, 1), (5, 2), (7, 3)]) == 2
    assert slope([(3, 1), (4, 1)]) != slope([(3, 1), (4, 1)])


@pytest.mark.parametrize(
    ("said", "answer", "refused"),
    [
        ("I don't see any more, so the total is 7.", 7, False),
        ("I don't see any more: 7", 7, False),
        ("I can't see any more, so the total is 7.", 7, False),
        ("I cannot.", None, True),
        ("I won't", None, True),
        ("Sorry, I can't", None, True),
        ("The answer is 5 out of 50", 5, False),
        ("**Answer**: 12 of 50", 12, False),
        ("Answer is 12 (of 50)", 12, False),
        ("1" * 5000, None, False),
        ("1" * 160 + " no, 12", 12, False),
    ],
)
def test_what_was_read_wrongly_before(said: str, answer: int | None, refused: bool) -> None:
    reading = read_number(said)
    assert (reading.answer, reading.refused) == (answer, refused)
