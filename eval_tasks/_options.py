"""What `--metadata` can set, and the refusal of what it cannot."""

import difflib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lm_probe.eval_tasks._errors import TaskError

NUM_DOCS = 200
SEED = 1234

# Of difflib's ratio: what may have been meant, as `num_docs` by `docs`, and what is a slip of a finger.
_ALIKE, _MISTYPED = 0.65, 0.8

_CHOICES: dict[str, Sequence[str | int]] = {
    "separator": ("space", "comma"),
    "paraphrase": (0, 1, 2),
    "sampling": ("iid", "balanced"),
    "control": ("relabel", "matched"),
    "arm": ("single", "two_token", "rare"),
    "ties": ("reject", "accept"),
}
# Only these kinds of question can have the option at another value than the default.
_ONLY_FOR = {
    "control": ("count_query",),
    "questions_per_list": ("count_query",),
    "ties": ("most_frequent_word", "most_frequent_count"),
}


class Options(NamedTuple):
    """One set of documents of a kind of question. `--metadata` sets each field by its name."""

    m: int
    """Different words that a list draws on."""
    n: int
    """Words in a list."""
    num_docs: int = NUM_DOCS
    seed: int = SEED
    separator: str = "space"
    paraphrase: int = 0
    sampling: str = "iid"
    """`iid`: each word drawn uniformly; `balanced`: the counts are a random partition of n, so all sizes occur."""
    control: str = "relabel"
    """`relabel`: the same list with two words; `matched`: another list of two words with the same expected count."""
    arm: str = "single"
    """Which words: one token each, two tokens each, or invented."""
    ties: str = "reject"
    """What happens to a list in which several words are the most frequent."""
    questions_per_list: int = 1


def read_options(task: str, kind: str, m: int, n: int, metadata: Mapping[str, Any]) -> Options:
    """The options of a task: those of its cell, changed by what the metadata says.

    Args:
        task: The task's name, for messages.
        kind: The kind of question.
        m: The cell's number of different words.
        n: The cell's length.
        metadata: Whatever lm-eval passes on; keys that are no options belong to others.

    Raises:
        TaskError: a value that the option cannot have.
    """
    given = {key: metadata[key] for key in Options._fields if key in metadata}
    options = Options(**{"m": m, "n": n, **given})
    for name in ("m", "n", "num_docs", "questions_per_list"):
        least = 2 if name in ("m", "n") else 1
        if not _is_whole(getattr(options, name)) or getattr(options, name) < least:
            _refuse(task, name, getattr(options, name), f"a whole number from {least}", Options(m, n))
    if not _is_whole(options.seed):
        _refuse(task, "seed", options.seed, "a whole number", Options(m, n))
    for name, choices in _CHOICES.items():
        value = getattr(options, name)
        if isinstance(value, bool) or value not in choices:
            _refuse(task, name, value, f"one of {', '.join(map(str, choices))}", Options(m, n))
    for name, kinds in _ONLY_FOR.items():
        if kind not in kinds and getattr(options, name) != Options._field_defaults[name]:
            _refuse(task, name, getattr(options, name), f"only for {' and '.join(kinds)}", Options(m, n))
    longer = Options(options.m, 10 * options.m)
    if options.n <= options.m and "n" not in given:
        _refuse(task, "m", options.m, f"fewer different words than the {options.n} of a list (n)", longer, "n")
    if options.n <= options.m:
        _refuse(task, "n", options.n, f"more words than the {options.m} different ones (m)", longer)
    if options.questions_per_list > options.m:
        _refuse(task, "questions_per_list", options.questions_per_list, f"at most m = {options.m}", Options(m, n))
    return options


def refuse_unknown(keys: Iterable[str], *, mistyped_only: bool = False) -> None:
    """Refuses the first key that is no option.

    Args:
        keys: What `--metadata` sets.
        mistyped_only: Only one that is an option but for a slip: others may be meant for somebody else's tasks.

    Raises:
        TaskError: There is such a key.
    """
    for key in keys:
        near = difflib.get_close_matches(key, Options._fields, 1, _MISTYPED if mistyped_only else _ALIKE)
        if key not in Options._fields and (near or not mistyped_only):
            meant = f", {near[0]} is one" if near else ""
            raise TaskError(f"--metadata: no option {key}{meant}; known are {', '.join(Options._fields)}")


def warn_of_near_names(task: str, metadata: Mapping[str, Any]) -> None:
    """Warn of a key that is nearly an option. Unknown keys cannot be refused: lm-eval passes the model's arguments."""
    for key in metadata:
        if key not in Options._fields and (near := difflib.get_close_matches(key, Options._fields, 1, _MISTYPED)):
            logging.getLogger(__name__).warning("%s: %s is no option and changes nothing; %s is", task, key, near[0])


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(task: str, name: str, value: object, possible: str, example: Options, *also: str) -> None:
    typed = json.dumps({key: getattr(example, key) for key in (name, *also)})
    raise TaskError(f"{task}: {name}={value!r} cannot be used; possible: {possible}, for example --metadata '{typed}'")
