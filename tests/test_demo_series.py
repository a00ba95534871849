"""The demo series, in miniature: a width of 8 and two dozen steps on a few modules of the standard library."""

import argparse
import inspect
import json
import random
import subprocess
import sys
import textwrap
import typing
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_probe.studies._demo_folder import MARKER
from lm_probe.studies._demo_tokenizer import rows_of_tokens, train_tokenizer
from lm_probe.studies._demo_training import Recipe, build_model, train
from lm_probe.studies.demo_series import split_documents, train_demo_series
from lm_probe.sweeps.builtin_text import builtin_documents

DOCUMENTS = [inspect.getsource(module) for module in (argparse, inspect, typing, textwrap)]
STEPS = (0, 8, 24)


def make(out, documents=DOCUMENTS, **settings):
    return train_demo_series(documents, out, sizes=settings.pop("sizes", (8,)), steps=STEPS, **settings)


def weights(series):
    return {step: (series / f"step{step}" / "model.safetensors").read_bytes() for step in STEPS}


def marker(series):
    return json.loads((series / MARKER).read_text())


@pytest.fixture(scope="module")
def two_series(tmp_path_factory):
    seen = []
    series = make(
        tmp_path_factory.mktemp("demo"),
        sizes=(8, 16),
        progress=lambda *call: seen.append(call),
        extra_tokens_text=[" zyzzyva"],
    )
    return series, seen


def test_a_series_is_a_folder_of_ordinary_checkpoints(two_series):
    for series, width in zip(two_series[0], (8, 16), strict=True):
        assert series.name == f"demo-w{width}"
        assert sorted(path.name for path in series.iterdir()) == [MARKER, "step0", "step24", "step8"]
        for step in STEPS:
            model = AutoModelForCausalLM.from_pretrained(series / f"step{step}")
            tokenizer = AutoTokenizer.from_pretrained(series / f"step{step}")
            assert model.config.model_type == "gpt_neox"
            assert model.config.hidden_size == width
            assert model.config.use_parallel_residual
            assert model.config.max_position_embeddings >= 1024 == tokenizer.model_max_length
            assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
            assert model.get_output_embeddings().weight.shape == (len(tokenizer), width)


def test_what_is_loaded_tokenizes_as_what_was_trained_with(two_series):
    tokenizer = AutoTokenizer.from_pretrained(two_series[0][0] / "step8")
    text = "def f(x):\n    return 'naïve  17'\n\n"
    fresh = train_tokenizer(
        split_documents(DOCUMENTS).train, vocabulary=4096, positions=1024, extra_tokens_text=[" zyzzyva"]
    )
    assert tokenizer.encode(text) == fresh.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|endoftext|>", 0)
    assert len(tokenizer.encode(" zyzzyva")) == 1
    assert len(tokenizer.encode(" zyzzyvas")) > 1


def test_numbers_are_single_tokens_on_real_text():
    text = builtin_documents()[:100]
    tokenizer = train_tokenizer(text, vocabulary=4096, positions=1024, extra_tokens_text=[" apple pear"])
    assert len(tokenizer) == 4096
    labels = [*(f" {number}" for number in range(256)), " apple", " pear"]
    ids = [tokenizer.encode(label) for label in labels]
    assert all(len(one) == 1 for one in ids)
    assert len({one[0] for one in ids}) == len(labels)


def test_rows_are_the_documents_in_order_with_an_end_after_each():
    tokenizer = train_tokenizer(DOCUMENTS[3:], vocabulary=300, positions=1024)
    rows = rows_of_tokens(tokenizer, ["one two", "three"], 4)
    stream = [*tokenizer.encode("one two"), 0, *tokenizer.encode("three"), 0]
    assert rows.flatten().tolist() == stream[: len(stream) // 4 * 4]
    assert rows_of_tokens(tokenizer, ["one"], 100).shape == (0, 100)


def test_loss_falls_and_the_marker_says_so(two_series):
    for series in two_series[0]:
        checkpoints = marker(series)["checkpoints"]
        losses = [checkpoint["training_loss"] for checkpoint in checkpoints]
        assert [checkpoint["step"] for checkpoint in checkpoints] == list(STEPS)
        assert losses[0] == pytest.approx(np.log(4096), abs=0.1)
        assert losses[0] > losses[1] > losses[2]
        assert losses[2] < losses[0] - 0.2


def test_progress_is_told_of_every_step(two_series):
    for width in (8, 16):
        assert [call for call in two_series[1] if call[0] == f"demo-w{width}"] == [
            (f"demo-w{width}", step, 24) for step in range(25)
        ]


def test_the_loss_is_transformers_own_and_so_are_the_gradients():
    recipe = Recipe(layers=1)
    rows = torch.randint(0, 300, (3, 101), generator=torch.Generator().manual_seed(0))
    met = []
    model = build_model(recipe, width=16, vocabulary=300, seed=0)
    threads = torch.get_num_threads()
    train(model, rows, recipe, steps=[0], seed=0, at_step=lambda _: None, at_checkpoint=lambda *call: met.append(call))
    torch.set_num_threads(threads)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    again = build_model(recipe, width=16, vocabulary=300, seed=0)
    loss = torch.nn.functional.cross_entropy(again(rows[:, :-1]).logits.flatten(0, 1), rows[:, 1:].flatten())
    loss.backward()
    assert met[0] == (0, pytest.approx(loss.item(), rel=1e-6))
    for name, parameter in again.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_equal_seeds_give_equal_bytes_and_no_global_state_moves(two_series, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads()
    [alone] = make(tmp_path / "same", extra_tokens_text=[" zyzzyva"])
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert weights(alone) == weights(two_series[0][0])  # and training beside another model changes nothing

    [other] = make(tmp_path / "other", seed=1, extra_tokens_text=[" zyzzyva"])
    assert weights(other)[0] != weights(alone)[0]


def test_a_complete_series_is_left_alone_and_anything_else_is_made_again(tmp_path):
    [series] = make(tmp_path)
    first, written = weights(series), (series / MARKER).stat().st_mtime_ns
    calls = []
    assert make(tmp_path, progress=lambda *call: calls.append(call)) == [series]
    assert calls == []
    assert (series / MARKER).stat().st_mtime_ns == written

    (series / MARKER).unlink()  # as if interrupted before the end
    (series / ".step24").mkdir()
    (series / "step24" / "model.safetensors").write_bytes(b"half")
    (series / "notes.txt").write_text("mine")
    make(tmp_path)
    assert weights(series) == first
    assert not (series / ".step24").exists()
    assert (series / "notes.txt").read_text() == "mine"

    make(tmp_path, documents=DOCUMENTS[::-1])
    assert weights(series) != first


def test_an_interrupted_training_leaves_no_marker(tmp_path):
    def interrupt(model, step, last):
        if model == "demo-w8" and step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, sizes=(8, 16), progress=interrupt)
    assert (tmp_path / "demo-w8" / "step8").is_dir()
    assert not (tmp_path / "demo-w8" / MARKER).exists()
    assert len(make(tmp_path)) == 1
    assert (tmp_path / "demo-w8" / MARKER).exists()


def test_the_last_twentieth_is_held_out():
    documents = [str(number) for number in range(100)]
    parts = split_documents(documents)
    assert parts.train == documents[:95]
    assert parts.held_out == documents[95:]
    assert split_documents(["a", "b"]) == (["a"], ["b"])


def test_what_cannot_be_trained_is_said(tmp_path):
    with pytest.raises(ValueError, match="need two at least"):
        split_documents(["one"])
    with pytest.raises(ValueError, match="give more text"):
        make(tmp_path, documents=["one", "two"])
    with pytest.raises(ValueError, match=r"sizes of 8 or more .* got sizes \(4,\)"):
        make(tmp_path, sizes=(4,))


def test_importing_the_package_stays_cheap():
    code = "import sys, lm_probe.studies; assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
