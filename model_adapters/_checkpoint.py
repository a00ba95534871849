"""What a checkpoint is: where it comes from, its training step, and an identity that does not lie."""

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lm_probe.model_adapters._errors import NoRevision, UserError
from lm_probe.model_adapters._near import near_words, twin_folders
from lm_probe.model_adapters._say import counted
from lm_probe.model_adapters._step import step_in_series, step_of

_NAMED = 4  # folders in a message
_DEEP, _LOOKED_INTO = 3, 1_000  # levels below a folder, and folders in all, in which series are looked for


@dataclass(frozen=True)
class Checkpoint:
    """One set of weights: source, revision, training step where known, and identity."""

    source: str
    """Hub repository (`user/name`) or local folder, as the user named it."""
    revision: str | None
    """The Hub's revision, or the sub-folder of a local series; None for a plain local folder."""
    step: int | None
    """The training step, read from the revision or the folder's name."""
    identity: str
    """The Hub's commit sha; for a local folder `sha256:` and a digest of its config and weights."""
    folder: Path | None
    """The local folder; None for a Hub repository that is not downloaded yet."""

    @property
    def name(self) -> str:
        """Source and revision in one word, for messages."""
        return f"{self.source}@{self.revision}" if self.revision else self.source


def is_step(folder: Path) -> bool:
    """Whether a folder is named as a checkpoint of the series that it lies in."""
    return step_in_series(folder.name) is not None


def series_steps(folder: Path) -> dict[int, Path]:
    """The sub-folders `step<N>` or `checkpoint-<N>` of a local series, by rising step; empty where it is no series.

    Raises:
        UserError: two of them are the same step (`step8` and `step08`, or `checkpoint-8`).
    """
    steps: dict[int, Path] = {}
    for child in folder.iterdir() if folder.is_dir() else ():
        step = step_in_series(child.name)
        if step is not None and child.is_dir():
            if step in steps:
                twins = " and ".join(sorted((steps[step].name, child.name)))
                raise UserError(f"{folder} holds both {twins}: rename or remove one")
            steps[step] = child
    return dict(sorted(steps.items()))


def is_local(source: str) -> bool:
    """Whether a source names a path on this machine rather than a Hub repository."""
    path = Path(source).expanduser()
    # A link that leads nowhere, or to itself, is still a path and no repository.
    return (
        os.path.lexists(path)
        or source.startswith(("/", "./", "../", "~", ".\\", "..\\"))
        or source.endswith("/")
        or source.count("/") > 1
        # `series/step10` that is not there, where `series` is here. Any folder of a user's name says less: whoever
        # keeps one model of a user in such a folder may ask the Hub for the next.
        or ("/" in source and is_step(path) and path.parent.is_dir())
        # `neox_s` where the checkpoint `neox-s` is: nobody names two models so.
        or any(map(_is_source, twin_folders(path)))
    )


def locate(source: str, revision: str | None = None) -> Checkpoint:
    """Finds a checkpoint and establishes its identity.

    For a local folder the identity is a sha256 over `config.json` and every byte of the weight files. Anything less
    lets two different checkpoints pass for one: the head alone those that share a frozen head, a sample of each
    tensor those that were edited in one place. It costs one reading of the files, which loading them needs anyway.

    Args:
        source: Hub repository or local folder.
        revision: Hub revision, or the sub-folder of a local series (`step1000`, `checkpoint-1000`).

    Raises:
        UserError: there is no such folder, repository or revision, or its files are damaged.
    """
    if not is_local(source):
        from lm_probe.model_adapters._hub import find_revision

        found = find_revision(source, revision)
        return Checkpoint(source, found.revision, step_of(found.revision), found.sha, found.folder)
    folder = find_folder(source, revision)
    from lm_probe.model_adapters._weights import Weights  # brings torch, which whoever only asks for folders needs not

    identity = f"sha256:{Weights(folder).digest()}"
    return Checkpoint(source, revision, step_of(revision or folder.resolve().name), identity, folder)


def find_folder(source: str, revision: str | None = None) -> Path:
    """The folder of a local checkpoint; looks into no file.

    Raises:
        UserError: there is no such folder, or it is a series of which none is named.
    """
    folder = Path(source).expanduser()
    try:
        if not folder.exists():
            if folder.is_symlink():
                raise UserError(f"{source} is a link that leads nowhere: mend the link, or give the folder itself")
            raise UserError(
                f"no folder {source}{near_words(source)}: check the path, or give a Hub repository as user/name"
            )
    except OSError as error:  # a name that is too long, a parent that may not be entered
        raise UserError(f"{source} cannot be opened ({error.strerror}): check the path") from error
    if not folder.is_dir():
        raise UserError(f"{source} is a file: give the folder that holds config.json and the weights")
    steps = series_steps(folder)
    if revision is not None:
        if not (folder / revision).is_dir():
            raise NoRevision(f"{source} has no checkpoint {revision}: found {_listing(steps, folder)}")
        return folder / revision
    if (folder / "config.json").exists():
        return folder
    if steps:
        raise UserError(
            f"{source} is a series of {counted(len(steps), 'checkpoint')}: give the folder of one, e.g. "
            f"{Path(source) / steps[max(steps)].name}"
        )
    inside = _sources_below(folder)
    if inside:
        some = " ".join(str(Path(source) / found.relative_to(folder)) for found in inside[:_NAMED])
        more = f" ({len(inside)} in all)" if len(inside) > _NAMED else ""
        raise UserError(f"{source} is no checkpoint and no series, but holds some: give {some}{more}")
    raise UserError(
        f"{source} holds no config.json and no step<N> or checkpoint-<N> folders: give what save_pretrained wrote"
    )


def _sources_below(folder: Path) -> list[Path]:
    """The checkpoints and series that lie least deep below a folder that is neither."""
    level, room = [folder], _LOOKED_INTO
    for _ in range(_DEEP):
        below = (child for parent in level for child in sorted(_inside(parent)) if os.path.isdir(child))
        level = list(islice(below, room))
        room -= len(level)
        found = [child for child in level if _is_source(child)]
        if found:
            return found
    return []


def _is_source(folder: Path) -> bool:
    """Whether a folder is a checkpoint or holds those of a series."""
    return any(
        child.name == "config.json" or (is_step(child) and os.path.isfile(child / "config.json"))
        for child in _inside(folder)
    )


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # a file, or not to be read
        return []


def _listing(steps: dict[int, Path], folder: Path) -> str:
    names = [path.name for path in steps.values()]
    if not names:
        names = sorted(child.name for child in folder.iterdir() if child.is_dir())
    if not names:
        return "no sub-folders"
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])}, ... {names[-1]} ({len(names)} in all)"
