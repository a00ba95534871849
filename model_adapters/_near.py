"""What somebody may have meant by a path or a name that is not there."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

_ALIKE = 0.7  # of difflib's ratio: `modle` is like `model`, `gpt2` is not like `gpt2-runs`


def near_folders(path: str) -> list[str]:
    """Folders that are there and whose path is the given one but for one name that is much like it, the likest first.

    Args:
        path: of nothing that is there, as the user wrote it.
    """
    written = Path(path)
    try:
        missing = [part for part in (written, *written.parents) if not part.expanduser().exists()]
        first = missing[-1]
        names = _by_letters(child.name for child in first.parent.expanduser().iterdir())
    except (IndexError, OSError, RuntimeError):  # it is there; a folder that cannot be read; nobody's home
        return []
    alike = difflib.get_close_matches(_letters(first.name), sorted(names), 3, _ALIKE)
    meant = [first.parent / name / written.relative_to(first) for like in alike for name in names[like]]
    return [str(folder) for folder in meant if folder.expanduser().is_dir()]


def twin_folders(path: Path) -> list[Path]:
    """What lies beside a path that is not there under its name but for case and separators: `neox-s` for `neox_s`."""
    try:
        names = _by_letters(child.name for child in path.parent.iterdir())
    except OSError:
        return []
    return [path.parent / name for name in names.get(_letters(path.name), ())]


def same_letters(name: str, other: str) -> bool:
    """Whether two names are one but for case and separators."""
    return _letters(name) == _letters(other)


def _by_letters(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(_letters(name), []).append(name)
    return found


def _letters(name: str) -> str:
    """A name as it is remembered; a separator stays one, because `1.3b` is not `13b`."""
    return re.sub("[-_. ]", "-", name.casefold())


def near_words(path: str) -> str:
    """Those folders in brackets; empty where there are none."""
    return _in_brackets(near_folders(path))


def near_names(name: str, names: Iterable[str]) -> str:
    """Names that are much like one that there is not, in brackets, the likest first; empty where there are none."""
    return _in_brackets(difflib.get_close_matches(name, list(names), 3, _ALIKE))


def _in_brackets(found: list[str]) -> str:
    return f" (near it: {', '.join(found)})" if found else ""


def no_folder_words(repository: str) -> str:
    """In brackets that a name of the Hub is no folder, where one may have been meant; else empty.

    One may have been wherever there is a folder to hold it, as this one is of a name without `/`.
    """
    found, parent = near_folders(repository), Path(repository).parent
    if found:
        return f" (no such folder here; near it: {', '.join(found)})"
    return " (no such folder here)" if parent.is_dir() else ""
