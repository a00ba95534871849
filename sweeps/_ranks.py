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
_LONGEST = timedelta(minutes=2)  # for the first process to begin: all have just come from wrapping the model
_OVER = b"\0"  # an answer that nobody who comes now asked for
_turns: Counter[str] = Counter()  # of each name, those that this process has taken part in


def first_alone(do: Callable[[], None], *, first: bool, name: str, timeout: timedelta) -> None:
    """Does something on the first process; the others wait until it is done, and raise what went wrong there.

    It goes through the processes' store and no collective: that would wait for ever where a callback was added on the
    first process only.

    Args:
        do: what the first process does.
        first: whether this is the one.
        name: the same on all processes.
        timeout: of the processes' collectives.

    Raises:
        UserError: on the others, where `do` raised on the first, or the first does not call this.
    """
    store = _store()
    if store is None:
        if first:
            do()
    elif first:
        _answer(store, do, name)
    else:
        _hear(store, name, timeout)


def _answer(store: Any, do: Callable[[], None], name: str) -> None:
    _turns[name] += 1
    turn = _turns[name]
    store.set(_key("begun", turn, name), "")
    try:
        do()
    except Exception as error:
        store.set(_key("answer", turn, name), str(error) or type(error).__name__)
        others = [_key(f"heard by {rank}", turn, name) for rank in range(1, torch.distributed.get_world_size())]
        with suppress(RuntimeError):  # the store may end with this process
            store.wait(others, _PATIENCE)
        with suppress(RuntimeError):  # who was not there then is not refused later, at another training
            store.set(_key("answer", turn, name), _OVER)
        raise
    store.set(_key("answer", turn, name), "")


def _hear(store: Any, name: str, timeout: timedelta) -> None:
    said = _OVER
    while said == _OVER:
        turn = _turns[name] + 1
        # Half of it, because a first process without a callback waits for this one's gradients meanwhile.
        _await(
            store,
            _key("begun", turn, name),
            min(_LONGEST, timeout / 2),
            f"the first process has no ProbeCallback, or another name: add one named {name!r} on every process",
        )
        answer = _key("answer", turn, name)
        _await(store, answer, timeout, "the first process's ProbeCallback ended or took longer than ddp_timeout")
        said = bytes(store.get(answer))
        _turns[name] = turn
    if said:
        store.set(_key(f"heard by {torch.distributed.get_rank()}", turn, name), "")
        raise UserError(said.decode())


def _await(store: Any, key: str, limit: timedelta, otherwise: str) -> None:
    try:
        store.wait([key], limit)
    except RuntimeError as error:
        raise UserError(otherwise) from error


def _key(what: str, turn: int, name: str) -> str:
    return f"lm_probe/{what}/{turn}/{name}"


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
    world: Any = torch.distributed.group.WORLD
    if hasattr(world, "get_group_store"):
        return world.get_group_store()
    return torch.distributed.distributed_c10d._get_default_store()  # torch 2.6 gives it under this private name alone
