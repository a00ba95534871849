"""Counters with weights that were written down: exact in float32, wrong in bfloat16 where the tables say so."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lm_probe.eval_tasks import task_names
from lm_probe.eval_tasks._cells import CELLS, KINDS
from tests.counting import Answering, CountAttend, HandBuilt, Histogram, classifier, evaluate


def lists(m: int, number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(m)
    return [torch.randint(m, (10 * m,), generator=generator) for _ in range(number)]


def right_share(model: Histogram, m: int, number: int = 200) -> float:
    right = 0
    for words in lists(m, number):
        right += round(float(model.count_of(words, int(words[-1])))) == int((words == words[-1]).sum())
    return right / number


@pytest.mark.parametrize("m", [5, 20, 64, 150])
def test_the_histogram_counts_exactly_in_float32_and_64(m: int) -> None:
    for dtype in (torch.float32, torch.float64):
        assert right_share(Histogram(m, 10 * m, dtype), m) == 1


def test_the_histogram_fails_in_bfloat16_beyond_256_words() -> None:
    shares = {m: right_share(Histogram(m, 10 * m, torch.bfloat16), m, 400) for m in (5, 20, 64, 150)}
    assert shares[5] == shares[20] == 1
    assert 0.05 < shares[64] < 0.5
    assert 0.02 < shares[150] < 0.35


@pytest.mark.parametrize("words", [[0, 1, 1, 2, 3, 3], [2] * 6, [0, 0, 0, 1, 1, 1], [3, 0, 1, 2, 3, 3]])
def test_adversarial_lists_are_counted(words: list[int]) -> None:
    """A count of 1, of n, ties, all the same."""
    tokens = torch.tensor(words)
    histogram = Histogram(4, len(words))
    vectors = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(tokens, minlength=4)
    for query in set(words):
        assert round(float(histogram.count_of(tokens, query))) == counts[query]
        assert 1 + int(CountAttend(vectors, len(words)).count_logits(tokens, query).argmax()) == counts[query]
    assert round(float(histogram.largest_count(tokens))) == counts.max()


def test_equal_logits_are_a_tie() -> None:
    logits = Histogram(4, 6).attended(torch.tensor([0, 0, 0, 1, 1, 1]))
    assert (logits == logits.max()).nonzero().flatten().tolist() == [0, 1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_doubling_a_list_changes_nothing_without_positions(words: list[int]) -> None:
    tokens = torch.tensor(words)
    model = Histogram(4, len(words), torch.float64)
    assert torch.allclose(model.attended(tokens), model.attended(tokens.repeat(2)), rtol=1e-12)


def attend_shares(m: int, width: int, dtype: torch.dtype, uniform: bool, number: int = 200) -> tuple[float, float]:
    """Share of right counts by the classifier and by the scalar read-out.

    The lists are drawn from m words, or so that the count is uniform on 1 to n.
    """
    generator = torch.Generator().manual_seed(width)
    vectors = torch.randn(m, width, generator=generator, dtype=torch.float64)
    model, n = CountAttend(vectors, 10 * m, dtype), 10 * m
    classified, read = 0, 0
    for words in lists(m, number):
        query = int(words[-1])
        if uniform:
            count = int(torch.randint(1, n + 1, (), generator=generator))
            others = (query + torch.randint(1, m, (n,), generator=generator)) % m
            words = torch.where(torch.arange(n) < count, query, others)
        right = int((words == query).sum())
        classified += 1 + int(model.count_logits(words, query).argmax()) == right
        read += round(float(model.count_of(words, query))) == right
    return classified / number, read / number


@pytest.mark.parametrize(("m", "width"), [(20, 8), (150, 8), (150, 16), (150, 32)])
@pytest.mark.parametrize("uniform", [False, True])
def test_attention_counts_exactly_with_far_fewer_dimensions_than_words(m: int, width: int, uniform: bool) -> None:
    assert attend_shares(m, width, torch.float64, uniform, 50) == (1, 1)
    assert attend_shares(m, width, torch.float32, uniform, 50) == (1, 1)


def test_attention_fails_in_bfloat16_where_counts_are_large() -> None:
    assert attend_shares(150, 32, torch.bfloat16, False)[1] == 1
    classified, read = attend_shares(150, 32, torch.bfloat16, True)
    assert classified < 0.23
    assert 0.15 < read < 0.45
    assert 0.85 < attend_shares(20, 8, torch.bfloat16, True)[1] < 1


@pytest.mark.parametrize(
    ("steps", "dtype", "low", "high"),
    [
        (lambda k: torch.ones_like(k), torch.float64, 1, 1),
        (lambda k: torch.ones_like(k), torch.float32, 0.7, 0.95),
        (lambda k: k * (k + 1), torch.float32, 1, 1),
        (lambda k: k * (k + 1), torch.bfloat16, 0, 0.23),
    ],
)
def test_a_classifier_reads_every_count_of_an_inverse(steps, dtype, low: float, high: float) -> None:
    n = 1500
    slopes, offsets = (lines.to(dtype) for lines in classifier(n, steps))
    inverse = (1 / torch.arange(1, n + 1, dtype=torch.float64)).to(dtype)
    read = (slopes[None] * inverse[:, None] + offsets).argmax(1) + 1
    assert low <= float((read == torch.arange(1, n + 1)).double().mean()) <= high


def test_beta_keeps_the_error_under_a_half() -> None:
    vectors = torch.randn(150, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = CountAttend(vectors, 1500, torch.float64)
    words = torch.cat([torch.zeros(1, dtype=torch.long), torch.randint(1, 150, (1499,))])
    z = float(model.inverse_count(words, 0))
    assert abs(1 / z - 1) < 0.5  # c = 1 is where the bound is tight
    assert math.isclose(model.beta, math.log(6000) / (1 - float((model.vectors @ model.vectors.T).triu(1).max())))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("style", ["", "gen", "gen_cot"])
def test_the_counter_is_right_on_every_cell_through_lm_eval(style: str) -> None:
    names = [cell.name for cell in CELLS if cell.style == style]
    said = "One, two, 3 and so on.\nAnswer: {}." if style == "gen_cot" else "{}"
    results = evaluate(Answering(HandBuilt().answer, said), names, {"num_docs": 3})
    assert len(names) == 27 and set(names) <= set(task_names())
    for cell in (cell for cell in CELLS if cell.style == style):
        values = results["results"][cell.name]
        assert values["acc,none"] == values["acc_binary,none"] == 1, cell.name
        assert values["acc_gap,none"] == values["acc_gap_stderr,none"] == 0
        if style:
            assert values["acc_strict,none"] == 1
            assert values["parse_failure,none"] == values["refused,none"] == 0
        if KINDS[cell.kind].counts:
            assert values["mae_imputed,none" if style else "mae,none"] == 0
