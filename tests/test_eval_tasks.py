"""The word-counting tasks: documents, controls, files, and lm-eval's own scoring of models whose answers are known."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from lm_probe.eval_tasks import describe, fingerprint, group_names, task_manager, task_names, tasks_path
from lm_probe.eval_tasks._cells import CELLS, KINDS, Cell
from lm_probe.eval_tasks._count_query import largest_count
from lm_probe.eval_tasks._documents import build, document
from lm_probe.eval_tasks._words import WORDS
from lm_probe.eval_tasks._yaml_files import write, yaml_files

EVERY_CELL = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
COUNT_CELLS = pytest.mark.parametrize("cell", [c for c in CELLS if c.kind == "count_query"], ids=lambda cell: cell.name)
WORD_CELLS = pytest.mark.parametrize(
    "cell", [c for c in CELLS if c.kind == "most_frequent_word"], ids=lambda cell: cell.name
)


def documents(cell: Cell, number: int = 200) -> list[dict]:
    return [document(*cell, index) for index in range(number)]


def read(prompt: str) -> tuple[list[str], str | None]:
    """The words of the list and the query word, read from the text as a person would."""
    found = re.fullmatch(r"Here is a list of words: ([a-z ]+)\nQuestion: (.+)\nAnswer:", prompt)
    assert found
    query = re.search(r'"([a-z]+)"', found[2])
    return found[1].split(), query and query[1]


def right_answer(prompt: str) -> str:
    words, query = read(prompt)
    if query:
        return str(sum(word == query for word in words))
    (first, most), *rest = Counter(words).most_common()
    assert all(count < most for _, count in rest)
    return first


# The word list and the files


def test_no_word_is_in_another() -> None:
    assert len(WORDS) >= 160
    assert all(re.fullmatch("[a-z]{3,5}", word) for word in WORDS)
    assert [(a, b) for a in WORDS for b in WORDS if a is not b and a in b] == []


def test_regenerating_the_files_changes_nothing(tmp_path) -> None:
    on_disk = {p.relative_to(tasks_path()).as_posix(): p.read_text() for p in tasks_path().rglob("*") if p.is_file()}
    assert yaml_files() == on_disk
    (tmp_path / "word_counting").mkdir()
    (tmp_path / "word_counting" / "of_a_cell_that_is_gone.yaml").touch()
    write(tmp_path)
    assert {p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob("*") if p.is_file()} == on_disk


def test_lm_eval_finds_what_we_list() -> None:
    manager = task_manager()
    assert sorted(manager.all_subtasks) == sorted(task_names())
    assert manager.all_groups == group_names() == ["word_counting_small"]
    assert all(describe(name) for name in [*task_names(), *group_names()])
    with pytest.raises(KeyError):
        describe("hellaswag")


def test_importing_the_package_is_cheap() -> None:
    heavy = "{'torch', 'lm_eval', 'datasets', 'transformers'} & set(sys.modules)"
    code = f"import sys, lm_probe.eval_tasks as t; t.task_names(); t.fingerprint('count_query_m5'); assert not {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


# The documents


@EVERY_CELL
def test_gold_is_what_a_recount_of_the_text_gives_in_both_arms(cell: Cell) -> None:
    for doc in documents(cell):
        assert doc["choices"][doc["gold"]] == right_answer(doc["full_prompt"]) == right_answer(doc["binary_prompt"])


@EVERY_CELL
def test_both_arms_have_the_same_length_question_and_answers(cell: Cell) -> None:
    for doc in documents(cell):
        full, binary = read(doc["full_prompt"])[0], read(doc["binary_prompt"])[0]
        assert len(full) == len(binary) == doc["n"]
        assert set(full) <= set(WORDS)
        assert len(set(full)) <= cell.m
        assert len(set(binary)) == 2
        assert set(binary) <= set(WORDS)
        assert doc["full_prompt"].split("\n")[1:] == doc["binary_prompt"].split("\n")[1:]
        assert len(set(doc["choices"])) == len(doc["choices"])
        assert doc["chance"] == 1 / len(doc["choices"])


@COUNT_CELLS
def test_the_counting_control_only_relabels_the_other_words(cell: Cell) -> None:
    for doc in documents(cell):
        (full, query), (binary, _) = read(doc["full_prompt"]), read(doc["binary_prompt"])
        assert len(full) == cell.n
        assert query == doc["query"]
        assert [word == query for word in full] == [word == query for word in binary]
        assert set(binary) == {query, doc["filler"]}
        assert doc["choices"] == [str(count) for count in range(largest_count(cell.m, cell.n) + 1)]
        assert 1 <= doc["gold"] < len(doc["choices"])


@WORD_CELLS
def test_the_frequency_control_keeps_the_margin(cell: Cell) -> None:
    def margin(words: list[str]) -> int:
        (_, first), (_, second) = Counter(words).most_common(2)
        return first - second

    docs = documents(cell)
    for doc in docs:
        full, binary = read(doc["full_prompt"])[0], read(doc["binary_prompt"])[0]
        assert margin(full) == margin(binary) == doc["margin"] > 0
        assert doc["n"] == cell.n + doc["margin"] % 2
        assert set(full) <= set(doc["choices"])
        assert len(doc["choices"]) == cell.m
    odd = sum(doc["margin"] % 2 for doc in docs) / len(docs)
    assert 0.5 < odd < 0.8  # the hardest documents, of margin 1, are among them
    assert Counter(doc["margin"] for doc in docs).most_common(1)[0][0] == 1


@EVERY_CELL
def test_control_words_rotate(cell: Cell) -> None:
    used = Counter(doc.get("filler") or doc["rival"] for doc in documents(cell))
    assert len(used) > 100
    assert max(used.values()) <= 10


def test_counts_spread_as_a_binomial() -> None:
    counts = [doc["gold"] for doc in documents(Cell("count_query", 20, 200), 1000)]
    assert sum(counts) / 1000 == pytest.approx(10, abs=0.4)  # four standard errors
    assert sum(count == 10 for count in counts) / 1000 == pytest.approx(0.128, abs=0.05)


def test_a_document_depends_on_its_place_alone() -> None:
    cell = CELLS[0]
    alone = document(*cell, 7)
    documents(CELLS[-1], 3)
    assert alone == documents(cell, 9)[7] == build(*cell, num_docs=8)["test"][7]
    assert alone != document(*cell, 8)
    assert alone["full_prompt"] != document(*cell, 7, seed=2)["full_prompt"]
    hashed = {key: value for key, value in alone.items() if key != "hash"}
    assert alone["hash"] == hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def test_documents_are_those_of_this_generator_version() -> None:
    """A change here makes old scores incomparable: raise GENERATOR_VERSION, write the files again, then this hash."""
    hashes = "".join(doc["hash"] for cell in CELLS for doc in documents(cell, 20))
    assert hashlib.sha256(hashes.encode()).hexdigest() == GOLDEN


GOLDEN = "a17cb38f5bef1056981d9b8b4ce17e5af4f14af1df8d064e42171ca01286e43d"


def test_off_diagonal_and_large_cells_draw_as_well() -> None:
    for kind in KINDS:
        for m, n in ((2, 20), (150, 1500), (5, 200), (50, 100), (3, 31)):
            doc = document(kind, m, n, 0)
            assert doc["choices"][doc["gold"]] == right_answer(doc["full_prompt"]) == right_answer(doc["binary_prompt"])
    assert Cell("count_query", 5, 200).name == "count_query_m5_n200"


def test_metadata_sets_the_number_and_the_seed() -> None:
    manager = task_manager({"num_docs": 3, "seed": 7, "pretrained": "x"})
    docs = manager.load(["count_query_m5"])["tasks"]["count_query_m5"].eval_docs
    assert len(docs) == 3
    assert docs[0] == document("count_query", 5, 50, 0, seed=7)
    with pytest.raises(ValueError, match="positive whole number"):
        build("count_query", 5, 50, num_docs=0)
    with pytest.raises(ValueError, match="whole number"):
        build("count_query", 5, 50, seed="x")


def test_fingerprints_tell_questions_apart() -> None:
    name = "count_query_m5"
    assert fingerprint(name) == fingerprint(name, 200, 1234)
    different = {fingerprint(task, *asked) for task in task_names() for asked in ((), (100,), (200, 1))}
    assert len(different) == 3 * len(task_names())


# Scoring, by lm-eval itself


def evaluate(answer, num_docs: int = 40, tasks: str = "word_counting_small", **options) -> dict:
    """lm-eval's results for a model that finds `answer(prompt)` likely and everything else unlikely."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM

    class Stub(LM):
        def loglikelihood(self, requests, disable_tqdm=False):
            return [(float(r.args[1] == " " + answer(r.args[0])) - 1, False) for r in requests]

        def loglikelihood_rolling(self, requests, disable_tqdm=False):
            raise NotImplementedError

        def generate_until(self, requests, disable_tqdm=False):
            raise NotImplementedError

    manager = task_manager({"num_docs": num_docs})
    return simple_evaluate(model=Stub(), tasks=[tasks], task_manager=manager, **options)


@pytest.fixture(scope="module")
def oracle() -> dict:
    return evaluate(right_answer)


@EVERY_CELL
def test_a_model_that_counts_is_always_right(cell: Cell, oracle: dict) -> None:
    values = oracle["results"][cell.name]
    for metric in KINDS[cell.kind].higher_is_better:
        expected = 1.0 if metric in ("acc", "acc_binary") else 0.0
        assert values[f"{metric},none"] == expected
        assert values[f"{metric}_stderr,none"] == 0.0
    assert oracle["higher_is_better"][cell.name] == KINDS[cell.kind].higher_is_better
    assert oracle["n-samples"][cell.name] == {"original": 40, "effective": 40}
    assert oracle["n-shot"][cell.name] == 0


@EVERY_CELL
def test_a_constant_answer_scores_its_floor_and_no_gap(cell: Cell) -> None:
    docs = documents(cell, 40)
    constant = "10" if cell.kind == "count_query" else None  # None: all answers equally likely, the first is taken
    values = evaluate(lambda prompt: constant or "", tasks=cell.name)["results"][cell.name]
    gold = [doc["gold"] for doc in docs]
    index = 10 if constant else 0
    floor = sum(g == index for g in gold) / 40
    assert values["acc,none"] == values["acc_binary,none"] == pytest.approx(floor)
    assert values["acc_gap,none"] == values["acc_gap_stderr,none"] == 0
    if constant:
        assert values["mae,none"] == values["mae_binary,none"] == pytest.approx(sum(abs(g - 10) for g in gold) / 40)
        assert values["mae_gap,none"] == 0


def test_a_model_that_counts_two_words_only_shows_the_whole_gap() -> None:
    def answer(prompt: str) -> str:
        words, query = read(prompt)
        if len(set(words)) == 2:
            return right_answer(prompt)
        return str(int(right_answer(prompt)) + 3) if query else ""

    results = evaluate(answer, num_docs=60)["results"]
    counting = results["count_query_m10"]
    assert (counting["acc,none"], counting["acc_binary,none"], counting["acc_gap,none"]) == (0, 1, 1)
    assert (counting["mae,none"], counting["mae_binary,none"], counting["mae_gap,none"]) == (3, 0, 3)
    docs = documents(Cell("most_frequent_word", 10, 100), 60)
    floor = sum(doc["gold"] == 0 for doc in docs) / 60
    frequency = results["most_frequent_word_m10"]
    assert frequency["acc_gap,none"] == pytest.approx(1 - floor)
    assert frequency["acc_gap_stderr,none"] == pytest.approx((floor * (1 - floor) / 59) ** 0.5)  # paired


def test_samples_hold_both_prompts_and_no_shots_are_added() -> None:
    row = evaluate(right_answer, num_docs=2, tasks="count_query_m5", num_fewshot=3)["samples"]["count_query_m5"][0]
    size = len(row["doc"]["choices"])
    prompts = [prompt for prompt, _ in row["arguments"]]
    assert prompts == [row["doc"]["full_prompt"]] * size + [row["doc"]["binary_prompt"]] * size
    assert [answer for _, answer in row["arguments"][:size]] == [" " + choice for choice in row["doc"]["choices"]]


def test_text_around_the_prompt_is_in_both_arms() -> None:
    row = evaluate(lambda _: "", num_docs=1, tasks="count_query_m5", system_instruction="Count.")["samples"]
    (prompts,) = [[prompt for prompt, _ in r["arguments"]] for r in row["count_query_m5"]]
    assert len(set(prompts)) == 2
    assert all(prompt.startswith("Count.") for prompt in prompts)


def test_a_nan_is_no_answer() -> None:
    doc = document("count_query", 5, 50, 0)
    responses = [(-1.0, False)] * (2 * len(doc["choices"]))
    KINDS["count_query"].score(doc, responses)
    with pytest.raises(ValueError, match="NaN for document 0"):
        KINDS["count_query"].score(doc, [*responses[:-1], (float("nan"), False)])
    with pytest.raises(ValueError, match="two arms"):
        KINDS["count_query"].score(doc, responses[1:])
