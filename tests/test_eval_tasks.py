"""The word-counting tasks: words, files, and documents whose answers are what a recount of the text gives."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_probe.eval_tasks import TaskError, fingerprint, group_names, listing, task_manager, task_names, tasks_path
from lm_probe.eval_tasks._cells import CELLS, GROUPS, KINDS, Cell, cell_of
from lm_probe.eval_tasks._documents import build, documents, options_of
from lm_probe.eval_tasks._options import Options, read_options
from lm_probe.eval_tasks._sampling import largest_count
from lm_probe.eval_tasks._words import INVENTED_WORDS, LONGER_WORDS, WORDS
from lm_probe.eval_tasks._yaml_files import write, yaml_files
from tests.counting import read, right_answer

EVERY_CELL = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def ask(name: str, **metadata) -> list[dict]:
    cell = cell_of(name)
    return documents(cell, options_of(cell, {"num_docs": 40, **metadata}))


def answers(document: dict) -> tuple[str, str]:
    return document["choices"][document["gold"]], document["binary_choices"][document["binary_gold"]]


# Words and files


@pytest.mark.parametrize("words", [WORDS, LONGER_WORDS, INVENTED_WORDS], ids=["common", "longer", "invented"])
def test_no_word_is_in_another(words: tuple[str, ...]) -> None:
    assert len(words) >= 160
    assert all(re.fullmatch("[a-z]{3,12}", word) for word in words)
    assert [(a, b) for a in words for b in words if a is not b and a in b] == []


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
    assert sorted(manager.all_groups) == sorted(group_names())
    assert {name: len(cells) for name, cells in GROUPS.items()} == {
        "word_counting": 27,
        "word_counting_small": 9,
        "count_query": 9,
        "most_frequent_word": 9,
        "most_frequent_count": 9,
        "word_counting_gen": 27,
        "word_counting_gen_cot": 27,
    }


def test_the_listing_names_every_task_by_its_pattern_and_every_group() -> None:
    kinds, styles, groups = listing().values()
    names = [pattern.replace("<m>", m) for pattern, what in kinds for m in what.partition("m = ")[2].split(", ")]
    names += [f"{name}{pattern.removeprefix('*_m<m>')}" for pattern, _ in styles for name in names[:27]]
    assert sorted(names) == sorted(task_names()) and [name for name, _ in groups] == group_names()
    assert all(what.rpartition(" ")[2] in task_names() for _, what in styles)
    for name, what in groups:
        assert what.startswith(f"{len(GROUPS[name])} tasks ")
        assert what.endswith("m = 5, 10, 20" if name == "word_counting_small" else "100, 125, 150")


def test_importing_the_package_is_cheap() -> None:
    heavy = "{'torch', 'lm_eval', 'datasets', 'transformers'} & set(sys.modules)"
    code = f"import sys, lm_probe.eval_tasks as t; t.task_names(); t.fingerprint('count_query_m5'); assert not {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


# Documents


@EVERY_CELL
def test_gold_is_what_a_recount_of_the_text_gives(cell: Cell) -> None:
    for document in ask(cell.name, num_docs=60 if cell.style == "" else 5):
        assert answers(document) == (right_answer(document["full_prompt"]), right_answer(document["binary_prompt"]))
        full, binary = read(document["full_prompt"])[0], read(document["binary_prompt"])[0]
        assert len(full) == len(binary) == document["n"]
        assert set(full) <= set(document["vocabulary"]) <= set(WORDS)
        assert len(set(document["vocabulary"])) == cell.m
        assert len(set(binary)) == 2
        assert document["full_prompt"].split("\n")[1:] == document["binary_prompt"].split("\n")[1:]
        assert len(set(document["choices"])) == len(document["choices"]) == len(document["binary_choices"])
        assert document["counts"] == [full.count(word) for word in document["vocabulary"]]
        assert document["binary_counts"] == [binary.count(word) for word in document["vocabulary"]]
        assert (document["last_word"], document["binary_last_word"]) == (full[-1], binary[-1])


options = st.fixed_dictionaries(
    {
        "m": st.integers(2, 30),
        "seed": st.integers(0, 10**6),
        "separator": st.sampled_from(["space", "comma"]),
        "paraphrase": st.integers(0, 2),
        "sampling": st.sampled_from(["iid", "balanced"]),
        "arm": st.sampled_from(["single", "rare"]),
        "num_docs": st.just(4),
    }
)


@settings(max_examples=60)
@given(name=st.sampled_from([cell.name for cell in CELLS if cell.m == 5]), metadata=options, more=st.data())
def test_gold_is_right_under_every_option(name: str, metadata: dict, more: st.DataObject) -> None:
    metadata["n"] = metadata["m"] + more.draw(st.integers(metadata["m"], 200), "further words")
    if name.startswith("count_query"):
        metadata["control"] = more.draw(st.sampled_from(["relabel", "matched"]), "control")
        metadata["questions_per_list"] = more.draw(st.integers(1, 2), "questions")
    else:
        metadata["ties"] = more.draw(st.sampled_from(["reject", "accept"]), "ties")
    for document in ask(name, **metadata):
        for arm, answer in zip(("full", "binary"), answers(document), strict=True):
            words, query = read(document[f"{arm}_prompt"])
            counts = Counter(words)
            right = counts[query] if query else max(counts.values())
            assert (counts[answer] if "word" in name else int(answer)) == right
        assert len(set(read(document["binary_prompt"])[0])) == 2
        assert document["m"] == metadata["m"]
        assert document["n"] - metadata["n"] in ((0,) if document["query"] else (0, 1))


@pytest.mark.parametrize("m", [5, 50, 150])
def test_the_counting_control_only_relabels_the_other_words(m: int) -> None:
    for document in ask(f"count_query_m{m}"):
        (full, query), (binary, _) = read(document["full_prompt"]), read(document["binary_prompt"])
        assert [word == query for word in full] == [word == query for word in binary]
        assert set(binary) == {query, document["filler"]}
        assert document["query"] == query
        assert document["gold"] == document["binary_gold"]
        assert 1 <= document["gold"] <= largest_count(m, 10 * m, "iid") == len(document["choices"]) - 1


def test_with_two_words_the_control_is_the_list_itself() -> None:
    for document in ask("count_query_m5", m=2, n=20):
        assert document["full_prompt"] == document["binary_prompt"]


def test_the_matched_control_has_the_same_expected_count() -> None:
    pairs = ask("count_query_m20", control="matched", num_docs=600)
    counts = [document["binary_gold"] for document in pairs]
    assert sum(counts) / 600 == pytest.approx(10, abs=0.5)  # four standard errors
    assert any(document["gold"] != document["binary_gold"] for document in pairs)
    relabelled = ask("count_query_m20", num_docs=3)
    assert [d["full_prompt"] for d in relabelled] == [d["full_prompt"] for d in pairs[:3]]


@pytest.mark.parametrize("kind", ["most_frequent_word", "most_frequent_count"])
@pytest.mark.parametrize("m", [5, 150])
def test_the_frequency_control_keeps_the_margin(kind: str, m: int) -> None:
    def margin(words: list[str]) -> int:
        (_, first), (_, second) = Counter(words).most_common(2)
        return first - second

    found = ask(f"{kind}_m{m}", num_docs=200 if m == 5 else 60)
    for document in found:
        full, binary = read(document["full_prompt"])[0], read(document["binary_prompt"])[0]
        assert margin(full) == margin(binary) == document["margin"] > 0
        assert document["n"] == 10 * m + document["margin"] % 2
        assert Counter(full).most_common(1)[0][0] == Counter(binary).most_common(1)[0][0]
    odd = sum(document["margin"] % 2 for document in found) / len(found)
    assert 0.4 < odd < 0.85  # the hardest documents, of margin 1, are among them


def test_answers_to_the_largest_count_have_the_same_ratios_in_both_arms() -> None:
    for document in ask("most_frequent_count_m20"):
        right, control = map(int, answers(document))
        assert control >= document["n"] / 2
        for full, binary in zip(document["choices"], document["binary_choices"], strict=True):
            assert int(binary) == pytest.approx(int(full) * control / right, abs=0.51)


def test_control_words_rotate() -> None:
    for name, word in (("count_query_m10", "filler"), ("most_frequent_word_m10", "rival")):
        used = Counter(document[word] for document in ask(name, num_docs=200))
        assert len(used) > 100
        assert max(used.values()) <= 10


def test_ties_are_as_frequent_as_tabulated_and_rejected_on_demand() -> None:
    for m, share in ((5, 0.155), (20, 0.223)):
        found = ask(f"most_frequent_word_m{m}", ties="accept", num_docs=800)
        tied = sum(document["margin"] == 0 for document in found) / 800
        assert tied == pytest.approx(share, abs=4 * (share / 800) ** 0.5)
    first = [document["counts"].index(max(document["counts"])) for document in found if not document["margin"]]
    gold = [document["gold"] for document in found if not document["margin"]]
    assert gold != first  # any of the tied words, not the first
    for document in found:
        assert document["margin"] or document["binary_counts"].count(max(document["binary_counts"])) == 2


def test_balanced_lists_hold_small_and_large_counts() -> None:
    spread = [count for document in ask("count_query_m20", sampling="balanced") for count in document["counts"]]
    assert min(spread) == 1
    assert max(spread) > 30
    assert sum(spread) / len(spread) == 10
    assert Counter(spread)[1] > Counter(spread)[15]  # nearly geometric
    assert len(ask("count_query_m20", sampling="balanced")[0]["choices"]) == 141


def test_floors_are_those_of_the_specification() -> None:
    for m, accuracy in ((5, 0.140), (20, 0.128), (50, 0.126)):
        counts = [document["gold"] for document in ask(f"count_query_m{m}", num_docs=1000)]
        assert sum(counts) / 1000 == pytest.approx(10, abs=0.4)
        assert sum(count == 10 for count in counts) / 1000 == pytest.approx(accuracy, abs=0.045)
        assert 2.0 < sum(abs(count - 10) for count in counts) / 1000 < 2.7
    for m in (10, 50):
        counts = Counter(document["gold"] for document in ask(f"most_frequent_count_m{m}", num_docs=600))
        assert 0.17 < counts.most_common(1)[0][1] / 600 < 0.33


def test_several_questions_share_a_list_and_its_prefix() -> None:
    found = ask("count_query_m10", questions_per_list=4, num_docs=10)
    assert [document["list_id"] for document in found] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    for start in (0, 4):
        group = found[start : start + 4]
        assert len({document["full_prompt"].split("\n")[0] for document in group}) == 1
        assert len({document["query"] for document in group}) == 4
        assert all(document["full_prompt"].startswith("Here is a list") for document in group)
    assert found[0]["vocabulary"] != found[4]["vocabulary"]


def test_wording_and_separator_leave_the_lists_alone() -> None:
    plain = [read(document["full_prompt"]) for document in ask("count_query_m10", num_docs=5)]
    other = ask("count_query_m10", num_docs=5, paraphrase=2, separator="comma")
    assert [read(document["full_prompt"]) for document in other] == plain
    assert ", " in other[0]["full_prompt"]
    prompts = {ask("count_query_m10", num_docs=1, paraphrase=p)[0]["full_prompt"] for p in range(3)}
    assert len(prompts) == 3


def test_a_document_depends_on_its_place_alone() -> None:
    alone = ask("count_query_m5", num_docs=8)[7]
    ask("most_frequent_word_m150", num_docs=2)
    built = build("count_query_m5", num_docs=9, pretrained=None, version=2.0, config_source="x")["test"][7]
    own, again = (
        {key: value for key, value in one.items() if "constant" not in key and key != "hash"} for one in (alone, built)
    )
    assert own == again
    assert alone["hash"] == built["hash"] == hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
    assert alone["full_prompt"] != ask("count_query_m5", num_docs=8, seed=2)[7]["full_prompt"]


def test_another_process_draws_the_same_documents() -> None:
    """What was loaded before, the hash seed and the global generator make no difference."""
    code = (
        "import random, sys\nfrom lm_probe.eval_tasks import _documents as d\n"
        "random.seed(int(sys.argv[1])); sys.argv[1] == '2' and d.build('most_frequent_word_m10', num_docs=3)\n"
        "for name in ('count_query_m5', 'most_frequent_word_m20', 'most_frequent_count_m10_gen'):\n"
        "    cell = d.cell_of(name); print(*d.first_hashes(cell, d.options_of(cell, {}), None))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code, turn],
            env={"PYTHONHASHSEED": turn, "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for turn in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].split()[:2] == [document["hash"] for document in ask("count_query_m5", num_docs=2)]


def test_documents_are_those_of_this_generator_version() -> None:
    """A change here makes old scores incomparable: raise GENERATOR_VERSION, write the files again, then this hash."""
    hashes = "".join(document["hash"] for cell in CELLS for document in ask(cell.name, num_docs=4))
    assert hashlib.sha256(hashes.encode()).hexdigest() == GOLDEN


GOLDEN = "9baa8bfa124cae481d9a99a8d1ce1e0a50b07b48434fedfe76cd2beb3a2f0e1d"


def test_examples_are_no_documents() -> None:
    splits = build("count_query_m5", num_docs=50)
    assert len(splits["train"]) == 16
    assert not set(splits["train"]["full_prompt"]) & set(splits["test"]["full_prompt"])


@pytest.mark.parametrize("metadata", [{"n": 200}, {"m": 8}, {"m": 150, "n": 1500}, {"m": 2, "n": 3}])
@pytest.mark.parametrize("kind", KINDS)
def test_m_and_n_leave_the_diagonal(kind: str, metadata: dict) -> None:
    cell = cell_of(f"{kind}_m5")
    (document,) = ask(cell.name, **metadata, num_docs=1)
    assert document["m"] == metadata.get("m", 5)
    assert document["n"] - metadata.get("n", 50) in (0, 1)


@pytest.mark.parametrize(
    ("name", "metadata", "said"),
    [
        ("count_query_m5", {"num_docs": 0}, "num_docs=0 cannot be used; possible: a whole number from 1"),
        ("count_query_m5", {"num_docs": "many"}, "num_docs='many' .*for example --metadata '.\"num_docs\": 200.'"),
        ("count_query_m5", {"seed": 1.5}, "seed=1.5 .*a whole number"),
        ("count_query_m5", {"m": True}, "m=True"),
        ("count_query_m5", {"m": 1}, "m=1 .*from 2"),
        ("count_query_m5", {"n": 5}, r"n=5 .*more words than the 5 different ones \(m\).*--metadata '.\"n\": 50.'"),
        (
            "count_query_m5",
            {"separator": "tab"},
            "separator='tab' .*space, comma.*--metadata '.\"separator\": \"space\".'",
        ),
        ("count_query_m5", {"paraphrase": 3}, "paraphrase=3 .*0, 1, 2"),
        ("count_query_m5", {"sampling": "zipf"}, "sampling='zipf' .*iid, balanced"),
        ("count_query_m5", {"control": "none"}, "control='none' .*relabel, matched"),
        ("count_query_m5", {"arm": "long"}, "arm='long' .*single, two_token, rare"),
        ("count_query_m5", {"ties": "accept"}, "ties='accept' .*only for most_frequent_word and most_frequent_count"),
        ("most_frequent_word_m5", {"control": "matched"}, "control='matched' .*only for count_query"),
        ("most_frequent_count_m5", {"questions_per_list": 2}, "questions_per_list=2 .*only for count_query"),
        ("count_query_m5", {"questions_per_list": 6}, "questions_per_list=6 .*at most m = 5"),
        ("count_query_m5", {"m": 215, "n": 3000}, "count_query_m5: 215 words are needed, 214 of 214"),
        ("count_query_m5", {"arm": "two_token"}, "arm=two_token needs to know the tokenizer"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(name: str, metadata: dict, said: str) -> None:
    with pytest.raises(TaskError, match=said) as error:
        build(name, **metadata)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{name}: ")


def test_a_key_that_is_nearly_an_option_is_warned_of(caplog) -> None:
    build("count_query_m5", num_docs=1, num_doc=3, pretrained=None)
    assert caplog.messages == ["count_query_m5: num_doc is no option and changes nothing; num_docs is"]


def test_metadata_reaches_the_generator_through_lm_eval() -> None:
    manager = task_manager({"num_docs": 3, "seed": 7, "separator": "comma", "n": 60})
    found = manager.load(["count_query_m5"])["tasks"]["count_query_m5"].eval_docs
    assert len(found) == 3
    assert found[0]["hash"] == ask("count_query_m5", num_docs=3, seed=7, separator="comma", n=60)[0]["hash"]


def test_fingerprints_tell_questions_apart() -> None:
    name = "count_query_m5"
    assert fingerprint(name) == fingerprint(name, 200, 1234) == fingerprint(name, metadata={"separator": "space"})
    asked = [(), (100,), (200, 1), (None, None, {"separator": "comma"}), (None, None, {"n": 2000})]
    names = [cell.name for cell in CELLS if cell.m in (5, 150)]
    assert len({fingerprint(task, *how) for task in names for how in asked}) == len(asked) * len(names)
    assert set(Options._fields) == set(options_of(cell_of(name), {})._asdict())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"m": 50}, """m=50 cannot be used; .* than the 50 of a list \\(n\\), .*'{"m": 50, "n": 500}'$"""),
        ({"n": 5}, """n=5 cannot be used; .* than the 5 different ones \\(m\\), .*'{"n": 50}'$"""),
        ({"m": 50, "n": 40}, """n=40 cannot be used; .* than the 50 different ones \\(m\\), .*'{"n": 500}'$"""),
    ],
)
def test_the_option_that_was_given_is_the_one_that_is_refused(given: dict, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        read_options("count_query_m5", "count_query", 5, 50, given)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("most_frequent_word_m5", {"n": 6, "sampling": "balanced"}),
        ("most_frequent_count_m5", {"m": 3, "n": 4, "sampling": "balanced"}),
        ("count_query_m20", {"n": 21, "questions_per_list": 20}),
    ],
)
def test_options_that_leave_no_list_are_refused_and_do_not_loop(task: str, options: dict) -> None:
    with pytest.raises(TaskError, match=r"no list of n=\d+ words of m=\d+ different ones could be asked about"):
        fingerprint(task, 5, metadata=options)
