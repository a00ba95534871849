"""Sweeps that are killed on purpose, in processes of their own, and what is left of them."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests import children


def sweep_that_dies(config: Any, out: Path, at: int | None) -> None:
    """A sweep that is killed at its `at`-th point; else its points and seconds are noted in `.points` beside the run.

    A point is every statement of the store's, every file that is given its place, and every result file of lm-eval's
    when half of it is written.
    """
    points, begun = 0, time.monotonic()

    def point(*_: object) -> None:
        nonlocal points
        points += 1
        if points == at:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(point)
    children.sweep_in_child(config, out)
    out.with_suffix(".points").write_text(json.dumps([points, time.monotonic() - begun]))


def _watch(point: Callable[..., None]) -> None:
    from lm_eval.loggers import evaluation_tracker

    from lm_probe.sweeps import _database

    connect, replace_file = _database._connect, os.replace

    def watched(file: Path, how: str) -> sqlite3.Connection:
        database = connect(file, how)
        database.set_trace_callback(point)
        return database

    def replace(*arguments: Any, **keywords: Any) -> None:
        point()
        replace_file(*arguments, **keywords)
        point()

    class HalfWritten(type(Path())):  # type: ignore[misc]
        def write_text(self, data: str, *arguments: Any, **keywords: Any) -> int:
            super().write_text(data[: len(data) // 2], *arguments, **keywords)
            point()
            return int(super().write_text(data, *arguments, **keywords))

    _database._connect = watched
    os.replace = replace  # type: ignore[assignment]
    evaluation_tracker.Path = HalfWritten


def exported(run: Path) -> bytes:
    """What `lm-probe export` writes."""
    from lm_probe.cli import main

    table = run.with_suffix(".csv")
    assert main(["export", str(run), "--provenance", "--out", str(table)]) == 0
    return table.read_bytes()


def finished(run: Path) -> set[tuple[int, str, float]]:
    """Which measurements there are, with a figure that a second measurement would change."""
    if not (run / "run.db").exists():
        return set()
    with closing(sqlite3.connect(run / "run.db")) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'measurements'").fetchone():
            return set()
        return set(db.execute("SELECT id, probe, seconds FROM measurements").fetchall())


def files_of(run: Path) -> dict[str, int]:
    """How many files of each kind a run has, by their path with numbers left out of result files' names."""
    found: dict[str, int] = {}
    for path in run.rglob("*"):
        if path.is_file():
            name = path.relative_to(run).as_posix()
            name = f"{name.rsplit('/', 1)[0]}/results" if "/results_" in name else name
            found[name] = found.get(name, 0) + 1
    return found


def integrity(run: Path) -> str:
    """What SQLite says of the run's file."""
    with closing(sqlite3.connect(run / "run.db")) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])
