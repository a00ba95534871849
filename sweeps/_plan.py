"""Which checkpoints a sweep visits, and in which order."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_probe.model_adapters import (
    Checkpoint,
    NoRevision,
    UserError,
    find_folder,
    is_local,
    is_step,
    locate,
    near_names,
    say_on_stderr,
    series_steps,
    step_of,
)
from lm_probe.sweeps._revisions import KEYWORDS, chosen_steps, few_of, listed_names, needs_listing


@dataclass(frozen=True)
class Visit:
    """A checkpoint to visit: it is there, and nobody has looked yet whether it is sound."""

    model: str
    """The name that its values carry: the Hub repository, or the local folder's own name."""
    source: str
    revision: str | None
    step: int | None
    commit: str | None = None
    """On the Hub, what the revision meant when the sweep was planned: it may be moved while the sweep runs."""

    @property
    def where(self) -> str:
        """The source, the same from whichever folder and however it is written."""
        return str(_folder(self.source).resolve()) if self.commit is None else self.source

    def locate(self) -> Checkpoint:
        """The checkpoint with its identity.

        Raises:
            UserError: a local checkpoint is not sound.
        """
        if self.commit is None:
            return locate(self.source, self.revision)
        return Checkpoint(self.source, self.revision, self.step, self.commit, None)

    @property
    def name(self) -> str:
        """Model and revision in one word, for the progress bar and messages."""
        return f"{self.model} {self.revision}" if self.revision else self.model


def plan(
    sources: Sequence[str], revisions: str | None = None, *, say: Callable[[str], None] = say_on_stderr
) -> list[Visit]:
    """The checkpoints of all sources, each source's by rising step.

    Args:
        sources: Hub repositories (`user/name`, `user/name@step1000`), local folders, or local series.
        revisions: `all`, a comma-separated list, `start:stop:stride` in steps (stop included), or `log2` (the
            first step, the last, and those nearest to 1, 2, 4, 8, ...); of steps of a local series that are named one
            by one, among these. Default: every step of a local series, `main` of a Hub repository.
        say: takes a line where a source has only some of the steps that a range names.

    Raises:
        UserError: a source or a revision does not exist, nothing is selected, or the Hub cannot be asked.
    """
    if not sources:
        raise UserError(
            "nothing to sweep: name a Hub repository, a checkpoint folder or a series of step<N> or checkpoint-<N> "
            "folders"
        )
    _refuse_files(sources)
    named = _named_of(sources)
    if revisions not in (None, "all") and not any(is_local(one) or None in own for one, own in named.items()):
        raise UserError(f"--revisions {revisions} selects nothing: every source names its own, as user/name@step1000")
    selected = []
    for source, own in named.items():
        choose = _of_folder if is_local(source) else _of_repository
        try:
            selected.append((source, choose(source, own, revisions, say)))
        except NoRevision as error:
            asked = "" if revisions in (None, *KEYWORDS) else str(revisions)
            near = near_names(asked.lower().rstrip("0123456789"), KEYWORDS)  # `log10` is nearest to log2
            raise UserError(f"--revisions {revisions}{near}: {error}" if near else str(error)) from error
    names = _names([source for source, _ in selected])
    visits = [
        Visit(names[source], source, revision, step_of(revision or _folder(source).resolve().name), commit)
        for source, chosen in selected
        for revision, commit in chosen
    ]
    return list(dict.fromkeys(visits))


def refuse_local(sources: Sequence[str], revisions: str | None = None) -> None:
    """Refuses what `plan` would of local sources, before anybody imports what reads weights or asks the Hub.

    Raises:
        UserError: as `plan`.
    """
    local = [source for source in sources if is_local(source)]
    if local:
        plan(local, revisions, say=lambda line: None)


def _refuse_files(sources: Sequence[str]) -> None:
    """A file beside folders is what a shell makes of `series/*`.

    Raises:
        UserError: there is one.
    """
    paths = {source: _folder(source) for source in sources}
    beside = {path.parent for path in paths.values() if os.path.isdir(path)}
    for source, path in paths.items():
        if os.path.isfile(path) and path.parent in beside:
            raise UserError(f"{source} is a file among folders: leave it out, or give {Path(source).parent}/*/")


def _split(source: str) -> tuple[str, str | None]:
    """A source and the revision that it names: `user/name@step8`, or `series/step8`, one of `series/step*`."""
    folder = _folder(source)
    if "@" in source and not folder.exists():
        source, revision = source.rsplit("@", 1)
        return source, revision
    if is_step(folder) and (folder / "config.json").is_file():
        return str(Path(source).parent), folder.name
    return source, None


def _named_of(sources: Sequence[str]) -> dict[str, list[str | None]]:
    """Each source once, as first written (`series` and `./series` are one), with the revisions that are named of it.

    By rising step, which a shell does not give for `series/step*`; None, which comes first, stands for the whole.
    """
    spelled: dict[str, str] = {}
    found: dict[str, set[str | None]] = {}
    for source, pinned in map(_split, sources):
        where = os.path.realpath(_folder(source)) if is_local(source) else source
        found.setdefault(spelled.setdefault(where, source), set()).add(pinned)
    return {
        source: sorted(named, key=lambda name: (name is not None, step_of(name) or 0, name or ""))
        for source, named in found.items()
    }


def _folder(source: str) -> Path:
    return Path(source).expanduser()


def _of_folder(
    source: str, named: Sequence[str | None], wanted: str | None, say: Callable[[str], None]
) -> Sequence[tuple[str | None, str | None]]:
    """The checkpoints of a local source; None stands for a plain folder itself."""
    folder = _folder(source)
    steps = {path.name: step for step, path in series_steps(folder).items()}
    if None not in named:
        return [(name, None) for name in _among(source, [name for name in named if name], steps, wanted, say)]
    if not steps:
        find_folder(source)
        if wanted not in (None, "all"):
            raise UserError(
                f"{source} has no sub-folders step<N> or checkpoint-<N>, so --revisions {wanted} selects nothing"
            )
        return [(None, None)]
    _refuse_two_kinds(source, list(steps))
    chosen = chosen_steps(source, wanted or "all", steps, say)
    for name in chosen:
        find_folder(source, name)
    if any(path for kind in ("model*.safetensors", "pytorch_model*.bin") for path in folder.glob(kind)):
        say(f"{source} has weights of its own beside its series: nothing says of which step, so they are left out")
    return [(name, None) for name in chosen]


def _refuse_two_kinds(source: str, names: Sequence[str]) -> None:
    """One training names its checkpoints in one way.

    Raises:
        UserError: there are both `step<N>` and `checkpoint-<N>`.
    """
    kinds = {name.rstrip("0123456789"): name for name in names}
    if len(kinds) > 1:
        found, ways = sorted(kinds.values()), [f"{Path(source) / kind}*" for kind in sorted(kinds)]
        raise UserError(f"{source} holds {' and '.join(found)}: two series; give {' or '.join(ways)}")


def _among(
    source: str, named: Sequence[str], steps: dict[str, int], wanted: str | None, say: Callable[[str], None]
) -> Sequence[str]:
    """Those of the steps that are named of a local series which `wanted` selects."""
    for name in named:
        find_folder(source, name)
    if wanted in (None, "all"):
        return named
    given = f"what is given of {source}"
    chosen = chosen_steps(given, str(wanted), {name: steps[name] for name in named if name in steps}, say)
    for name in chosen:
        if name not in named:
            raise NoRevision(f"{given} has no checkpoint {name}: found {few_of(named)}")
    return chosen


def _of_repository(
    source: str, named: Sequence[str | None], wanted: str | None, say: Callable[[str], None]
) -> Sequence[tuple[str | None, str | None]]:
    """The revisions of a Hub repository, each with its commit: those that are named, and of the whole the wanted."""
    pinned = [(name, locate(source, name).identity) for name in named if name]
    if None not in named:
        return pinned
    if wanted is not None and needs_listing(wanted):
        from lm_probe.model_adapters import list_revisions

        commits = list_revisions(source)
        steps = {name: step for name in commits if (step := step_of(name)) is not None}
        chosen = ["main"] if not steps and wanted == "all" else chosen_steps(source, wanted, steps, say)
        found = [(name, commits[name] if name in commits else locate(source, name).identity) for name in chosen]
    else:
        found = [(name, locate(source, name).identity) for name in listed_names(wanted or "main", {})]
    return [*found, *pinned]


def _names(sources: Sequence[str]) -> dict[str, str]:
    """Short names for sources: a folder's own name, with as many parents as it takes to tell two folders apart."""
    parts = {
        source: (Path(source).expanduser().resolve().parts if is_local(source) else (source,)) for source in sources
    }
    names = {source: path[-1] for source, path in parts.items()}
    depth = 1
    while depth < max(map(len, parts.values())):
        twice = {name for name, count in Counter(names.values()).items() if count > 1}
        if not twice:
            break
        depth += 1
        names = {s: "/".join(parts[s][-depth:]) if name in twice else name for s, name in names.items()}
    return names
