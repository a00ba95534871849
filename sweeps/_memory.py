"""When memory runs out: smaller batches, and what to say where even one row is too much."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from lm_probe.model_adapters import UserError

_SAID = (
    *("not enough memory", "out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "std::bad_alloc"),
    "could not create a primitive",  # oneDNN, which names no cause; of a pass that is otherwise possible it is this one
)

T = TypeVar("T")


class Batched(NamedTuple):
    """Rows in forward passes."""

    asked: int
    """At most."""
    had: int
    """Those of the fullest pass: fewer where there is no more text, or where a CPU takes few long ones at a time."""
    failed: tuple[int, ...] = ()
    """Those of each pass that there was no memory for."""

    def details(self) -> dict[str, Any]:
        """What a measurement records."""
        return (
            {"batch_size": self.had}
            | ({} if self.had == self.asked else {"batch_size_asked": self.asked})
            | ({"out_of_memory_at": list(self.failed)} if self.failed else {})
        )


class Passes:
    """Forward passes of one attempt: how many rows they may have, and how many they had."""

    def __init__(self, limit: int) -> None:
        """Allows that many rows."""
        self.limit = limit
        self.most = 0
        """Rows of the fullest pass so far."""
        self._last = 0

    @property
    def failing(self) -> int:
        """Rows of the pass under way, or of the fullest one where what fails is no pass."""
        return self._last or self.most or self.limit

    @contextmanager
    def watched(self, model: PreTrainedModel) -> Iterator[None]:
        """Notes what passes the model makes inside the context, whoever makes them."""

        def begins(_: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self._last = len(inputs[0] if inputs else keywords["input"])
            self.most = max(self.most, self._last)

        hook = model.get_input_embeddings().register_forward_pre_hook(begins, with_kwargs=True)
        try:
            yield
            self._last = 0
        finally:
            hook.remove()


def ran_out(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that there is no memory left."""
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID):
            return True
        error = error.__cause__
    return False


def no_memory(error: BaseException) -> str:
    """What to say of a checkpoint that does not fit: one line."""
    said = " ".join(str(error).split())[:160] or type(error).__name__
    return (
        f"memory ran out ({said}): try --dtype bfloat16, a smaller --context, or another --device (auto spreads a "
        f"model over all GPUs)"
    )


def with_smaller_batches(run: Callable[[Passes], T], batch_size: int, say: Callable[[str], None]) -> tuple[T, Batched]:
    """What `run` gives, with half the rows of the pass for which memory ran out as often as it does.

    Args:
        run: makes passes within their limit, watched; keeps nothing of an attempt that failed.
        batch_size: the rows asked for.
        say: takes notices.

    Raises:
        UserError: memory runs out with a single row.
    """
    passes, failed = Passes(batch_size), list[int]()
    while True:
        try:
            return run(passes), Batched(batch_size, passes.most, tuple(failed))
        except Exception as error:
            if not ran_out(error):
                raise
            if 1 in (passes.limit, passes.failing):
                raise UserError(f"with one row in a forward pass {no_memory(error)}") from error
        # Outside the handler: the error held every tensor of the attempt.
        failed.append(passes.failing)
        passes = Passes(min(passes.limit, failed[-1]) // 2)  # a beam search has more rows than it was given
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        say(f"memory ran out with {failed[-1]} rows in a forward pass: trying {passes.limit}")
