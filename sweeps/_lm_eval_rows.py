"""What lm-eval puts into the rows of its batches, and how much of the head those rows need."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from jaxtyping import Bool, Int
from lm_eval.models.utils import Collator
from torch import Tensor, arange, nn, tensor
from transformers import PreTrainedModel

# BLAS multiplies one to three rows by other kernels, whose sums differ in the last bit from those of many rows
# (measured with MKL); a few more rows of the head cost nothing beside the model.
_FEWEST_ROWS = 16


class Row(NamedTuple):
    """A prompt with one answer; the model reads all of it but the answer's last token."""

    document: int
    prompt: list[int]
    answer: list[int]

    @property
    def length(self) -> int:
        """How many tokens the model reads."""
        return len(self.prompt) + len(self.answer) - 1


class RowsOfBatches:
    """The rows of the batches to come. lm-eval's `_model_call` is told neither their lengths nor their answers."""

    def __init__(self, requests: Sequence[Row], *, answers_share_rows: bool) -> None:
        """Orders the requests with lm-eval's own collator.

        Args:
            requests: All that are scored in one go.
            answers_share_rows: lm-eval's `logits_cache`: answers of one token to the same prompt take one row.
        """
        collator = Collator(
            requests,
            sort_fn=lambda row: (-(row.length + 1), tuple(row.prompt + row.answer)),
            group_by="contexts" if answers_share_rows else None,
            group_fn=lambda row: row.prompt + row.answer[:-1],
        )
        self._rows: Iterator[Row] = (row for (row,) in collator.get_batched(n=1))

    def take(self, token_ids: Int[Tensor, "b t"]) -> list[Row]:
        """The rows of the batch that comes next.

        Raises:
            RuntimeError: the batch holds something else, so this release of lm-eval orders requests differently.
        """
        rows = list(islice(self._rows, len(token_ids)))
        read = [row.prompt + row.answer[:-1] for row in rows]
        padded = max(map(len, read), default=0)
        if token_ids.tolist() != [tokens + [0] * (padded - len(tokens)) for tokens in read]:
            raise RuntimeError("this release of lm-eval builds its batches in another way; use --model hf with it")
        return rows


def tokens_that_count(rows: Sequence[Row], padded: int) -> Bool[Tensor, "b t"] | None:
    """False at pads, which only the lengths tell: lm-eval pads with 0, a token like others. None without pads."""
    lengths = tensor([row.length for row in rows])
    return None if bool((lengths == padded).all()) else arange(padded) < lengths[:, None]


def last_positions(rows: Sequence[Row], padded: int) -> int:
    """How many positions at the end of a right-padded batch hold every position that is scored."""
    scored = max(padded - row.length + len(row.answer) for row in rows)
    return max(scored, -(-_FEWEST_ROWS // len(rows)))


@contextmanager
def head_at_last(model: PreTrainedModel, positions: int) -> Iterator[None]:
    """Lets the model's head see the last positions only; lm-eval's slices count from the end, so they still fit.

    transformers' `logits_to_keep` does the same, but hands on a strided slice, which torch multiplies by frozen weights
    once for each row of the batch: 5 times slower at a vocabulary of 50304, and with other last bits. A model whose
    head is no module of its own computes all positions, as ever.
    """

    def before(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not inputs or inputs[0].ndim != 3:
            return None
        return inputs[0][:, -positions:].contiguous(), *inputs[1:]

    head = model.get_output_embeddings()
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()
