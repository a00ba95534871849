"""Child processes that start in milliseconds: forked from a server that has imported all and swept once (warm.py)."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any


def start(target: Callable[..., object], arguments: Sequence[Any] = ()) -> Any:
    """Starts `target` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm"])
    child = context.Process(target=target, args=tuple(arguments))
    child.start()
    return child


def run(target: Callable[..., object], *arguments: Any) -> int:
    """Runs `target` in a process of its own and gives its exit code; minus the signal's number where one ended it."""
    child = start(target, arguments)
    child.join()
    return int(child.exitcode)


def run_until(seconds: float, target: Callable[..., object], *arguments: Any) -> int:
    """As `run`, and kills it after so long where it has not ended by then."""
    child = start(target, arguments)
    child.join(timeout=seconds)
    child.kill()
    child.join()
    return int(child.exitcode)


def use_one_core() -> None:
    """For children that run beside each other."""
    import torch

    torch.set_num_threads(1)


def say_into(file: Path) -> None:
    """From now on this process's output goes into a file."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)


def sweep_in_child(config: Any, out: Path, **changed: Any) -> None:
    """A sweep whose notices go to `said.txt` beside the run."""
    from lm_probe.sweeps import sweep

    use_one_core()
    say_into(out.with_suffix(".said"))
    sweep(replace(config, out=out, **changed), silent=True)
