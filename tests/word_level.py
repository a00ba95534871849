"""A tokenizer of one token a word that has all that our prompts use, and tiny models of three families for it."""

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from lm_probe.eval_tasks import vocabulary
from lm_probe.eval_tasks._prompts import _FRAMES, _QUESTIONS, STYLES

CONTEXT = 1600  # the longest list of the grid has 1501 words


def word_level_tokenizer(leave_out: int = 0) -> PreTrainedTokenizerFast:
    """Splits at spaces and around punctuation; knows all words of the default arm but some."""
    split = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    frames = [*_FRAMES, *(text for texts in _QUESTIONS.values() for text in texts)]
    frames += [text for style in STYLES.values() for text in style]
    asked = [piece for frame in frames for piece, _ in split.pre_tokenize_str(frame)]
    words = vocabulary()[: len(vocabulary()) - leave_out]
    known = list(dict.fromkeys(["[unk]", "[end]", *asked, ",", "-", *words, *map(str, range(1000))]))
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(known)}, unk_token="[unk]"))
    inner.pre_tokenizer = split
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[unk]", eos_token="[end]")


def tiny_model(family: str, vocabulary_size: int, context: int = CONTEXT) -> PreTrainedModel:
    """A random model of one layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ends = {"bos_token_id": 1, "eos_token_id": 1}
        if family == "gpt2":
            return GPT2LMHeadModel(
                GPT2Config(vocab_size=vocabulary_size, n_embd=16, n_layer=1, n_head=2, n_positions=context, **ends)
            ).eval()
        shape = {"vocab_size": vocabulary_size, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        shape |= {"max_position_embeddings": context} | ends
        if family == "pythia":
            return GPTNeoXForCausalLM(GPTNeoXConfig(**shape, intermediate_size=32)).eval()
        return OPTForCausalLM(OPTConfig(**shape, ffn_dim=32, word_embed_proj_dim=16, pad_token_id=1)).eval()
