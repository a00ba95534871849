"""The text that forward probes read: from a file, a folder, a Hub dataset, or the built-in one."""

import hashlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._text_files import file_documents
from lm_probe.sweeps._text_hub import DatasetName, dataset_documents
from lm_probe.sweeps.builtin_text import builtin_documents

LIMIT_BYTES = 64 * 2**20  # some 15 million tokens: far more than a probe reads, and memory stays small


class Text(NamedTuple):
    """Documents, and what a result needs to say about them.

    Attributes:
        name: What to call the text in a report.
        documents: In order; none is empty or whitespace only.
        sha256: Over the documents and their lengths, so that it also tells where one ends.
        note: What was read where it was not the whole, e.g. "first 64 MiB of corpus.jsonl"; else "".
    """

    name: str
    documents: list[str]
    sha256: str
    note: str


def find_text(source: str | None) -> Path | DatasetName | None:
    """Where a text is, of which nothing is read yet; see `read_text`.

    Raises:
        UserError: It can be neither a file nor a dataset.
    """
    if source is None:
        return None
    path = Path(os.path.expanduser(source))
    try:
        exists = bool(source) and path.exists()
    except OSError as error:
        raise UserError(f"--text {source} cannot be opened: {error.strerror}; give a file that can be read") from error
    if exists:
        return path
    dataset = DatasetName.parse(source)
    if dataset is None:
        raise UserError(
            f"--text {source!r}: no such file or folder, and not a dataset's name; give a .txt, .md, .jsonl or "
            ".jsonl.zst file, a folder of them, or NAME[:CONFIG][@SPLIT] of a Hub dataset"
        )
    return dataset


def read_text(source: str | None) -> Text:
    """Read a text, up to `LIMIT_BYTES` of UTF-8; the document at the limit is cut, the rest is never loaded.

    Args:
        source: A .txt or .md file (one document), a .jsonl or .jsonl.zst file (field `text`), a folder of such files,
            or a Hub dataset `NAME[:CONFIG][@SPLIT]` (column `text`; split `train`). What exists on disk comes first.
            None is the built-in text.

    Raises:
        UserError: It cannot be found or read, is damaged, or holds no text.
    """
    found = find_text(source)
    if found is None:
        return _collect(f"built-in text of Python {platform.python_version()}", builtin_documents())
    if isinstance(found, Path):
        return _collect(found.resolve().name, file_documents(found, LIMIT_BYTES))
    return _collect(str(source), dataset_documents(found))


def _collect(name: str, documents: Iterable[str]) -> Text:
    kept: list[str] = []
    digest = hashlib.sha256()
    room, whole = LIMIT_BYTES, True
    for document in documents:
        if not document.strip():
            continue
        encoded = document.encode()
        if len(encoded) > room:
            whole = False
            document = encoded[:room].decode(errors="ignore")  # a character that was cut through goes
            encoded = document.encode()
        if document.strip():
            kept.append(document)
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
            room -= len(encoded)
        if not whole:
            break
    if not kept:
        raise UserError(f"--text {name}: no text in it, only empty or blank documents; give one with text")
    return Text(name, kept, digest.hexdigest(), "" if whole else f"first {LIMIT_BYTES / 2**20:g} MiB of {name}")
