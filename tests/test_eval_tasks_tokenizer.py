"""Words by tokenizer, the tokenizer that lm-eval's arguments name, and prompts that do not fit the model."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, PreTrainedTokenizerFast

from lm_probe.eval_tasks import (
    TaskError,
    _documents,
    fingerprint,
    task_manager,
    tokenizer_at_hand,
    vocabulary,
    word_tokens,
)
from lm_probe.eval_tasks._cells import cell_of
from lm_probe.eval_tasks._documents import build, documents, options_of
from lm_probe.eval_tasks._tokenizer import TokenizerAtHand, find_tokenizer
from lm_probe.eval_tasks._vocabulary import choose_vocabulary, is_one_token, list_tokens, quoted
from lm_probe.eval_tasks._words import INVENTED_WORDS, LONGER_WORDS, WORDS
from tests.counting import Answering, evaluate, right_answer
from tests.word_level import word_level_tokenizer

# GPT-NeoX's tokenizer, where somebody put it beside the repository.
SHARED = [parent / "shared" / "data" / "20B_tokenizer.json" for parent in Path(__file__).parents]
with_neox = pytest.mark.skipif(not any(map(Path.exists, SHARED)), reason="no ../shared/data/20B_tokenizer.json")


def byte_level(words: list[str], extra: list[str] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE that merges each of the words, with the space before it, into one token, and nothing else."""
    merges: dict[tuple[str, str], None] = {}
    for word in [*(f"\u0120{word}" for word in words), *extra]:
        for end in range(1, len(word)):
            merges[(word[:end], word[end])] = None
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *dict.fromkeys(a + b for a, b in merges)]
    inner = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=inner)


@pytest.fixture(scope="module")
def neox() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_file=str(next(filter(Path.exists, SHARED))))


# Which words


@with_neox
def test_all_words_are_one_token_in_the_tokenizer_of_pythia(neox) -> None:
    assert list(word_tokens(neox)) == list(word_tokens(neox, "comma")) == vocabulary()
    at_hand = TokenizerAtHand(neox)
    plain = choose_vocabulary("t", 150, "single", "space", None).words
    assert choose_vocabulary("t", 150, "single", "space", at_hand).words == plain
    two = choose_vocabulary("t", 150, "two_token", "space", at_hand)
    assert len(two.words) >= 160
    assert {len(tokens) for tokens in two.tokens.values()} == {2}
    assert len(choose_vocabulary("t", 150, "rare", "comma", at_hand).words) == len(INVENTED_WORDS)
    inside = [quoted(word, at_hand.remember["single", "space"].tokens[word], at_hand) for word in WORDS]
    assert not any(found.same for found in inside)  # no space before it, so another token: said in the document
    assert 0.6 < sum(found.tokens == 1 for found in inside) / len(inside) < 0.9


@with_neox
@pytest.mark.parametrize("separator", ["space", "comma"])
@pytest.mark.parametrize("arm", ["single", "two_token", "rare"])
def test_a_list_has_the_tokens_that_its_document_says(neox, arm: str, separator: str) -> None:
    cell, at_hand = cell_of("count_query_m20"), TokenizerAtHand(neox)
    options = options_of(cell, {"num_docs": 3, "arm": arm, "separator": separator})
    for document in documents(cell, options, at_hand):
        words = document["full_prompt"].split("\n")[0].removeprefix("Here is a list of words:")
        separators = (document["n"] - 1) * (separator == "comma")
        assert len(at_hand.encode(words)) == document["list_tokens"] + separators
        assert {"single": 1, "two_token": 2}.get(arm, 2.5) <= document["list_tokens"] / document["n"] <= 6
        assert document["words_checked"] and document["answers_one_token"]
        asked = at_hand.encode(document["full_prompt"])
        for place in (document["gold"], 0):
            assert at_hand.encode(f"{document['full_prompt']} {document['choices'][place]}")[:-1] == asked


@with_neox
def test_documents_are_the_same_with_a_tokenizer_that_has_all_words(neox) -> None:
    cell = cell_of("count_query_m150")
    options = options_of(cell, {"num_docs": 2})
    checked, unchecked = documents(cell, options, TokenizerAtHand(neox)), documents(cell, options)
    assert [d["full_prompt"] for d in checked] == [d["full_prompt"] for d in unchecked]
    assert [d["words_checked"] for d in checked + unchecked] == [True, True, False, False]
    assert unchecked[0]["list_tokens"] is unchecked[0]["query_tokens"] is unchecked[0]["answers_one_token"] is None


def test_only_words_of_one_token_are_chosen() -> None:
    tokenizer = byte_level(["apple", "bear", "coin", "desk", "door", "lake"])
    chosen = choose_vocabulary("t", 6, "single", "space", TokenizerAtHand(tokenizer))
    assert chosen.words == ("apple", "bear", "coin", "desk", "door", "lake")
    assert [tokenizer.convert_ids_to_tokens(list(ids)) for ids in chosen.tokens.values()] == [
        [f"\u0120{word}"] for word in chosen.words
    ]
    at_hand = TokenizerAtHand(tokenizer)
    assert len(list_tokens("oil", "comma", at_hand)) == 4
    assert quoted("apple", chosen.tokens["apple"], at_hand) == (5, False)
    cell = cell_of("count_query_m5")
    drawn = documents(cell, options_of(cell, {"num_docs": 20}), at_hand)
    assert {word for document in drawn for word in document["vocabulary"]} == set(chosen.words)


def test_inside_quotes_the_token_may_be_the_same() -> None:
    tokenizer = word_level_tokenizer()
    at_hand = TokenizerAtHand(tokenizer)
    assert all(quoted(word, list_tokens(word, "space", at_hand), at_hand) == (1, True) for word in WORDS)
    document = documents(cell_of("count_query_m5"), options_of(cell_of("count_query_m5"), {}), at_hand)[0]
    assert (document["query_tokens"], document["query_same_token"]) == (1, True)


@pytest.mark.parametrize(
    ("name", "metadata", "said"),
    [
        (
            "count_query_m10",
            {},
            "count_query_m10: 10 words are needed, 6 of 214 are 1 token in this tokenizer",
        ),
        ("most_frequent_word_m5", {"m": 7, "n": 70}, "most_frequent_word_m5: 7 words are needed, 6 of 214"),
        ("count_query_m5", {"arm": "two_token"}, f"0 of {len(LONGER_WORDS)} are 2 tokens .*rare"),
    ],
)
def test_too_few_words_are_refused(name: str, metadata: dict, said: str) -> None:
    with (
        tokenizer_at_hand(byte_level(["apple", "bear", "coin", "desk", "door", "lake"])),
        pytest.raises(TaskError, match=said) as error,
    ):
        build(name, **metadata)
    assert "\n" not in str(error.value)


def test_an_unknown_word_is_not_one_token() -> None:
    """A word-level tokenizer makes one token of any word that it does not know."""
    tokenizer = word_level_tokenizer(leave_out=10)
    assert list(word_tokens(tokenizer)) == vocabulary()[:-10]
    assert choose_vocabulary("t", 5, "single", "space", TokenizerAtHand(tokenizer)).words == tuple(vocabulary()[:-10])
    with pytest.raises(TaskError, match="0 of 400"):
        choose_vocabulary("t", 5, "rare", "space", TokenizerAtHand(tokenizer))


def test_answers_of_several_tokens_are_reported_once(caplog, monkeypatch) -> None:
    monkeypatch.setattr(_documents, "_warned", set())
    tokenizer = byte_level(WORDS, [f"\u0120{k}" for k in range(10)])
    at_hand = TokenizerAtHand(tokenizer)
    assert is_one_token("7", at_hand) and not is_one_token("12", at_hand)
    cell = cell_of("count_query_m5")
    for _ in range(2):
        document = documents(cell, options_of(cell, {"num_docs": 2}), at_hand)[0]
    assert document["answers_one_token"] is False
    assert len(caplog.messages) == 1
    assert "count_query_m5: answers such as '31' are more than one token" in caplog.messages[0]
    words = cell_of("most_frequent_word_m5")
    assert documents(words, options_of(words, {"num_docs": 2}), at_hand)[0]["answers_one_token"] is True


# Which tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    byte_level(WORDS[:100]).save_pretrained(tmp_path)
    GPT2Config(n_positions=77).save_pretrained(tmp_path)
    return tmp_path


def test_the_models_arguments_name_the_tokenizer(folder: Path, tmp_path_factory) -> None:
    found = find_tokenizer({"pretrained": str(folder), "dtype": "float32", "revision": "step8"})
    assert found is not None
    assert found.max_length == 77
    assert found is find_tokenizer({"pretrained": str(folder), "revision": "step8"})  # loaded once
    assert find_tokenizer({"pretrained": str(folder), "max_length": 50}).max_length == 50
    elsewhere = tmp_path_factory.mktemp("other")
    byte_level(WORDS[:20]).save_pretrained(elsewhere)
    other = find_tokenizer({"pretrained": str(folder), "tokenizer": str(elsewhere)})
    assert (len(word_tokens(other._tokenizer)), other.max_length) == (20, 77)
    assert find_tokenizer({}) is find_tokenizer({"pretrained": None, "num_docs": 3}) is None
    documents = task_manager({"pretrained": str(folder), "num_docs": 3}).load(["count_query_m5"])
    rows = documents["tasks"]["count_query_m5"].eval_docs
    assert all(row["words_checked"] and set(row["vocabulary"]) <= set(WORDS[:100]) for row in rows)


def test_a_checkpoint_of_a_local_series_is_found(folder: Path) -> None:
    step = folder.parent / f"{folder.name}-series" / "step8"
    shutil.copytree(folder, step)
    found = find_tokenizer({"pretrained": str(step.parent), "revision": "step8"})
    assert found is not None
    assert (len(word_tokens(found._tokenizer)), found.max_length) == (100, 77)


def test_the_surrounding_block_comes_first_and_ends(folder: Path) -> None:
    tokenizer = byte_level(WORDS[:6])
    with tokenizer_at_hand(tokenizer, 33):
        found = find_tokenizer({"pretrained": str(folder)})
        assert (found._tokenizer, found.max_length) == (tokenizer, 33)
        inside = fingerprint("count_query_m5")
    assert find_tokenizer({"pretrained": str(folder)}).max_length == 77
    assert inside != fingerprint("count_query_m5")  # other words, so other documents


def test_a_tokenizer_that_cannot_be_loaded_is_said(tmp_path: Path, caplog) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with caplog.at_level(logging.WARNING, "lm_probe.eval_tasks"):
        assert find_tokenizer({"pretrained": str(tmp_path)}) is None
    assert [message for message in caplog.messages if "the words are not checked" in message]


def test_special_tokens_that_the_model_reads_are_counted() -> None:
    class WithStart:
        unk_token_id = None

        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [0] * add_special_tokens + [1] * len(text.split())

    assert TokenizerAtHand(WithStart()).length("a b") == 3
    assert TokenizerAtHand(WithStart(), add_bos_token=False).length("a b") == 2


# What does not fit


@pytest.mark.parametrize("style", ["", "_gen", "_gen_cot"])
def test_a_prompt_that_does_not_fit_is_refused_by_name_and_one_that_does_is_asked(style: str) -> None:
    tokenizer, name = word_level_tokenizer(), f"count_query_m5{style}"
    cell = cell_of(name)
    at_hand = TokenizerAtHand(tokenizer)
    budget = {"": 0, "_gen": 32, "_gen_cot": 232}[style]  # the one token of an answer is predicted and not read
    document = documents(cell, options_of(cell, {"num_docs": 1}), at_hand)[0]
    needed = at_hand.length(document["full_prompt"]) + budget
    with tokenizer_at_hand(tokenizer, needed):
        results = evaluate(Answering(right_answer), [name], {"num_docs": 1})
    assert results["results"][name]["acc,none"] == 1
    with (
        tokenizer_at_hand(tokenizer, needed - 1),
        pytest.raises(TaskError, match=rf"{name}: .* has {needed} tokens, the model's context holds {needed - 1}"),
    ):
        evaluate(Answering(right_answer), [name], {"num_docs": 1})


def test_examples_count_for_what_fits() -> None:
    with tokenizer_at_hand(word_level_tokenizer(), 150):
        evaluate(Answering(right_answer), ["count_query_m5"], {"num_docs": 1})
        with pytest.raises(TaskError, match="holds 150"):
            evaluate(Answering(lambda _: ""), ["count_query_m5"], {"num_docs": 1}, num_fewshot=2)


def test_a_response_that_reaches_the_budget_is_cut() -> None:
    with tokenizer_at_hand(word_level_tokenizer()):
        long = Answering(lambda _: " ".join(["apple"] * 32))
        values = evaluate(long, ["count_query_m5_gen"], {"num_docs": 3})["results"]["count_query_m5_gen"]
        assert (values["truncated,none"], values["parse_failure,none"]) == (1, 0)
        short = Answering(lambda _: "apple")
        values = evaluate(short, ["count_query_m5_gen"], {"num_docs": 3})["results"]["count_query_m5_gen"]
        assert (values["truncated,none"], values["parse_failure,none"]) == (0, 1)
