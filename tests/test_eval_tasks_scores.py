"""Scores of log-likelihoods, by lm-eval itself, for models whose answers are known."""

import math
import random

import pytest

from lm_probe.eval_tasks._cells import cell_of
from lm_probe.eval_tasks._documents import documents, options_of
from lm_probe.eval_tasks._metrics import COUNTS, WORDS
from lm_probe.eval_tasks._scores import score_counts, score_words
from lm_probe.eval_tasks._yaml_files import metrics_of
from tests.counting import Answering, asks_for_a_count, evaluate, read, right_answer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SMALL = ["count_query_m10", "most_frequent_word_m10", "most_frequent_count_m10"]


def ask(name: str, number: int, **metadata) -> list[dict]:
    cell = cell_of(name)
    return documents(cell, options_of(cell, {"num_docs": number, **metadata}))


def said(results: dict, name: str) -> dict[str, float]:
    return {key.removesuffix(",none"): value for key, value in results["results"][name].items() if ",none" in key}


@pytest.fixture(scope="module")
def counted() -> dict:
    return evaluate(Answering(right_answer), [*SMALL, *(f"{name}_gen" for name in SMALL)], {"num_docs": 40})


@pytest.mark.parametrize("name", [*SMALL, *(f"{name}_gen" for name in SMALL)])
def test_every_metric_is_reported_with_its_direction_and_error(name: str, counted: dict) -> None:
    metrics = metrics_of(cell_of(name))
    values = said(counted, name)
    declared = {metric.name for metric in metrics} - {"truncated", "truncated_binary"}
    assert declared == {key for key in values if not key.endswith("_stderr")} - {"truncated", "truncated_binary"}
    for metric in metrics:
        assert counted["higher_is_better"][name][metric.name] == metric.higher_is_better
        if metric.name in values:
            error = values[f"{metric.name}_stderr"]
            assert (error == "N/A") == (metric.aggregation != "mean")
    assert counted["n-samples"][name] == {"original": 40, "effective": 40}


@pytest.mark.parametrize("name", SMALL)
def test_a_model_that_counts_is_always_right(name: str, counted: dict) -> None:
    values = said(counted, name)
    ones = {"acc", "acc_ties", "off_by_one", "slope", "rank"}
    zeros = {"mae", "mae_relative", "bias", "expected_mae", "regret"}
    for metric in metrics_of(cell_of(name)):
        kind = metric.name.removesuffix("_binary")
        if kind in ones:
            assert values[metric.name] == pytest.approx(1)
        elif kind in zeros or kind.endswith("_gap"):
            assert values[metric.name] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("answer", ["10", "14"])
def test_a_constant_count_scores_the_constants_floor_and_no_gap(answer: str) -> None:
    values = said(evaluate(Answering(lambda _: answer), ["count_query_m20"], {"num_docs": 200}), "count_query_m20")
    gold = [document["gold"] for document in ask("count_query_m20", 200)]
    for arm in ("", "_binary"):
        assert values[f"acc{arm}"] == pytest.approx(sum(g == int(answer) for g in gold) / 200)
        assert values[f"mae{arm}"] == pytest.approx(sum(abs(g - int(answer)) for g in gold) / 200)
        assert values[f"bias{arm}"] == pytest.approx(int(answer) - sum(gold) / 200)
        assert values[f"slope{arm}"] == 0
        assert values[f"round_share{arm}"] == (answer == "10")
        assert values[f"mae_relative{arm}"] == pytest.approx(values["mae"] / 10)
        assert values[f"expected_mae{arm}"] == pytest.approx(values["mae"])
    assert values["acc_gap"] == values["mae_gap"] == values["mae_gap_stderr"] == 0
    assert values["floor_constant_mae"] == pytest.approx(min(sum(abs(g - k) for g in gold) / 200 for k in range(32)))
    assert values["floor_constant_acc"] == pytest.approx(max(gold.count(k) for k in range(32)) / 200)
    if answer == "10":  # within its interval; the floor is the best constant of these documents
        assert values["mae"] - values["floor_constant_mae"] < 0.1
        assert values["floor_constant_acc"] - values["acc"] < 3 * values["acc_stderr"]
    assert values["mae"] >= values["floor_constant_mae"] - 1e-9
    for floor in ("floor_constant_acc", "floor_constant_mae", "floor_constant_mae_relative"):
        assert values[f"{floor}_binary"] == values[floor], "both arms have the same right answers"


def test_a_limit_leaves_the_floor_of_a_constant_as_it_is() -> None:
    few = evaluate(Answering(lambda _: "10"), SMALL, {"num_docs": 40}, limit=4)
    for name in SMALL:
        truths = [document["choices"][document["gold"]] for document in ask(name, 40)]
        assert said(few, name)["floor_constant_acc"] == pytest.approx(max(map(truths.count, truths)) / 40)
        assert few["n-samples"][name] == {"original": 40, "effective": 4}
        assert few["higher_is_better"][name]["floor_constant_acc"] is None  # no model's score, so no arrow


def test_the_controls_of_the_most_frequent_count_have_floors_of_their_own() -> None:
    values = said(evaluate(Answering(lambda _: "16"), ["most_frequent_count_m5"]), "most_frequent_count_m5")
    documents = ask("most_frequent_count_m5", 200)
    for arm, prefix in (("", ""), ("_binary", "binary_")):
        truths = [int(document[f"{prefix}choices"][document[f"{prefix}gold"]]) for document in documents]
        median = sorted(truths)[(len(truths) - 1) // 2]
        errors = [abs(median - truth) / truth for truth in truths]
        assert values[f"floor_constant_mae_relative{arm}"] == pytest.approx(sum(errors) / 200)
        assert values[f"floor_constant_acc{arm}"] == pytest.approx(max(map(truths.count, truths)) / 200)
    assert values["floor_constant_mae_relative_binary"] < values["floor_constant_mae_relative"] / 2  # far from equal


@pytest.mark.parametrize("name", ["count_query_m5", "most_frequent_word_m5", "most_frequent_count_m5"])
def test_a_random_answer_lands_on_chance(name: str) -> None:
    rng = random.Random(1)
    offered = {
        document[f"{arm}_prompt"]: document["choices" if arm == "full" else "binary_choices"]
        for document in ask(name, 400)
        for arm in ("full", "binary")
    }
    values = said(evaluate(Answering(lambda prompt: rng.choice(offered[prompt])), [name], {"num_docs": 400}), name)
    chance = values["floor_chance_acc"]
    spread = math.sqrt(chance * (1 - chance) / 400)
    for arm in ("", "_binary"):
        assert abs(values[f"acc{arm}"] - chance) < 4 * spread
    assert abs(values["acc_gap"]) < 4 * values["acc_gap_stderr"]
    if "word" not in name:
        assert abs(values["mae"] - values["floor_chance_mae"]) < 4 * values["mae_stderr"]
        # the same relative errors are on offer in both arms, so guessing has no gap there either
        assert abs(values["mae_relative_gap"]) < 4 * values["mae_relative_gap_stderr"] + 0.01
        assert abs(values["slope"]) < 0.6


def test_repeating_the_last_word_scores_its_floor() -> None:
    values = said(
        evaluate(Answering(lambda prompt: read(prompt)[0][-1]), ["most_frequent_word_m10"], {"num_docs": 200}),
        "most_frequent_word_m10",
    )
    assert values["acc"] == values["floor_last_word_acc"]
    assert values["acc_binary"] == values["floor_last_word_acc_binary"] > 0.4
    assert values["floor_chance_acc"] == pytest.approx(0.1)


def test_a_model_that_counts_two_words_only_shows_the_whole_gap() -> None:
    def answer(prompt: str) -> str:
        right = right_answer(prompt)
        if len(set(read(prompt)[0])) == 2:
            return right
        return str(int(right) + 3) if asks_for_a_count(prompt) else ""

    results = evaluate(Answering(answer), SMALL, {"num_docs": 60})
    for name in (SMALL[0], SMALL[2]):
        values = said(results, name)
        assert (values["acc"], values["acc_binary"], values["acc_gap"]) == (0, 1, 1)
        assert (values["mae"], values["mae_binary"], values["mae_gap"], values["bias"]) == (3, 0, 3, 3)
        assert values["slope"] == pytest.approx(1)
    values = said(results, SMALL[1])
    floor = sum(document["gold"] == 0 for document in ask(SMALL[1], 60)) / 60  # all equal: the first is taken
    assert values["acc_gap"] == pytest.approx(1 - floor)
    assert values["acc_gap_stderr"] == pytest.approx((floor * (1 - floor) / 59) ** 0.5)  # paired
    assert values["rank"] == pytest.approx(5.5)  # all equal: the middle
    assert values["regret"] > 0 == values["regret_binary"]


def test_the_expected_count_is_that_of_the_softmax() -> None:
    (document,) = ask("count_query_m5", 1)
    size, truth = len(document["choices"]), document["gold"]
    likelihoods = [math.log(1 / 2) if k in (0, 31) else -math.inf for k in range(size)]
    scores = score_counts(document, [(value, False) for value in likelihoods * 2])
    assert scores["expected_mae"] == pytest.approx(abs(15.5 - truth))
    assert scores["mae"] == truth
    assert scores["rank"] == 3 + (size - 3) / 2  # behind two, level with the others
    assert set(scores) == {metric.name for metric in COUNTS}


def test_any_of_the_tied_words_counts_for_acc_ties() -> None:
    document = next(d for d in ask("most_frequent_word_m5", 60, ties="accept") if not d["margin"])
    most = max(document["counts"])
    tied = [place for place, count in enumerate(document["counts"]) if count == most]
    for place in tied:
        responses = [(-float(k != place), False) for k in range(5)] * 2
        scores = score_words(document, responses)
        assert (scores["acc"], scores["acc_ties"], scores["regret"]) == (place == document["gold"], 1, 0)
    assert set(scores) == {metric.name for metric in WORDS}
    values = said(evaluate(Answering(right_answer), ["most_frequent_word_m5"], {"num_docs": 60, "ties": "accept"}),
                  "most_frequent_word_m5")  # fmt: skip
    assert values["acc"] < values["acc_ties"] == 1


def test_a_nan_is_no_answer() -> None:
    (document,) = ask("count_query_m5", 1)
    responses = [(-1.0, False)] * (2 * len(document["choices"]))
    score_counts(document, responses)
    with pytest.raises(ValueError, match="NaN for document 0"):
        score_counts(document, [*responses[:-1], (float("nan"), False)])
    with pytest.raises(ValueError, match="two arms"):
        score_counts(document, responses[1:])


# What is asked


def test_samples_hold_both_prompts() -> None:
    results = evaluate(Answering(right_answer), ["most_frequent_count_m5"], {"num_docs": 2})
    for row in results["samples"]["most_frequent_count_m5"]:
        document, size = row["doc"], len(row["doc"]["choices"])
        prompts = [prompt for prompt, _ in row["arguments"]]
        assert prompts == [document["full_prompt"]] * size + [document["binary_prompt"]] * size
        offered = [answer for _, answer in row["arguments"]]
        assert offered == [f" {answer}" for answer in document["choices"] + document["binary_choices"]]


def test_text_around_the_prompt_is_in_both_arms() -> None:
    options = {"system_instruction": "Count."}
    results = evaluate(Answering(lambda _: ""), ["count_query_m5"], {"num_docs": 1}, **options)
    (row,) = results["samples"]["count_query_m5"]
    prompts = {prompt for prompt, _ in row["arguments"]}
    assert len(prompts) == 2
    assert all(prompt.startswith("Count.") for prompt in prompts)


@pytest.mark.parametrize("style", ["", "_gen", "_gen_cot"])
def test_examples_come_with_their_answers_and_never_from_the_documents(style: str) -> None:
    name = f"count_query_m5{style}"
    seen: list[str] = []

    def answer(prompt: str) -> str:
        seen.append(prompt)
        return ""

    evaluate(Answering(answer), [name], {"num_docs": 30}, num_fewshot=2)
    evaluated = {document["full_prompt"] for document in ask(name, 30)}
    assert len(seen) == 60
    for prompt in seen:
        *shots, _ = prompt.split("\n\n")
        assert len(shots) == 2
        for shot in shots:
            asked, _, end = shot.rpartition("Reasoning: Answer: " if style == "_gen_cot" else "Answer: ")
            asked += "Reasoning:" if style == "_gen_cot" else "Answer:"
            assert right_answer(asked) == end
            assert asked not in evaluated


def test_the_budget_follows_the_list() -> None:
    names = ["count_query_m5_gen", "count_query_m5_gen_cot", "count_query_m20_gen_cot"]
    configs = evaluate(Answering(lambda _: "1"), names, {"num_docs": 2})["configs"]
    assert [configs[name]["generation_kwargs"]["max_gen_toks"] for name in names] == [32, 232, 832]
    longer = evaluate(Answering(lambda _: "1"), names[1:2], {"num_docs": 2, "n": 100})["configs"][names[1]]
    assert longer["generation_kwargs"]["max_gen_toks"] == 432
    given = evaluate(Answering(lambda _: "1"), names[:1], {"num_docs": 2}, gen_kwargs={"max_gen_toks": 5})["configs"]
    assert given[names[0]]["generation_kwargs"]["max_gen_toks"] == 5
