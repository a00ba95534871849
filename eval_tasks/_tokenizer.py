"""The tokenizer that the model at hand reads with, and how many tokens that model holds.

lm-eval hands the model's arguments to a task's generator as keywords; from those the tokenizer and the config are
loaded once per path, local or from the Hub. For a model that is already in memory there is `tokenizer_at_hand`.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_UNSET = 10**9  # a tokenizer that knows no limit gives a number beyond any context


class TokenizerAtHand:
    """A tokenizer, with the model's context where it is known."""

    def __init__(self, tokenizer: Any, max_length: int | None = None, add_bos_token: bool | None = None) -> None:
        self._tokenizer = tokenizer
        self.max_length = max_length
        self._special = {} if add_bos_token is None else {"add_special_tokens": add_bos_token}
        self.unknown: int | None = getattr(tokenizer, "unk_token_id", None)
        self.remember: dict[Any, Any] = {}
        """What was found out about words and answers: each takes a few encodings."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a piece of text, without special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def length(self, text: str) -> int:
        """How many tokens the model reads for the whole text, special ones included."""
        return len(self._tokenizer.encode(text, **self._special))


_given: ContextVar[TokenizerAtHand | None] = ContextVar("tokenizer_at_hand", default=None)


@contextlib.contextmanager
def tokenizer_at_hand(tokenizer: Any, max_length: int | None = None) -> Iterator[None]:
    """Within the block, tasks are made for this tokenizer, whatever lm-eval says of the model.

    Args:
        tokenizer: A Hugging Face tokenizer.
        max_length: Tokens that the model holds; None if nobody is to check.
    """
    token = _given.set(TokenizerAtHand(tokenizer, max_length))
    try:
        yield
    finally:
        _given.reset(token)


TOKENIZER_KEYS = (
    "pretrained", "model", "tokenizer", "revision", "subfolder", "trust_remote_code", "max_length", "max_model_len",
    "add_bos_token",
)  # fmt: skip
"""What `find_tokenizer` reads."""


def find_tokenizer(metadata: Mapping[str, Any]) -> TokenizerAtHand | None:
    """The tokenizer of the surrounding block, else of the model's arguments; None where neither names one.

    A tokenizer that cannot be loaded is None too, with a warning: models behind an interface have names that are none
    of the Hub's.
    """
    given = _given.get()
    if given is not None:
        return given
    model = metadata.get("pretrained") or metadata.get("model")
    name = metadata.get("tokenizer") or model
    if not isinstance(name, str) or not name:
        return None
    length = metadata.get("max_length") or metadata.get("max_model_len")
    return _load(
        name,
        model if isinstance(model, str) and metadata.get("pretrained") else None,
        str(metadata.get("revision") or "main"),
        str(metadata.get("subfolder") or ""),
        bool(metadata.get("trust_remote_code", False)),
        int(length) if length else None,
        metadata.get("add_bos_token"),
    )


@functools.cache
def _load(
    name: str,
    model: str | None,
    revision: str,
    subfolder: str,
    trust_remote_code: bool,
    max_length: int | None,
    add_bos_token: bool | None,
) -> TokenizerAtHand | None:
    from transformers import AutoConfig, AutoTokenizer

    where: dict[str, Any] = {"revision": revision, "subfolder": subfolder, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(_checkpoint(name, revision), **where)
    except Exception as error:  # what is raised depends on the file that is missing or damaged
        logging.getLogger(__name__).warning(
            "the tokenizer of %s cannot be loaded (%s): the words are not checked to be one token",
            name,
            next(iter(str(error).splitlines()), type(error).__name__),
        )
        return None
    if max_length is None and model is not None:
        max_length = _context(AutoConfig.from_pretrained(_checkpoint(model, revision), **where), tokenizer)
    return TokenizerAtHand(tokenizer, max_length, add_bos_token)


def _checkpoint(name: str, revision: str) -> str:
    """The folder of one checkpoint where the name is that of a local series, which has a sub-folder for each."""
    folder = Path(name) / revision
    return str(folder) if folder.is_dir() and not (Path(name) / "config.json").exists() else name


def _context(config: Any, tokenizer: Any) -> int:
    """As lm-eval has it: what the config says, else the tokenizer, else 2048."""
    for part in (getattr(config, "text_config", None), config):
        for name in ("n_positions", "max_position_embeddings", "n_ctx"):
            if isinstance(length := getattr(part, name, None), int):
                return length
    length = int(getattr(tokenizer, "model_max_length", None) or _UNSET)
    return length if length < _UNSET else 2048
