"""The demo series' tokenizer: a byte-level BPE of its own, and documents as rows of tokens."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
NUMBERS = tuple(f" {number}" for number in range(256))

# A merge enters the vocabulary when its pair is frequent enough. The last of 4096 occurs once in 90,000 characters of
# the built-in text (measured), so labels that occur once in 20,000 are always among them.
_CHARACTERS_PER_LABEL = 20_000


def train_tokenizer(
    documents: Sequence[str], *, vocabulary: int, positions: int, extra_tokens_text: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE in the manner of GPT-2 and GPT-NeoX.

    Args:
        documents: What it is trained on. Few documents give fewer than `vocabulary` tokens.
        vocabulary: The largest number of tokens, `<|endoftext|>` (id 0) and the 256 bytes included.
        positions: The longest input of the models that it is for.
        extra_tokens_text: Text whose words are to be single tokens, read as ordinary text: a word inside a sentence
            carries its space before it (`" apple pear"`). The numbers `" 0"` to `" 255"` are always among them.

    Returns:
        A tokenizer that adds no token of its own; `<|endoftext|>` is its bos, eos and unk, as in Pythia's.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_labels(documents, extra_tokens_text), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )


def _with_labels(documents: Sequence[str], extra_tokens_text: Sequence[str]) -> Iterator[str]:
    yield from documents
    times = 2 + sum(map(len, documents)) // _CHARACTERS_PER_LABEL
    for line in ("".join(NUMBERS), *extra_tokens_text):
        for _ in range(times):
            yield line


def rows_of_tokens(
    tokenizer: PreTrainedTokenizerFast, documents: Sequence[str], length: int
) -> Int[Tensor, "rows length"]:
    """Concatenate documents, each followed by `<|endoftext|>`, and cut them into rows.

    Args:
        tokenizer: Of `train_tokenizer`.
        documents: In the order in which they are concatenated.
        length: Tokens per row; what is left over at the end is dropped.

    Returns:
        The rows in the order of the text; none where the text is shorter than one row.
    """
    end = tokenizer.eos_token_id
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(list(documents), add_special_tokens=False)
    stream = torch.tensor([token for encoding in encodings for token in (*encoding.ids, end)], dtype=torch.int64)
    rows = len(stream) // length
    return stream[: rows * length].view(rows, length)
