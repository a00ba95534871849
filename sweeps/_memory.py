"""When memory runs out: smaller batches, and what to say where even one row is too much."""

import gc
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch

from lm_probe.model_adapters import UserError

_SAID = ("not enough memory", "out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "std::bad_alloc")

T = TypeVar("T")


class Batched(NamedTuple):
    """Rows in a forward pass at most: what was asked for, and what there was memory for."""

    asked: int
    used: int

    def details(self) -> dict[str, int]:
        """What a measurement records: what was asked for only where that is another number."""
        return {"batch_size": self.used} | ({} if self.used == self.asked else {"batch_size_asked": self.asked})


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


def with_smaller_batches(run: Callable[[int], T], batch_size: int, say: Callable[[str], None]) -> tuple[T, Batched]:
    """What `run` gives for a number of rows, halved as often as memory runs out; each attempt starts anew.

    Args:
        run: takes the rows of a forward pass, and keeps nothing of an attempt that failed.
        batch_size: the rows asked for.
        say: takes notices.

    Raises:
        UserError: memory runs out with a single row.
    """
    size = batch_size
    while True:
        try:
            return run(size), Batched(batch_size, size)
        except Exception as error:
            if not ran_out(error):
                raise
            if size == 1:
                raise UserError(f"with one row in a forward pass {no_memory(error)}") from error
        # Outside the handler: the error held every tensor of the attempt.
        size //= 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        say(f"memory ran out with up to {2 * size} rows in a forward pass: trying {size}")
