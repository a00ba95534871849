"""The lm-eval tasks and their generators.

Counting words, told apart into "too many different words" and "too long" by a control inside each document; the
design follows arXiv 2407.15160. Importing this package imports neither torch nor lm-eval.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_probe.eval_tasks._cells import CELLS, GROUPS, cell_of
from lm_probe.eval_tasks._documents import first_hashes, options_of
from lm_probe.eval_tasks._errors import TaskError
from lm_probe.eval_tasks._kind import GENERATOR_VERSION
from lm_probe.eval_tasks._listing import listing
from lm_probe.eval_tasks._options import NUM_DOCS, Options, refuse_unknown
from lm_probe.eval_tasks._tokenizer import TOKENIZER_KEYS, TokenizerAtHand, find_tokenizer, tokenizer_at_hand
from lm_probe.eval_tasks._vocabulary import choose_vocabulary, list_tokens
from lm_probe.eval_tasks._words import INVENTED_WORDS, LONGER_WORDS, WORDS

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

__all__ = [
    "NUM_DOCS",
    "TOKENIZER_KEYS",
    "TaskError",
    "fingerprint",
    "group_names",
    "listing",
    "members",
    "option_names",
    "refuse_unknown",
    "task_manager",
    "task_names",
    "tasks_path",
    "tokenizer_at_hand",
    "vocabulary",
    "word_tokens",
]


def tasks_path() -> Path:
    """The folder to give to lm-eval's `--include_path`."""
    return Path(__file__).parent / "tasks"


def task_names() -> list[str]:
    """The names of the tasks, in the order of the grid."""
    return [cell.name for cell in CELLS]


def group_names() -> list[str]:
    """The names of the groups of tasks."""
    return list(GROUPS)


def members(name: str) -> list[str]:
    """The names of the tasks of ours that a task's or a group's name stands for; empty where it is none of ours."""
    return [cell.name for cell in GROUPS.get(name, ())] or [cell.name for cell in CELLS if cell.name == name]


def option_names() -> list[str]:
    """What `--metadata` can set."""
    return list(Options._fields)


def vocabulary() -> list[str]:
    """The words that every list of the default arm is drawn from."""
    return list(WORDS)


def word_tokens(tokenizer: Any, separator: str = "space") -> dict[str, int]:
    """The token of each word of the default arm in a list, for the words that are one token there."""
    at_hand = TokenizerAtHand(tokenizer)
    tokens = {word: list_tokens(word, separator, at_hand) for word in WORDS}
    return {word: found[0] for word, found in tokens.items() if len(found) == 1 and found[0] != at_hand.unknown}


def fingerprint(
    name: str, num_docs: int | None = None, seed: int | None = None, metadata: Mapping[str, Any] | None = None
) -> str:
    """A hash of what one of our tasks asks: its YAML files, its generator, its options, the words it chooses from.

    The first documents are in it, so that a changed prompt changes it even where somebody forgot to raise the
    generator's version. With a tokenizer (that of `tokenizer_at_hand`, or one that the metadata names) the words and
    documents are those for that tokenizer; without one they are those for a tokenizer that has all words.

    Raises:
        KeyError: no task of ours has the name.
        TaskError: an option cannot have its value, or the tokenizer leaves too few words.
    """
    cell = cell_of(name)
    said = {"num_docs": num_docs, "seed": seed}
    asked_for = {**(metadata or {}), **{key: value for key, value in said.items() if value is not None}}
    options, at_hand = options_of(cell, asked_for), find_tokenizer(asked_for)
    asked = [
        GENERATOR_VERSION,
        [path.read_text(encoding="utf-8") for path in sorted(tasks_path().glob(f"*/{name}.yaml"))],
        [path.read_text(encoding="utf-8") for path in sorted(tasks_path().glob(f"*/_{cell.base}"))],
        options._asdict(),
        [WORDS, LONGER_WORDS, INVENTED_WORDS],
        choose_vocabulary(name, options.m, options.arm, options.separator, at_hand).words,
        first_hashes(cell, options, at_hand),
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def task_manager(
    metadata: Mapping[str, Any] | None = None,
    include_path: Sequence[str | Path] = (),
    include_defaults: bool = False,
) -> "TaskManager":
    """An lm-eval task manager that knows our tasks.

    Args:
        metadata: What the tasks' generators are asked for; what ours read is in docs/tasks.md, first `num_docs` (200)
            and `seed` (1234).
        include_path: Further folders of tasks; on equal names the later folder wins, ours coming first.
        include_defaults: Also lm-eval's own tasks. Reading their 14,000 files takes seconds, ours take milliseconds.
    """
    from lm_eval.tasks import TaskManager

    return TaskManager(
        metadata=dict(metadata or {}),
        include_path=[tasks_path(), *include_path],
        include_defaults=include_defaults,
    )
