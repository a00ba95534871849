"""A checkpoint's tokenizer, and what decides the tokens of a text."""

import hashlib
import json
import stat
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lm_probe.model_adapters._config import load_config
from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._quiet import quiet, short

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer_config.json",
)
_SAYS_NOTHING = {
    "name_or_path",
    "tokenizer_file",
    "special_tokens_map_file",
    "transformers_version",
    "is_local",
    "local_files_only",
}


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a local checkpoint, or None where the folder has none.

    Raises:
        UserError: its files are damaged.
    """
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    if (folder / "config.json").is_file():
        load_config(folder)  # transformers reads it for the tokenizer too, and would blame that for what is wrong here
    try:
        with quiet():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # tokenizers raises bare Exception for a damaged file
        raise UserError(f"the tokenizer in {folder} cannot be loaded ({short(error)}): copy it again") from error
    return tokenizer


def why_not_loaded(folder: Path) -> str | None:
    """Why a local checkpoint's tokenizer does not load; None where it does, where there is none, or it brings code.

    A tokenizer that checkpoints share is loaded once.
    """
    digest = tokenizer_digest(folder)
    if digest is None or _brings_code(folder / "tokenizer_config.json"):
        return None
    if digest not in _why:
        _why[digest] = None
        try:
            load_tokenizer(folder)
        except UserError as error:
            _why[digest] = short(error.__cause__) if isinstance(error.__cause__, Exception) else str(error)
    return _why[digest]


_why: dict[str, str | None] = {}


def _brings_code(settings: Path) -> bool:
    try:
        return "auto_map" in json.loads(settings.read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def tokenizer_digest(folder: Path) -> str | None:
    """sha256 over what decides the tokens of a text, or None where there is no tokenizer.

    What the settings files say of who saved them, and from where, is left out: it differs between checkpoints of one
    training that went on under another version.
    """
    there = [_seen(folder / name) for name in (*_TOKENIZER_FILES, "special_tokens_map.json", "added_tokens.json")]
    files = tuple(file for file in there if file is not None)
    return _digest(files) if any(file.path.name in _TOKENIZER_FILES for file in files) else None


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
        sha.update(_settings(path) if path.name == "tokenizer_config.json" else path.read_bytes())
    return sha.hexdigest()


def _settings(file: Path) -> bytes:
    try:
        given = json.loads(file.read_bytes())
        kept = {key: value for key, value in given.items() if key not in _SAYS_NOTHING}
    except (ValueError, AttributeError):
        return file.read_bytes()  # damaged: named when it is loaded
    return json.dumps(kept, sort_keys=True).encode()
