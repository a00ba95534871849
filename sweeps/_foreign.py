"""What stands where a run or its report is to be written, and is nobody's of ours."""

import os
from itertools import islice
from pathlib import Path

from lm_probe.model_adapters import UserError

REPORT_MARK = "Written by lm-probe report"
"""Stands at the beginning of every report.md and report.html; figures name their creator."""
_MARKS = (REPORT_MARK.encode(), b"<dc:title>lm-probe</dc:title>")
_BEGINNING = 2_000
_PAGES = ("report.md", "report.html")
_FOLDERS = ("figures", "tables", "lm_eval")
_LOOKED_AT = 5  # files of a folder


def refuse_foreign(folder: Path) -> None:
    """Refuses a folder that is no run and in which what a run or its report writes would overwrite somebody's files.

    Raises:
        UserError: it is a file or would lie in one; or it holds a `report.md` or `report.html` that no report of ours
            wrote, or a `figures`, `tables` or `lm_eval` with files in it and no such report or figure beside them.
    """
    for path in (folder, *folder.parents):
        if os.path.isfile(path):
            raise UserError(f"{path} is a file: choose another --out, a folder that is there or can be made")
    if (folder / "run.db").exists():
        return
    pages = [path for name in _PAGES if (path := folder / name).is_file()]  # a folder is not overwritten
    found = [path for path in pages if not _is_ours(path)]
    if not pages and not any(map(_is_ours, _some(folder / "figures"))):
        found += [path for name in _FOLDERS if _some(path := folder / name)]
    if found:
        raise UserError(
            f"{folder} holds a {found[0].name} that is not lm-probe's and would be overwritten, and no run: choose "
            f"another --out, e.g. {folder / 'run'}"
        )


def _some(folder: Path) -> list[Path]:
    try:
        return list(islice(folder.iterdir(), _LOOKED_AT))
    except OSError:  # not there, no folder, or not to be read: whoever writes says so
        return []


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return False
    return any(mark in beginning for mark in _MARKS)
