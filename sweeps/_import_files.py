"""From what the user names to files, and from a file's bytes to the scores in it."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._import_lm_eval import read_results
from lm_probe.sweeps._import_table import read_table
from lm_probe.sweeps._imported import FileContent


class NotResults(UserError):
    """A sound file that holds something else."""


class Found(NamedTuple):
    """A file to read."""

    path: Path
    named: bool
    """By the user, and not met in a folder, where other files may lie."""


def find_files(given: Path) -> Iterator[Found]:
    """The file itself, or every result file below a folder, by name.

    Raises:
        UserError: there is no such file, or no .json below the folder.
    """
    if given.is_dir():
        inside = sorted(path for path in given.rglob("*") if path.name.endswith((".json", ".json.gz")))
        if not inside:
            raise UserError("is a folder without .json files: name a folder of lm-eval's results, or a .csv file")
        yield from (Found(path, named=False) for path in inside if path.is_file())
    elif given.exists():
        yield Found(given, named=True)
    else:
        raise UserError("does not exist")


def read_file(path: Path) -> FileContent:
    """Reads a result file of lm-eval, or a tidy table.

    Raises:
        NotResults: it is a sound file of something else.
        UserError: it cannot be read.
    """
    data = _bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        packed = path.name.endswith(".gz") or data.startswith(b"\x1f\x8b")
        text = (gzip.decompress(data) if packed else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 (byte {error.start})") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"is no whole gzip file ({error}): rename it if it is not compressed") from error
    if not text.strip():
        raise UserError("is empty")
    name = path.name.removesuffix(".gz")
    if not name.endswith(".json") and text.lstrip()[0] not in "{[":
        return read_table(path.name, text, sha256)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if name.endswith(".jsonl") or '"doc_id"' in text.partition("\n")[0]:
            raise _samples() from error
        if not name.endswith(".json") and '"results"' not in text:
            raise NotResults("is neither a result file of lm-eval (.json) nor a table (.csv)") from error
        raise UserError(f"is damaged or cut off ({error})") from error
    if isinstance(found, list) and found and isinstance(found[0], dict) and "doc_id" in found[0]:
        raise _samples()
    if not isinstance(found, dict) or "results" not in found:
        raise NotResults("is no result file of lm-eval (no results in it)")
    return read_results(path, found, sha256)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from error


def _samples() -> NotResults:
    return NotResults("holds lm-eval's samples, a line a document: name the results_<date>.json beside it")
