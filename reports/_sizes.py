"""What a model's name says: its size, its family, and in which of several runs it was measured."""

import re
from typing import NamedTuple

_NAMED = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])")
_ONWARD = re.compile(r"[-_.]?\d+(\.\d+)?[mb]?\b.*", re.IGNORECASE)
_LAST_WORD = re.compile(r"[-_.][^-_.]*$")
_IN_RUN = re.compile(r"(?P<own>.*?)(?P<run> \(run [^()]*\))?", re.DOTALL)


class Size(NamedTuple):
    """Parameters of a model, both embeddings included."""

    parameters: float
    counted: bool
    """False where only the model's name says so (`pythia-70m`), in round numbers."""


def in_run(model: str, run: str) -> str:
    """The name of a model that several runs hold: `pythia-70m (run first)`.

    Behind the name and in parentheses, which no name on the Hub holds; a colon between both might be either's.
    """
    return f"{model} (run {run.replace('(', '[').replace(')', ']')})"


def size_in_name(model: str) -> Size | None:
    """What a name says: 70m, 1.4b. A run's name says nothing of a size."""
    found = _NAMED.search(_apart(model)[0].lower())
    return Size(float(found[1]) * {"m": 1e6, "b": 1e9}[found[2]], counted=False) if found else None


def family_in_name(model: str) -> str:
    """A name up to its size: `EleutherAI/pythia-70m` and `pythia-1.4b` are `pythia`; each run has its own.

    A name without a number has its size in its last word: `mine-small` and `mine-large` are `mine`.
    """
    own, run = _apart(model)
    last = own.rpartition("/")[2]
    return ((_ONWARD if _ONWARD.search(last) else _LAST_WORD).sub("", last) or own) + run


def _apart(model: str) -> tuple[str, str]:
    found = _IN_RUN.fullmatch(model)
    assert found
    return found["own"], found["run"] or ""
