"""The lm-eval tasks and their generators.

Counting words, told apart into "too many different words" and "too long" by a control inside each document; the
design follows arXiv 2407.15160. Importing this package imports neither torch nor lm-eval.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_probe.eval_tasks._cells import CELLS, GROUPS
from lm_probe.eval_tasks._documents import NUM_DOCS, SEED, document
from lm_probe.eval_tasks._kind import GENERATOR_VERSION
from lm_probe.eval_tasks._words import WORDS

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

__all__ = ["describe", "fingerprint", "group_names", "task_manager", "task_names", "tasks_path", "vocabulary"]


def tasks_path() -> Path:
    """The folder to give to lm-eval's `--include_path`."""
    return Path(__file__).parent / "tasks"


def task_names() -> list[str]:
    """The names of the tasks, in the order of the grid."""
    return [cell.name for cell in CELLS]


def group_names() -> list[str]:
    """The names of the groups of tasks."""
    return list(GROUPS)


def vocabulary() -> list[str]:
    """The words that every list is drawn from."""
    return list(WORDS)


def describe(name: str) -> str:
    """One line on a task or a group of ours.

    Raises:
        KeyError: the name is neither.
    """
    if name in GROUPS:
        return "the tasks " + ", ".join(cell.name for cell in GROUPS[name])
    return {cell.name: cell.description for cell in CELLS}[name]


def fingerprint(name: str, num_docs: int | None = None, seed: int | None = None) -> str:
    """A hash of what one of our tasks asks: of its YAML files, its generator, and how many documents of which seed.

    The first documents are in it, so that a changed word list or prompt changes it even where somebody forgot to
    raise the generator's version.

    Raises:
        KeyError: no task of ours has the name.
    """
    cell = {cell.name: cell for cell in CELLS}[name]
    seed = SEED if seed is None else seed
    asked = [
        GENERATOR_VERSION,
        [path.read_text(encoding="utf-8") for path in sorted(tasks_path().glob(f"*/{name}.yaml"))],
        [path.read_text(encoding="utf-8") for path in sorted(tasks_path().glob(f"*/_{cell.kind}"))],
        [document(*cell, index, seed)["hash"] for index in range(3)],
        NUM_DOCS if num_docs is None else num_docs,
        seed,
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def task_manager(
    metadata: Mapping[str, Any] | None = None,
    include_path: Sequence[str | Path] = (),
    include_defaults: bool = False,
) -> "TaskManager":
    """An lm-eval task manager that knows our tasks.

    Args:
        metadata: What the tasks' generators are asked for; ours read `num_docs` (200) and `seed` (1234).
        include_path: Further folders of tasks; on equal names the later folder wins, ours coming first.
        include_defaults: Also lm-eval's own tasks. Reading their 14,000 files takes seconds, ours take milliseconds.
    """
    from lm_eval.tasks import TaskManager

    return TaskManager(
        metadata=dict(metadata or {}),
        include_path=[tasks_path(), *include_path],
        include_defaults=include_defaults,
    )
