"""What lm-eval does to the process that calls it, undone: noise, global seeds, a system report at every call."""

import contextlib
import functools
import io
import logging
import random
import subprocess
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back lm-eval's log lines, third-party warnings and progress bars.

    If the block fails, what was held back goes to this module's log at level DEBUG.
    """
    logger = logging.getLogger("lm_eval")
    level = logger.level
    held = io.StringIO()
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(held), contextlib.redirect_stdout(held):
            warnings.simplefilter("ignore")
            yield
    except Exception:
        logging.getLogger(__name__).debug("held back before the failure:\n%s", held.getvalue())
        raise
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Give the global generators of random, numpy and torch back as they were: lm-eval seeds all three."""
    import numpy as np
    import torch

    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if cuda else []
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda_states)


@contextlib.contextmanager
def system_report_once() -> Iterator[None]:
    """Let lm-eval describe the machine and the working directory's commit once per process.

    Both are part of its result file, and both start programs: the report asks pip, the compiler and the driver for
    their versions, 1.2 s to 1.5 s on two cores at *each* `simple_evaluate`, three minutes over 150 checkpoints, for
    the same text. `simple_evaluate` finds the two functions in its module, so they are replaced there for the length
    of the call. (Calling `evaluate`, which makes no report, would mean writing the rest of `simple_evaluate` again.)
    A release that keeps them elsewhere merely gets no speed-up.
    """
    from lm_eval import evaluator

    replaced = {name: getattr(evaluator, name, None) for name in ("add_env_info", "get_git_commit_hash")}
    if replaced["add_env_info"] is not None:
        evaluator.add_env_info = lambda storage: storage.update(_system_report())
    if replaced["get_git_commit_hash"] is not None:
        evaluator.get_git_commit_hash = _commit
    try:
        yield
    finally:
        for name, function in replaced.items():
            if function is not None:
                setattr(evaluator, name, function)


@functools.cache
def _system_report() -> dict[str, Any]:
    from lm_eval.loggers.utils import add_env_info

    report: dict[str, Any] = {}
    add_env_info(report)
    return report


@functools.cache
def _commit() -> str | None:
    """What lm-eval's own function gives, without git's complaint on stderr outside a repository."""
    try:
        found = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
