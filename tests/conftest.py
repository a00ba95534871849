"""Tiny random models of every family, made from configurations; a tokenizer; a series on disk."""

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may wait for a network by accident; the Hub tests run in subprocesses
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browsing import Opened
    from tests.loopback_hub import LoopbackHub

# A shared machine must not fail what is right: the same examples each time there, new ones at the desk.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# A shell's background jobs ignore it, and so would the processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

VOCABULARY = 320
COUNTED = "apple brick camp dance eagle frog goat hotel iron judge king lemon".split()  # noqa: SIM905
_LLAMA_SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=0,
)
_NEOX_SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=1024,
)
_OPT_SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=16,
    ffn_dim=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=256,
    word_embed_proj_dim=16,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=1,
)

CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=3, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=0
    ),
    "gpt_neox": lambda: GPTNeoXConfig(**_NEOX_SHAPE),
    "gpt_neox-serial": lambda: GPTNeoXConfig(**_NEOX_SHAPE, use_parallel_residual=False),
    "opt": lambda: OPTConfig(**_OPT_SHAPE),
    "opt-350m": lambda: OPTConfig(**{**_OPT_SHAPE, "word_embed_proj_dim": 8}, do_layer_norm_before=False),
    "llama": lambda: LlamaConfig(**_LLAMA_SHAPE),
    "mistral": lambda: MistralConfig(**_LLAMA_SHAPE),
    "qwen2": lambda: Qwen2Config(**_LLAMA_SHAPE),
    "qwen3": lambda: Qwen3Config(**_LLAMA_SHAPE, head_dim=4),
    "olmo2": lambda: Olmo2Config(**_LLAMA_SHAPE),
    "gemma": lambda: GemmaConfig(**_LLAMA_SHAPE, head_dim=8),
    "gemma2": lambda: Gemma2Config(**_LLAMA_SHAPE, head_dim=8, final_logit_softcapping=0.5),
}


def make_model(name: str, seed: int = 0) -> PreTrainedModel:
    """A random model; every weight is redrawn wide enough that a part left out shows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[name]())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.eval()
    return model


@pytest.fixture(params=sorted(CONFIGS))
def any_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each family in turn."""
    return make_model(request.param)


@pytest.fixture
def neox() -> PreTrainedModel:
    return make_model("gpt_neox")


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """Thirty short texts with words, numbers and characters of several bytes."""
    sentence = "the cat sat on a mat and saw one red bird über den Fluß 猫 in 1984 while rain fell"
    words = sentence.split()
    return [
        f"Text {number}. " + " ".join(words[(number * step) % len(words)] for step in range(1, 60 + 3 * number))
        for number in range(30)
    ]


@pytest.fixture(scope="session")
def tokenizer(documents: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most 300 tokens, and twelve words that counting tasks may use."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(documents, trainer)
    bpe.add_tokens([f" {word}" for word in COUNTED])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A series of three GPT-NeoX checkpoints, steps 0, 1 and 8. Copy it before changing anything."""
    folder = tmp_path_factory.mktemp("sources") / "tiny"
    for step in (0, 1, 8):
        make_model("gpt_neox", seed=step).save_pretrained(folder / f"step{step}")
        tokenizer.save_pretrained(folder / f"step{step}")
    return folder


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """The documents as a .jsonl file."""
    import json

    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[LoopbackHub]":
    """A Hub on loopback for the clients in this process, with an empty cache in `tmp_path / "cache"`."""
    from tests.hub_in_process import hub_in_process

    with hub_in_process(tmp_path / "cache", monkeypatch) as server:
        yield server


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts are noted and not waited for."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


@pytest.fixture(scope="session")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered run of two models; the narrow one's loss rises from step 128 on. Copy it before changing it."""
    from lm_probe.reports import write_report
    from tests.reporting import record

    run = tmp_path_factory.mktemp("report") / "two"
    record(run, "demo-d32", width=32)
    record(run, "demo-d16", width=16, turn=128)
    write_report([run])
    return run


@pytest.fixture(scope="session")
def web_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered run of two models and some failures. Copy it before changing it."""
    from tests.browsing import write_run

    run = tmp_path_factory.mktemp("web") / "run"
    write_run(run)
    return run


# A module each: the loop of a browser that stays open is in the way of other tests' own.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium."""
    from tests.browsing import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def wide(browser: "Browser", web_run: Path) -> "Iterator[Opened]":
    """One page for all tests of a module that change it only where they look."""
    from tests.browsing import Opened

    looks = {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"}
    with Opened(browser, web_run / "report.html", **looks) as opened:
        yield opened


@pytest.fixture(scope="module")
def small(browser: "Browser", web_run: Path) -> "Iterator[Opened]":
    """A telephone at night."""
    from tests.browsing import Opened

    looks = {"viewport": {"width": 360, "height": 740}, "reduced_motion": "reduce", "color_scheme": "dark"}
    with Opened(browser, web_run / "report.html", **looks) as opened:
        yield opened
