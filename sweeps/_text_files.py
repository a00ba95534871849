"""Documents from local files: plain text, JSON lines, JSON lines under zstd, and folders of them."""

import codecs
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from lm_probe.model_adapters import UserError

_PLAIN = (".txt", ".md")
_LINES = (".jsonl", ".jsonl.zst")
_BYTE_ORDER_MARK = "\ufeff"


def file_documents(path: Path, limit: int) -> Iterator[str]:
    """The documents of a file, or of each text file below a folder, sorted by relative path.

    They are read as they are asked for. Of a plain text file a few bytes more than `limit` are read, so that a reader
    that stops at `limit` sees that there was more; a JSON line may not be longer than `limit`.

    Raises:
        UserError: On a file that cannot be read as what its name says.
    """
    try:
        for file in _text_files(path):
            if file.name.lower().endswith(_PLAIN):
                yield _plain_document(file, limit)
            else:
                yield from _json_lines(file, limit)
    except PermissionError as error:
        raise UserError(f"--text {path}: no permission to read {error.filename or path}; mend it with chmod") from error
    except OSError as error:
        raise UserError(f"--text {path} cannot be read: {error}; check the file") from error


def _text_files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(_below(path), key=lambda file: file.relative_to(path).as_posix())
        if not files:
            raise UserError(f"--text {path}: no .txt, .md, .jsonl or .jsonl.zst file below this folder; give another")
        return files
    if not path.is_file() or not path.name.lower().endswith(_PLAIN + _LINES):
        raise UserError(f"--text {path}: not a .txt, .md, .jsonl or .jsonl.zst file; convert it, or rename it if it is")
    return [path]


def _below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> NoReturn:  # os.walk would leave out what it may not enter, and say nothing
        raise error

    for parent, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            file = Path(parent, name)
            if name.lower().endswith(_PLAIN + _LINES) and file.is_file():
                yield file


def _plain_document(path: Path, limit: int) -> str:
    with path.open("rb") as stream:
        content = stream.read(limit + 8)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        # Not final where the reading stopped inside the file: the last character may be cut through.
        return decoder.decode(content, final=len(content) <= limit).removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UserError(f"--text {path}: UTF-16; convert it, e.g. iconv -f UTF-16 -t UTF-8") from error
        raise UserError(_not_utf8(path, error.start)) from error


def _not_utf8(path: Path, offset: int) -> str:
    return f"--text {path}: not UTF-8 at byte {offset}; convert it, e.g. iconv -f LATIN1 -t UTF-8"


def _json_lines(path: Path, limit: int) -> Iterator[str]:
    with _opened(path) as stream:
        offset = number = 0
        while line := _next_line(path, stream, limit):
            number += 1
            if line.strip():
                yield _text_of(path, number, offset, line)
            offset += len(line)


def _opened(path: Path) -> BinaryIO:
    if not path.name.lower().endswith(".zst"):
        return path.open("rb")
    import pyarrow

    return cast(BinaryIO, io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd")))


def _next_line(path: Path, stream: BinaryIO, limit: int) -> bytes:
    try:
        line = stream.readline(limit + 1)
    except OSError as error:
        if not path.name.lower().endswith(".zst"):
            raise
        raise UserError(f"--text {path}: damaged or truncated zstd ({error}); test it with zstd -t") from error
    if len(line) > limit:
        raise UserError(f"--text {path}: a line is longer than {limit} bytes; give one JSON object a line")
    return line


def _text_of(path: Path, number: int, offset: int, line: bytes) -> str:
    where = f"--text {path}, line {number}"
    try:
        record = json.loads(line.decode().removeprefix(_BYTE_ORDER_MARK))
    except UnicodeDecodeError as error:
        raise UserError(f"{_not_utf8(path, offset + error.start)} (line {number})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error}); give one JSON object a line") from error
    if not isinstance(record, dict) or "text" not in record:
        found = f"fields {', '.join(record)}" if isinstance(record, dict) else f"a {type(record).__name__}"
        raise UserError(f'{where}: no field "text", but {found or "none"}; give lines like {{"text": "..."}}')
    text = record["text"]
    if not isinstance(text, str):
        raise UserError(f'{where}: field "text" is a {type(text).__name__}, not a string; mend or leave out the line')
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: half of a surrogate pair, which is no character; mend the line") from error
    return text
