"""What an audit sees of one checkpoint: headers and the output head, kept small enough to be stored."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.model_adapters import (
    UserError,
    Weights,
    find_folder,
    hub_content,
    misfits,
    tokenizer_digest,
    why_not_loaded,
)
from lm_probe.sweeps._plan import Visit

NUMBERS = 1 << 14
"""Numbers of a head that are kept to compare it with others, the same of each."""
_GOLDEN = (5**0.5 - 1) / 2

LEAVE = "leave it out with --revisions, or ask who published it"
_ANOTHER = "weights and config.json belong to different models; copy the checkpoint again"


class Finding(NamedTuple):
    """Something that is wrong with a checkpoint, in one line with what to do."""

    model: str
    revision: str | None
    step: int | None
    kind: str
    """`unreadable`, `config`, `not finite`, `constant`, `other tensors`, `tokenizer`, `tokenizer settings`, `copy`,
    `same head` or `misplaced`."""
    line: str
    twin: str | None = None
    """The revision of the checkpoint that it equals, where it does."""

    @property
    def checkpoint(self) -> str:
        """Model and revision in one word."""
        return f"{self.model} {self.revision}" if self.revision else self.model


class Head(NamedTuple):
    """What is kept of an output head."""

    digest: str
    """sha256 of all its bytes."""
    sketch: Float[np.ndarray, " k"]
    """Up to `NUMBERS` of its numbers as float32, spread over all of it."""


@dataclass(frozen=True)
class Look:
    """One look at a checkpoint."""

    visit: Visit
    identity: str
    """What was looked at: the Hub's commit, or for a folder names, lengths and times of its files."""
    content: str | None = None
    """On the Hub, a digest of what the commit holds; see `hub_content`."""
    layout: frozenset[tuple[str, tuple[int, ...], str]] = frozenset()
    """Names, shapes and types of its tensors."""
    head: Head | None = None
    """None where it is not finite, is one number throughout, or could not be read."""
    faults: tuple[tuple[str, str], ...] = ()
    """Kind and line of what is wrong with it, whatever the others are."""
    bytes_read: int = 0
    """Of tensors, and on the Hub of headers."""
    tokenizer: str | None = None
    """What decides its tokens (see `tokenizer_digest`), '' where it has none; None where it could not be opened."""

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with it, whatever the others are."""
        return [Finding(self.visit.model, self.visit.revision, self.visit.step, *fault) for fault in self.faults]


def identity_to_look_at(visit: Visit) -> str:
    """What a stored look must have been at to stand for a new one; of a local checkpoint no file is opened.

    Raises:
        UserError: there is no such folder.
    """
    if visit.commit is not None:
        return visit.commit
    folder = find_folder(visit.source, visit.revision)
    try:
        files = sorted((path.name, path.stat()) for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}): check the path") from error
    stamps = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files]
    return f"files:{hashlib.sha256(repr(stamps).encode()).hexdigest()}"


def look(visit: Visit, open_it: Callable[[], Weights]) -> Look:
    """Reads the headers of all weight files, and the output head.

    Args:
        visit: which checkpoint.
        open_it: opens its weights; what was read of them before is not counted.
    """
    weights, before = None, 0
    faults: list[tuple[str, str]] = []
    identity, content, head, tokenizer = "", None, None, None
    layout: frozenset[tuple[str, tuple[int, ...], str]] = frozenset()
    try:
        identity = identity_to_look_at(visit)
        weights = open_it()
        before = weights.bytes_read
        tokenizer = tokenizer_digest(weights.folder) or ""
        faults += [("config", f"{line}: {_ANOTHER}") for line in misfits(weights)]
        layout = frozenset(
            (name, listed.shape, str(listed.dtype).removeprefix("torch.")) for name, listed in weights.listed().items()
        )
        if (why := why_not_loaded(weights.folder)) is not None:
            faults.append(("tokenizer", f"its tokenizer cannot be loaded ({why}): copy it again, {LEAVE}"))
        content = None if visit.commit is None else hub_content(weights, visit.source, visit.commit)
        tensor = weights.head()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            faults.append(("not finite", f"its head holds NaN or Inf: {LEAVE}"))
        elif visit.step != 0 and not bool((tensor != tensor[0, 0]).any()):  # training may begin with a head of zeros
            faults.append(("constant", f"its head is {float(tensor[0, 0]):g} throughout: {LEAVE}"))
        else:
            head = _head(tensor)
    except Exception as error:
        # Also what nobody foresaw: one bad checkpoint must not end an audit.
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        faults.append(("unreadable", kind + " ".join(str(error).split())))
    read = 0 if weights is None else weights.bytes_read - before
    return Look(visit, identity, content, layout, head, tuple(faults), read, tokenizer)


def _head(tensor: Float[Tensor, "V d"]) -> Head:
    content = tensor.contiguous().view(torch.uint8).numpy()
    return Head(hashlib.sha256(content.data).hexdigest(), tensor.flatten()[_places(tensor.numel())].float().numpy())


def _places(size: int) -> Tensor:
    """Places of `NUMBERS` numbers among `size`, evenly spread and in step with no row; all where there are no more."""
    if size <= NUMBERS:
        return torch.arange(size)
    # Multiples of the golden ratio: the same with every version of every library, as no generator promises to be.
    return torch.from_numpy(np.unique((np.arange(NUMBERS) * _GOLDEN % 1.0 * size).astype(np.int64)))
