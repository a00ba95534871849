"""lm-eval's model type `hf-probe`: the numbers of `hf`, fewer positions in the head."""

import logging
import re
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import Collator
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lm_probe.model_adapters import UserError
from lm_probe.sweeps import _lm_eval_quiet
from lm_probe.sweeps._lm_eval_tokens import PairEncoder, cuts_between_words
from lm_probe.sweeps.hf_probe import HFProbe
from tests.conftest import make_model
from tests.scoring import FAMILIES, make, request, score


@contextmanager
def shapes_at(module):
    """The shapes of what the module is given."""
    seen: list[tuple[int, ...]] = []
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append(tuple(inputs[0].shape)))
    yield seen
    handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keywords", [{"batch_size": 1}, {"batch_size": 3}, {"batch_size": 16, "logits_cache": False}])
def test_log_likelihoods_are_those_of_hf_to_the_last_bit(family, keywords, tokenizer) -> None:
    model = make_model(family)
    expected = score(make(HFLM, model, tokenizer, **keywords))
    assert score(make(HFProbe, model, tokenizer, **keywords)) == expected
    assert len(set(expected)) > 20  # prompts and answers that make a difference


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_so_are_they_with_a_wide_head_and_a_token_before_every_text(family, tokenizer, documents) -> None:
    model = make_model(family)
    model.resize_token_embeddings(5003)
    requests = [request(text[:length], " cat", 0) for text in documents[:9] for length in (40, 47, 200)]
    for batch_size in (2, 8):
        keywords = {"batch_size": batch_size, "add_bos_token": True}
        expected = score(make(HFLM, model, tokenizer, **keywords), requests)
        assert score(make(HFProbe, model, tokenizer, **keywords), requests) == expected


def test_so_are_they_where_every_row_needs_one_position(neox, tokenizer) -> None:
    requests = [request(f"the cat sat{mark}", "x", place) for place, mark in enumerate("!#$%&()*+,-./:;<")]
    neox.requires_grad_(False)  # as loaded by a sweep: torch multiplies strided slices by frozen weights row by row
    lm = make(HFProbe, neox, tokenizer, batch_size=16)
    with shapes_at(neox.get_output_embeddings()) as shapes:
        found = score(lm, requests)
    assert [shape[:2] for shape in shapes] == [(16, 1)]
    assert found == score(make(HFLM, neox, tokenizer, batch_size=16), requests)


@pytest.mark.parametrize("family", FAMILIES)
def test_rolling_log_likelihoods_and_generation_are_those_of_hf(family, tokenizer, documents) -> None:
    model = make_model(family)
    texts = [Instance("loglikelihood_rolling", {}, (text,), 0, metadata=("t", 0, 1)) for text in documents[:4]]
    asked = {"until": ["\n"], "max_gen_toks": 6}
    prompts = [Instance("generate_until", {}, (text[:50], asked), 0, metadata=("t", 0, 1)) for text in documents[:4]]
    found = []
    for kind in (HFLM, HFProbe):
        lm = make(kind, model, tokenizer, batch_size=3, max_length=64)
        with _lm_eval_quiet.quiet():
            found.append((lm.loglikelihood_rolling(texts, True), lm.generate_until(prompts, True)))
    assert found[0] == found[1]


def test_a_batch_size_that_is_searched_for_gives_the_same(neox, tokenizer, capsys) -> None:
    keywords = {"batch_size": "auto", "max_batch_size": 4}
    expected = score(make(HFLM, neox, tokenizer, **keywords))
    lm = make(HFProbe, neox, tokenizer, probes="anisotropy", **keywords)
    assert score(lm) == expected
    # the trial passes are not measured: the same tokens as with a batch size that is given
    fixed = make(HFProbe, neox, tokenizer, probes="anisotropy", batch_size=4)
    score(fixed)
    assert [value.n for value in lm.probe_values] == [value.n for value in fixed.probe_values]


def test_a_release_that_orders_its_batches_differently_is_refused(neox, tokenizer, monkeypatch) -> None:
    class ShortestFirst(Collator):
        def get_batched(self, n, batch_fn=None):
            return reversed(list(super().get_batched(n, batch_fn)))

    monkeypatch.setattr("lm_eval.models.huggingface.Collator", ShortestFirst)
    with pytest.raises(RuntimeError, match="another way"):
        score(make(HFProbe, neox, tokenizer, batch_size=2))


# Less work


def test_the_head_sees_the_last_positions_of_one_row_a_prompt(neox, tokenizer, documents) -> None:
    requests = [request(text[:121], mark, place) for place, text in enumerate(documents) for mark in ",.:;!"]
    lm = make(HFProbe, neox, tokenizer, batch_size=15)
    with shapes_at(neox.get_output_embeddings()) as shapes, shapes_at(neox.gpt_neox.layers[0]) as body:
        score(lm, requests)
    assert sum(rows for rows, *_ in shapes) == len(documents)  # answers of one token share a row
    for (rows, positions, _), (_, read, _) in zip(shapes, body, strict=True):
        assert rows == 15
        assert positions < read / 2


def test_a_model_without_a_head_of_its_own_is_scored_in_full_and_that_is_said_once(
    neox, tokenizer, monkeypatch, caplog
) -> None:
    expected = score(make(HFLM, neox, tokenizer, batch_size=3))
    monkeypatch.setattr(neox, "get_output_embeddings", lambda: None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert score(make(HFProbe, neox, tokenizer, batch_size=3)) == expected
    assert [record.message for record in caplog.records if "as slow as" in record.message] == [
        "GPTNeoXForCausalLM has no head that could be left out: as slow as --model hf"
    ]


def test_a_prompt_is_encoded_once(neox, tokenizer, monkeypatch) -> None:
    prompt = " ".join(["rain fell"] * 40)
    encoded: list[str] = []
    original = HFLM.tok_encode
    monkeypatch.setattr(
        HFLM, "tok_encode", lambda self, text, *a, **k: encoded.append(text) or original(self, text, **k)
    )
    score(make(HFProbe, neox, tokenizer), [request(prompt, f" {number}", 0) for number in range(30)])
    assert sum(map(len, encoded)) < 3 * len(prompt)


@given(
    st.text("ab.,'s\n \t é猫\u0301\u00a0", min_size=1, max_size=16).filter(str.strip),
    st.text("ab.,'s\n \té\u0301", max_size=5),
)
def test_encoding_the_end_again_gives_lm_evals_own_tokens(tokenizer, prompt, answer) -> None:
    prompt = prompt.rstrip()
    found = PairEncoder(tokenizer.encode).encode(prompt, answer)
    cut = re.search(r"\S \S", prompt)
    assert (found is None) == (cut is None)
    alone = tokenizer.encode(prompt)
    assert found is None or found == (alone, tokenizer.encode(prompt + answer)[len(alone) :])


def test_other_tokenizers_encode_every_pair(tokenizer) -> None:
    assert cuts_between_words(tokenizer)
    inner = Tokenizer(models.WordLevel({"[unk]": 0}, unk_token="[unk]"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    assert not cuts_between_words(PreTrainedTokenizerFast(tokenizer_object=inner))
    # an added token that takes the space behind it: the space no longer begins the next word
    greedy = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
    greedy.add_tokens([AddedToken("cat", rstrip=True)])
    assert PairEncoder(greedy.encode).encode("the cat sat", " on") is None
    assert PairEncoder(greedy.encode).encode("cat the sat", " on") is not None


def test_a_text_whose_score_is_nan_is_refused_by_name(neox, tokenizer) -> None:
    neox.get_output_embeddings().weight.data[3, 3] = float("nan")
    lm = make(HFProbe, neox, tokenizer)
    with pytest.raises(UserError, match=r"some_task: .*NaN"):
        score(lm)
    with pytest.raises(UserError, match=r"rolled: .*NaN"), _lm_eval_quiet.quiet():
        lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("a cat",), 0, metadata=("rolled", 0, 1))])
