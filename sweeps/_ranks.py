"""Several processes that train one model: one of them measures, and what it refuses ends all of them."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from lm_probe.model_adapters import UserError

_PATIENCE = timedelta(seconds=10)  # for the others to hear of a refusal
_asked: Counter[str] = Counter()


def first_alone(do: Callable[[], None], *, first: bool, key: str) -> None:
    """Does something on the first process; the others wait until it is done, and raise what went wrong there.

    It goes through the processes' store and no collective: that would wait for ever where a callback was added on the
    first process only.

    Args:
        do: what the first process does.
        first: whether this is the one.
        key: the same on all processes.

    Raises:
        UserError: on the others, where `do` raised on the first.
    """
    store = _store()
    if store is None:
        if first:
            do()
        return
    _asked[key] += 1
    key = f"lm_probe/{key}/{_asked[key]}"
    if not first:
        said = store.get(key).decode()
        if said:
            store.set(f"{key}/{torch.distributed.get_rank()}", "heard")
            raise UserError(said)
        return
    try:
        do()
    except Exception as error:
        store.set(key, str(error) or type(error).__name__)
        others = [f"{key}/{rank}" for rank in range(1, torch.distributed.get_world_size())]
        with suppress(RuntimeError):
            store.wait(others, _PATIENCE)  # the store may end with this process
        raise
    store.set(key, "")


def sharded_over(model: nn.Module) -> str | None:
    """What of a model lies in parts on several processes: a name; None where this process holds the whole."""
    parts: tuple[Any, ...] = ()
    if torch.distributed.is_available():
        from torch.distributed.fsdp import FullyShardedDataParallel
        from torch.distributed.tensor import DTensor  # fully_shard, and tensor parallelism

        if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
            return "FSDP"
        parts = (DTensor,)
    for name, weight in model.named_parameters():
        if isinstance(weight, parts) or weight.numel() == 0:  # ZeRO-3 leaves nothing
            return name
    return None


def _store() -> Any:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return torch.distributed.distributed_c10d._get_default_store()
