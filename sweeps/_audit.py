"""Whether the checkpoints of a series are what their names say, from headers and heads alone."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from lm_probe.model_adapters import (
    UserError,
    Weights,
    counted,
    find_folder,
    open_weights,
    same_content,
    say_on_stderr,
    tokenizer_files,
)
from lm_probe.sweeps._exchanged import exchanged
from lm_probe.sweeps._look import LEAVE, Finding, Look, look
from lm_probe.sweeps._misplaced import misplaced
from lm_probe.sweeps._plan import Visit, plan


@dataclass
class Audit:
    """What an audit found."""

    checkpoints: int = 0
    bytes_read: int = 0
    findings: list[Finding] = field(default_factory=list)


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
    looks = [look(visit, partial(open_to_look, visit, say)) for visit in plan(sources, revisions, say=say)]
    return Audit(len(looks), sum(one.bytes_read for one in looks), judge(looks))


def open_to_look(visit: Visit, say: Callable[[str], None] = say_on_stderr) -> Weights:
    """Opens a checkpoint's weights without establishing its identity: of a folder that costs a reading of everything.

    Raises:
        UserError: there is no such checkpoint, or it has no weights.
    """
    if visit.commit is None:
        return Weights(find_folder(visit.source, visit.revision))
    return open_weights(visit.locate(), say=say)


def judge(looks: Sequence[Look]) -> list[Finding]:
    """All that is wrong, source by source: with each checkpoint, and with each beside the others of its series."""
    found: list[Finding] = []
    for source in dict.fromkeys(one.visit.source for one in looks):
        series = [one for one in looks if one.visit.source == source]
        own = [finding for one in series for finding in one.findings]
        told = {finding.checkpoint for finding in own}
        seen = [one for one in series if one.head is not None]
        odd = [finding for finding in _odd_layouts(seen) if finding.checkpoint not in told]
        found += [*own, *odd, *_odd_tokenizers(series), *_twins(seen), *_strays(seen)]
    return found


def _finding(one: Look, kind: str, line: str, twin: Look | None = None) -> Finding:
    visit = one.visit
    return Finding(visit.model, visit.revision, visit.step, kind, line, twin.visit.revision if twin else None)


def _odd_layouts(seen: Sequence[Look]) -> Iterator[Finding]:
    """Checkpoints whose tensors differ from those of most others."""
    if len(seen) < 3:
        return
    usual, times = Counter(one.layout for one in seen).most_common(1)[0]
    if 2 * times <= len(seen):
        return
    shapes, types = {(name, shape) for name, shape, _ in usual}, {name: dtype for name, _, dtype in usual}
    for one in seen:
        own = {(name, shape) for name, shape, _ in one.layout}
        lacks, adds = sorted(name for name, _ in shapes - own), sorted(name for name, _ in own - shapes)
        retyped = sorted((name, dtype) for name, _, dtype in one.layout if types.get(name, dtype) != dtype)
        if lacks or adds:
            which = (
                f"lacks or reshapes {counted(len(lacks), 'tensor')}, first {lacks[0]}" if lacks else f"adds {adds[0]}"
            )
        elif retyped:
            name, dtype = retyped[0]
            these = counted(len(retyped), "tensor")
            which = f"holds {these} as another type, first {name} as {dtype} and not {types[name]}"
        else:
            continue
        yield _finding(one, "other tensors", f"{which}, unlike the other steps: copy it again, or {LEAVE}")


def _odd_tokenizers(series: Sequence[Look]) -> Iterator[Finding]:
    """Checkpoints whose tokenizer is not that of most others that load; of equally many the first's counts."""
    opened = [one for one in series if one.tokenizer is not None]
    sound = [one for one in opened if not _tokenizer_fails(one)] or opened
    usual = Counter(one.tokenizer for one in sound).most_common(1)[0][0] if sound else None
    alike = [one for one in sound if one.tokenizer == usual]
    for one in opened:
        if one.tokenizer == usual:
            continue
        like = alike[0].visit
        others = "the series' other checkpoints" if 2 * len(alike) >= len(opened) else like.name
        kind, lacking, beyond = "tokenizer", _lacking(one.visit, like), _lacking(like, one.visit)
        if _tokenizer_fails(one):  # told already, less this
            if not lacking:
                continue
            line = f"it lacks {lacking}, unlike {others}: copy that of {like.name}"
        elif not one.tokenizer:
            line = f"it has no tokenizer, unlike {others}: copy {lacking or 'that'} of {like.name}"
        elif not usual:
            line = f"it has a tokenizer, unlike {others}: copy {beyond or 'it'} to them, too"
        else:
            line = f"its tokenizer makes other tokens of a text, or other text of tokens, than that of {others}"
            if not (one.tokenizer.startswith("tokens:") and usual.startswith("tokens:")):
                kind = "tokenizer settings"
                line = (
                    f"its tokenizer's files differ from those of {others}, which may change no token (a tokenizer "
                    f"that has no tokenizer.json or brings its own code is not compared closer)"
                )
            if lacking:
                line += f"; it lacks {lacking}: copy that of {like.name}"
            elif beyond:
                line += f"; missing there is {beyond}: copy it to them, or the tokenizer of {like.name} here"
            else:
                line += f": copy that of {like.name}"
        yield _finding(one, kind, f"{line}, {LEAVE}")


def _tokenizer_fails(one: Look) -> bool:
    return any(kind == "tokenizer" for kind, _ in one.faults)


def _lacking(visit: Visit, like: Visit) -> str:
    """The tokenizer's files that another checkpoint has and this one has not; empty where that cannot be told."""
    try:
        own, others = (tokenizer_files(open_to_look(one).folder) for one in (visit, like))
    except UserError:
        return ""  # changed since the look: its own visit says what is wrong
    return " and ".join(name for name in others if name not in own)


def _twins(seen: Sequence[Look]) -> Iterator[Finding]:
    """Checkpoints with the head of an earlier one: copies of it, or suspects."""
    first: dict[str, Look] = {}
    for one in seen:
        assert one.head is not None
        twin = first.setdefault(one.head.digest, one)
        if twin is one:
            continue
        if _equal(one, twin):
            line = f"it holds the same weights and config as {twin.visit.name}, bit for bit: one is a copy; {LEAVE}"
            yield _finding(one, "copy", line, twin)
        else:
            also = ", another format of the same" if one.visit.commit is not None else ""
            line = f"its head is that of {twin.visit.name}, byte for byte, though not all of it: a mixture of two{also}"
            yield _finding(one, "same head", f"{line}, or the head is frozen; {LEAVE}", twin)


def _equal(one: Look, twin: Look) -> bool:
    if one.visit.commit is not None:
        same_commit = one.visit.commit == twin.visit.commit
        return same_commit or (one.content is not None and one.content == twin.content)
    try:
        return same_content(open_to_look(one.visit), open_to_look(twin.visit))
    except UserError:
        return False  # changed since the look: its own visit says what is wrong


def _strays(seen: Sequence[Look]) -> Iterator[Finding]:
    """Checkpoints of a series that lie elsewhere than their step; of equal heads, which are told already, the first."""
    first: dict[str, Look] = {}
    for one in seen:
        if one.visit.step is not None:
            assert one.head is not None
            first.setdefault(one.head.digest, one)
    sketched = [(one, one.head.sketch) for one in first.values() if one.head is not None]
    sizes = Counter(len(sketch) for _, sketch in sketched)
    sketched = [(one, sketch) for one, sketch in sketched if len(sketch) == sizes.most_common(1)[0][0]]
    if len(sketched) < 4:
        return
    order = list(range(len(sketched)))
    sketches = np.stack([sketch for _, sketch in sketched])
    for place in exchanged(sketches):
        order[place], order[place + 1] = place + 1, place
        one, other = (sketched[at][0] for at in (place, place + 1))
        yield _finding(
            one,
            "misplaced",
            f"its head and that of {other.visit.revision} lie the wrong way round between their neighbours: the two "
            f"steps are likely exchanged; {LEAVE}",
        )
    for stray in misplaced(sketches[order]):
        named, *between = (sketched[order[at]][0] for at in (stray.place, *stray.between))
        near = " and ".join(str(one.visit.revision) for one in between)
        yield _finding(
            named,
            "misplaced",
            f"its head lies with {near} and not with its neighbours: its step is likely wrong; {LEAVE}",
        )
