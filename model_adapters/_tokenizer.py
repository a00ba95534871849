"""A checkpoint's tokenizer, and what decides the tokens of a text."""

import hashlib
import json
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lm_probe.model_adapters._config import load_config
from lm_probe.model_adapters._errors import NoTokenizer, UserError, in_short
from lm_probe.model_adapters._quiet import quiet

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer_config.json",
)
_BESIDE_THEM = ("special_tokens_map.json", "added_tokens.json")
"""Files that say something of a tokenizer and make none."""
_SAYS_NOTHING = {
    "name_or_path",
    "tokenizer_file",
    "special_tokens_map_file",
    "transformers_version",
    "is_local",
    "local_files_only",
}
_SET_IN_CALLS = {"version", "truncation", "padding"}
"""Parts of a tokenizer that say nothing of it; transformers sets the second and third anew in every call."""


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a local checkpoint, or None where the folder has none.

    Raises:
        NoTokenizer: its files are damaged or not all there.
        UserError: the config is damaged, or the tokenizer brings code that does not load.
    """
    if not make_tokenizer({name for name in _TOKENIZER_FILES if (folder / name).is_file()}):
        return None
    if (folder / "config.json").is_file():
        load_config(folder)  # transformers reads it for the tokenizer too, and would blame that for what is wrong here
    return _opened(folder, trust_remote_code)


def _opened(folder: Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    try:
        with quiet():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        line = f"the tokenizer in {folder} cannot be loaded ({in_short(error)}): copy it again"
        # One that brings code may load where that code is trusted.
        raise (UserError if _brings_code(folder / "tokenizer_config.json") else NoTokenizer)(line) from error
    return tokenizer


def make_tokenizer(files: Collection[str]) -> bool:
    """Whether there is a tokenizer among the files of a checkpoint, by their names."""
    return any(name in files for name in _TOKENIZER_FILES)


def tokenizer_files(folder: Path) -> list[str]:
    """The names of the files of a local checkpoint that make its tokenizer; empty where it has none."""
    return [name for name in (*_TOKENIZER_FILES, *_BESIDE_THEM) if (folder / name).is_file()]


def why_not_loaded(folder: Path) -> str | None:
    """Why a local checkpoint's tokenizer does not load; None where it does, where there is none, or it brings code."""
    content = tokenizer_content(folder)
    if content is None or _brings_code(folder / "tokenizer_config.json"):
        return None
    try:
        _what_it_does(_Content(content, folder))
    except UserError as error:
        return in_short(error.__cause__) if isinstance(error.__cause__, Exception) else str(error)
    return None


def _brings_code(settings: Path) -> bool:
    try:
        return "auto_map" in json.loads(settings.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def tokenizer_digest(folder: Path) -> str | None:
    """What decides the tokens of a text and the text of tokens, as sha256, or None where there is no tokenizer.

    Of a tokenizer that `tokenizers` runs it is `tokens:` and what it does, whatever its files say besides (a chat
    template, lengths, padding, who saved it). Of any other, and of one that cannot be loaded, it is `files:` and all
    that its files say but who saved them: two of these may make the same tokens.
    """
    content = tokenizer_content(folder)
    if content is None:
        return None
    try:
        does = _what_it_does(_Content(content, folder))
    except UserError:
        does = None  # told when it is needed
    return f"files:{content}" if does is None else f"tokens:{does}"


def tokenizer_content(folder: Path) -> str | None:
    """sha256 over all that a tokenizer's files say but who saved them, and from where; None where there are none.

    That differs between checkpoints of one training that went on under another version.
    """
    names = (*_TOKENIZER_FILES, *_BESIDE_THEM, "config.json")
    files = tuple(file for name in names if (file := _seen(folder / name)) is not None)
    return _digest(files) if any(file.path.name in _TOKENIZER_FILES for file in files) else None


@dataclass(frozen=True)
class _Content:
    """What a tokenizer's files say; which folder they are in makes no difference."""

    digest: str
    folder: Path = field(compare=False)


@lru_cache(maxsize=64)
def _what_it_does(content: _Content) -> str | None:
    """A digest, made once for all checkpoints that have the same tokenizer; None where `tokenizers` does not run it.

    Raises:
        UserError: it does not load, which is not remembered: the cause may stand in the folder's other files.
    """
    tokenizer = _opened(content.folder)
    if not tokenizer.is_fast:
        return None
    runs = json.loads(tokenizer.backend_tokenizer.to_str())
    does = {name: part for name, part in runs.items() if name not in _SET_IN_CALLS}
    asked = [
        *(tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.split_special_tokens),
        tokenizer.clean_up_tokenization_spaces,
    ]
    return hashlib.sha256(json.dumps([does, asked], sort_keys=True).encode()).hexdigest()


class _File(NamedTuple):
    """A file as it was when it was looked at: one that is written again is another."""

    path: Path
    inode: int
    size: int
    modified: int
    changed: int


def _seen(path: Path) -> _File | None:
    try:
        found = path.stat()
    except OSError:
        return None
    is_file = stat.S_ISREG(found.st_mode)
    return _File(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) if is_file else None


@lru_cache(maxsize=64)
def _digest(files: tuple[_File, ...]) -> str:
    """Kept, because a sweep asks for it six times at every checkpoint."""
    sha = hashlib.sha256()
    for path, *_ in files:
        sha.update(path.name.encode())
        sha.update(_KEPT[path.name](path) if path.name in _KEPT else path.read_bytes())
    return sha.hexdigest()


def _settings(file: Path) -> bytes:
    return _part(file, lambda name: name not in _SAYS_NOTHING)


def _kind(file: Path) -> bytes:
    """Which tokenizer a model has where its own files do not say it."""
    return _part(file, lambda name: name in ("model_type", "tokenizer_class"))


def _part(file: Path, kept: Callable[[str], bool]) -> bytes:
    try:
        given = {name: value for name, value in json.loads(file.read_bytes()).items() if kept(name)}
    except (ValueError, AttributeError):
        return file.read_bytes()  # damaged: named when it is loaded
    return json.dumps(given, sort_keys=True).encode()


_KEPT = {"tokenizer_config.json": _settings, "config.json": _kind}
