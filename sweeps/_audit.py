"""Whether the checkpoints of a series are what their names say, from headers and heads alone."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from lm_probe.model_adapters import UserError, Weights, find_folder, misfits, open_weights, say_on_stderr
from lm_probe.sweeps._misplaced import misplaced
from lm_probe.sweeps._plan import Visit, plan

_NUMBERS = 1 << 17  # of a head that are kept to compare it with others: whole rows, the same of each


class Finding(NamedTuple):
    """Something that is wrong with a checkpoint, in one line with what to do."""

    checkpoint: str
    kind: str
    """`unreadable`, `config`, `not finite`, `other tensors`, `same head` or `misplaced`."""
    line: str


@dataclass
class Audit:
    """What an audit found."""

    checkpoints: int = 0
    bytes_read: int = 0
    findings: list[Finding] = field(default_factory=list)


class _Seen(NamedTuple):
    visit: Visit
    layout: frozenset[tuple[str, tuple[int, ...]]]
    digest: str
    sketch: Float[np.ndarray, " k"]


def audit(
    sources: Sequence[str], revisions: str | None = "all", *, say: Callable[[str], None] = say_on_stderr
) -> Audit:
    """Looks at every checkpoint's headers and output head, and compares those of a series with each other.

    Args:
        sources: as for a sweep.
        revisions: as for a sweep.
        say: takes notices.

    Raises:
        UserError: a source or a revision does not exist, or the Hub cannot be asked.
    """
    found = Audit()
    visits = plan(sources, revisions)
    for source in dict.fromkeys(visit.source for visit in visits):
        seen = []
        for visit in (visit for visit in visits if visit.source == source):
            found.checkpoints += 1
            try:
                weights = _open(visit, say)
                try:
                    found.findings += [
                        Finding(visit.name, "config", f"{line}: {_ANOTHER}") for line in misfits(weights)
                    ]
                    head = weights.head()
                    if head.is_floating_point() and not bool(torch.isfinite(head).all()):
                        found.findings.append(Finding(visit.name, "not finite", f"its head holds NaN or Inf: {_LEAVE}"))
                    else:
                        seen.append(_look(visit, weights, head))
                finally:
                    found.bytes_read += weights.bytes_read
            except UserError as error:
                found.findings.append(Finding(visit.name, "unreadable", str(error)))
        told = {finding.checkpoint for finding in found.findings}
        found.findings += [one for one in _odd_layouts(seen) if one.checkpoint not in told]
        found.findings += [*_twins(seen), *_strays(seen)]
    return found


_LEAVE = "leave it out with --revisions, or ask who published it"
_ANOTHER = "weights and config.json belong to different models; copy the checkpoint again"


def _open(visit: Visit, say: Callable[[str], None]) -> Weights:
    if visit.commit is None:  # a local identity costs a reading of everything
        return Weights(find_folder(visit.source, visit.revision))
    return open_weights(visit.locate(), say=say)


def _look(visit: Visit, weights: Weights, head: torch.Tensor) -> _Seen:
    layout = frozenset((name, listed.shape) for name, listed in weights.listed().items())
    content = head.contiguous().view(torch.uint8).numpy()
    rows = np.sort(np.random.default_rng(0).permutation(len(head))[: max(1, _NUMBERS // head.shape[1])])
    sketch = head[torch.from_numpy(rows)].float().flatten().numpy()
    return _Seen(visit, layout, hashlib.sha256(content.data).hexdigest(), sketch)


def _odd_layouts(seen: Sequence[_Seen]) -> Iterator[Finding]:
    """Checkpoints whose tensors differ from those of most others."""
    if len(seen) < 3:
        return
    usual, times = Counter(one.layout for one in seen).most_common(1)[0]
    if 2 * times <= len(seen):
        return
    for one in seen:
        lacks = sorted(name for name, _ in usual - one.layout)
        adds = sorted(name for name, _ in one.layout - usual)
        if lacks or adds:
            which = f"lacks or reshapes {len(lacks)} tensors, first {lacks[0]}" if lacks else f"adds {adds[0]}"
            yield Finding(
                one.visit.name, "other tensors", f"{which}, unlike the other steps: copy it again, or {_LEAVE}"
            )


def _twins(seen: Sequence[_Seen]) -> Iterator[Finding]:
    first: dict[str, _Seen] = {}
    for one in seen:
        twin = first.setdefault(one.digest, one)
        if twin is not one:
            yield Finding(
                one.visit.name,
                "same head",
                f"its head is that of {twin.visit.name}, byte for byte: one of them is a copy; {_LEAVE}",
            )


def _strays(seen: Sequence[_Seen]) -> Iterator[Finding]:
    """Checkpoints of a series that lie elsewhere than their step; of equal heads, which are told already, the first."""
    first: dict[str, _Seen] = {}
    for one in seen:
        if one.visit.step is not None:
            first.setdefault(one.digest, one)
    ordered = list(first.values())
    sizes = Counter(len(one.sketch) for one in ordered)
    ordered = [one for one in ordered if len(one.sketch) == sizes.most_common(1)[0][0]]
    if len(ordered) < 4:
        return
    for stray in misplaced(np.stack([one.sketch for one in ordered])):
        near = " and ".join(str(ordered[at].visit.revision) for at in stray.between)
        yield Finding(
            ordered[stray.place].visit.name,
            "misplaced",
            f"its head lies with {near} and not with its neighbours: its step is likely wrong; {_LEAVE}",
        )
