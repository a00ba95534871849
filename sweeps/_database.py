"""The file of a run store: opened only where it is sound and of this version, and otherwise left as it is."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._lock import may_write
from lm_probe.sweeps._schema import ADDED, SCHEMA, SCHEMA_VERSION
from lm_probe.sweeps._versions import versions


class StoreError(UserError):
    """The run store cannot be read or written: nothing more can be kept, so a sweep stops."""


def open_to_read(file: Path) -> sqlite3.Connection:
    """Opens a database that nothing changes through this connection.

    Raises:
        UserError: it is damaged, of another version, holds nothing, or cannot be read.
    """
    how = _how_to_read(file)
    try:
        if not _check(file, how):
            raise UserError(f"{file.parent} holds no values yet: lm-probe sweep SOURCE --out {file.parent}")
        database = _connect(file, how)
        database.execute("PRAGMA query_only = ON")
        return database
    except sqlite3.Error as error:
        raise explain(file, error) from error


def open_to_write(file: Path) -> sqlite3.Connection:
    """Opens a database for writing; makes it where there is none, or an empty file.

    Raises:
        UserError: it is damaged, of another version, or cannot be written.
    """
    try:
        new = not file.exists() or not file.stat().st_size or not _check(file, _untouched(file))
        database = _connect(file, "mode=rwc")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        if new:
            # One script, one transaction: a kill leaves an empty file, which the next start takes for a new one.
            about = {"schema": str(SCHEMA_VERSION), "made_by": versions()["lm-probe"]}
            rows = "".join(f"INSERT INTO about VALUES ('{key}', '{value}');" for key, value in about.items())
            database.executescript(f"BEGIN IMMEDIATE;{SCHEMA}{rows}COMMIT;")
        database.executescript(f"BEGIN IMMEDIATE;{ADDED}COMMIT;")
        return database
    except sqlite3.Error as error:
        raise explain(file, error) from error


@contextmanager
def transaction(database: sqlite3.Connection, file: Path) -> Iterator[sqlite3.Connection]:
    """What happens within the block is kept as a whole or, where it raises, not at all.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise explain(file, error) from error


def explain(file: Path, error: sqlite3.Error) -> StoreError:
    """One line for what SQLite says, and what to do."""
    said, kind = str(error), getattr(error, "sqlite_errorname", None) or ""
    if kind == "SQLITE_FULL" or kind.startswith("SQLITE_IOERR"):
        trouble = "the disk is full" if kind == "SQLITE_FULL" else f"the disk is full or fails ({said})"
        return StoreError(
            f"{trouble}: {file} could not be written; what was finished is safe, so free some space and run the same "
            f"command again"
        )
    if kind.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _damaged(file, said)
    if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(f"{file} is in use by another program: wait for it, or choose another --out")
    return StoreError(f"{file} cannot be used ({said}): check that it can be written, or choose another --out")


def _damaged(file: Path, said: str) -> StoreError:
    return StoreError(f"{file} is damaged ({said}) and was left as it is: restore a copy, or choose another --out")


def _connect(file: Path, how: str) -> sqlite3.Connection:
    database = sqlite3.connect(f"{file.resolve().as_uri()}?{how}", uri=True, isolation_level=None)
    database.row_factory = sqlite3.Row
    return database


def _how_to_read(file: Path) -> str:
    """A folder that may not be written has no room for SQLite's own files, which are needed to see a log."""
    if may_write(file.parent):
        return _untouched(file)
    if _has_log(file):
        raise UserError(
            f"{file.parent} holds changes in {file.name}-wal that only a copy which may be written can show"
        )
    return "immutable=1"


def _untouched(file: Path) -> str:
    """A connection that may write takes SQLite's own files away again, but moves a log into the database at its end."""
    return "mode=ro" if _has_log(file) else "mode=rw"


def _has_log(file: Path) -> bool:
    log = file.with_name(f"{file.name}-wal")
    return log.is_file() and log.stat().st_size > 0


def _check(file: Path, how: str) -> bool:
    """Reads the whole file, so that no damage waits for the middle of a sweep; False where it holds nothing at all.

    Raises:
        UserError: it is damaged, somebody else's, or of another version.
    """
    with closing(_connect(file, how)) as database:
        database.execute("PRAGMA query_only = ON")
        (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if file.stat().st_size % database.execute("PRAGMA page_size").fetchone()[0]:
            said = "it ends in the middle of a page"  # which SQLite fills up with zeros
        if said != "ok":
            raise _damaged(file, " ".join(str(said).split()))
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return False
        try:
            about = dict(database.execute("SELECT key, value FROM about").fetchall())
        except sqlite3.OperationalError:
            raise UserError(f"{file} was not made by lm-probe: choose another folder") from None
    if about.get("schema") != str(SCHEMA_VERSION):
        raise UserError(
            f"{file} was made by lm-probe {about.get('made_by')} with store format {about.get('schema')}, and "
            f"this is {versions()['lm-probe']} with format {SCHEMA_VERSION}: use that version, or another --out"
        )
    return True
