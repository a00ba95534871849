"""A fixed sample of tokens, the same for every checkpoint that shares a tokenizer."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int

from lm_probe.model_adapters import UserError, counted
from lm_probe.probes import Batch, Sampled, statistics_device

DEFAULT_CONTEXT = 512
# Whole books would make a sample of a few documents: no document gives more windows than this while others are left.
_WINDOWS_A_TURN = 2
# Below this many documents a clustered standard error says little, and windows serve as clusters.
_FEWEST_DOCUMENTS = 8
# Tokens in a forward pass on a CPU: what a block makes of them stays in its cache, which saves a tenth of the time.
_CACHED, _CACHED_A_THREAD = 1024, 512


_WHOLE_NUMBERS = ("int64", "int32", "int16", "uint8")


class TextError(UserError):
    """The text gives no sample: the same for every checkpoint, so a sweep stops."""


@dataclass(frozen=True)
class TokenSample:
    """Windows of tokens, each from one document, none longer than the context."""

    windows: list[list[int]]
    clusters: list[int]
    """For each window the document it is from (or its own number, see `cluster_unit`), 0..n_clusters-1."""
    sizes: list[list[int]] | None
    """UTF-8 bytes of text behind each token; None where the tokenizer gives no offsets."""
    cluster_unit: str
    """`document`; `window` where there are too few documents for a standard error over them."""
    context: int
    starts_with_bos: bool

    @property
    def n_tokens(self) -> int:
        """Tokens in all windows."""
        return sum(map(len, self.windows))

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return max(self.clusters) + 1

    def digest(self) -> str:
        """A short hash of the token ids and where the windows end."""
        sha = hashlib.sha256()
        for window in self.windows:
            sha.update(np.asarray([len(window), *window], dtype="<i8").tobytes())
        return sha.hexdigest()[:16]

    def token_counts(self) -> Int[np.ndarray, " V"]:
        """How often each token occurs, by token id, up to the highest that does."""
        return np.bincount(np.concatenate([np.asarray(window) for window in self.windows]))

    def details(self) -> dict[str, Any]:
        """What a measurement records of it."""
        return {
            "tokens": self.n_tokens,
            "context": self.context,
            "sample": self.digest(),
            "clusters": self.n_clusters,
            "cluster_unit": self.cluster_unit,
            "starts_with_bos": self.starts_with_bos,
        }

    def sampled(self, device: str) -> Sampled:
        """What forward probes of a model on this device may know of it."""
        where = statistics_device(device)
        counts = torch.from_numpy(self.token_counts()).to(where)
        return Sampled(self.n_clusters, str(where), self.sizes is not None, counts)

    def batches(self, batch_size: int, device: str, *, order: Sequence[int] | None = None) -> Iterator[Batch]:
        """Right-padded batches, longest windows first, so that little is padded; or windows in a given order.

        Of at most `batch_size` rows; on a CPU of fewer where they are long, because that is quicker.
        """
        if order is None:
            order = sorted(range(len(self.windows)), key=lambda index: (-len(self.windows[index]), index))
        most = max(_CACHED, _CACHED_A_THREAD * torch.get_num_threads()) if device == "cpu" else None
        start = 0
        while start < len(order):
            chosen = order[start : start + batch_size]
            if most is not None:
                chosen = chosen[: max(1, most // max(len(self.windows[index]) for index in chosen))]
            start += len(chosen)
            rows = [torch.tensor(self.windows[index]) for index in chosen]
            lengths = torch.tensor([len(row) for row in rows])
            mask = torch.arange(int(lengths.max())) < lengths[:, None]
            sizes = None
            if self.sizes is not None:
                sizes = _pad([torch.tensor(self.sizes[index], dtype=torch.float32) for index in chosen]).to(device)
            yield Batch(
                token_ids=_pad(rows).to(device),
                mask=None if bool(mask.all()) else mask.to(device),
                clusters=torch.tensor([self.clusters[index] for index in chosen]).to(device),
                token_bytes=sizes,
            )


def _pad(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    padded: torch.Tensor = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    return padded


class _Window(NamedTuple):
    document: int
    ids: list[int]
    sizes: list[int] | None


def sample_tokens(
    documents: Sequence[str], tokenizer: Any, *, tokens: int, context: int, seed: int, allow_short: bool = False
) -> TokenSample:
    """Draws a sample of about `tokens` tokens from documents taken in a random order of its own.

    Each document gives at most two windows of `context` tokens in a turn; turns go on until there are enough tokens
    or no text is left. A window starts with the BOS token where the tokenizer's own calls would put one.

    Args:
        documents: texts.
        tokenizer: the model's tokenizer (transformers).
        tokens: how many to draw.
        context: the longest window.
        seed: of the order of the documents.
        allow_short: take a text that does not fill one context.

    Raises:
        TextError: there is no text, less than one full window of it, or `tokens` is less than two.
    """
    if tokens < 2:
        raise TextError(f"--tokens {tokens} leaves nothing to predict: give 2 or more, e.g. --tokens 50000")
    if context < 2:
        raise TextError(f"--context {context} leaves nothing to predict: give 2 or more, e.g. --context 512")
    order = list(range(len(documents)))
    random.Random(f"token sample {seed}").shuffle(order)
    bos = _bos(tokenizer)
    prefix = [] if bos is None else [bos]
    windows = [_windows(documents[index], index, tokenizer, context - len(prefix)) for index in order]
    drawn: list[_Window] = []
    total = 0
    for window in _in_turns(windows):
        if (room := tokens - total) < 2:
            break
        ids = (prefix + window.ids)[:room]
        sizes = None if window.sizes is None else ([0] * len(prefix) + window.sizes)[:room]
        if len(ids) >= 2:
            drawn.append(_Window(window.document, ids, sizes))
            total += len(ids)
    if not drawn:
        raise TextError(
            f"the text is too short to measure on: {counted(len(documents), 'document')}, and none has two tokens; "
            f"give a longer one (--text, or text=)"
        )
    if total < min(context, tokens) - 1 and not allow_short:
        raise TextError(
            f"the text has {counted(total, 'token')} and one context is {context}: give a longer --text, or "
            f"--context {total} or less"
        )
    documents_used = sorted({window.document for window in drawn})
    unit = "document" if len(documents_used) >= _FEWEST_DOCUMENTS else "window"
    number = {index: position for position, index in enumerate(documents_used)}
    return TokenSample(
        windows=[window.ids for window in drawn],
        clusters=[number[window.document] for window in drawn] if unit == "document" else list(range(len(drawn))),
        sizes=[window.sizes for window in drawn if window.sizes is not None] if tokenizer.is_fast else None,
        cluster_unit=unit,
        context=context,
        starts_with_bos=bos is not None,
    )


def sample_of_rows(token_ids: torch.Tensor) -> TokenSample:
    """The rows of a (rows, tokens) tensor as a sample, each row a cluster of its own.

    Raises:
        TextError: they are no rows of whole numbers from 0 up.
    """
    kind = str(token_ids.dtype).removeprefix("torch.")
    if token_ids.ndim != 2 or not token_ids.numel() or kind not in _WHOLE_NUMBERS:
        raise TextError(
            f"token_ids are {kind} of shape {tuple(token_ids.shape)}: give rows of token ids, (rows, tokens)"
        )
    if int(token_ids.min()) < 0:
        raise TextError(f"token_ids hold {int(token_ids.min())}: leave padding out, or measure rows of one length")
    windows = token_ids.tolist()
    return TokenSample(windows, list(range(len(windows))), None, "window", token_ids.shape[1], False)


def _in_turns(sources: list[Iterator[_Window]]) -> Iterator[_Window]:
    while sources:
        unfinished = []
        for source in sources:
            taken = list(islice(source, _WINDOWS_A_TURN))
            yield from taken
            if len(taken) == _WINDOWS_A_TURN:
                unfinished.append(source)
        sources = unfinished


def _windows(document: str, index: int, tokenizer: Any, length: int) -> Iterator[_Window]:
    """The windows of one document; tokenises it only when the first is asked for."""
    if tokenizer.is_fast:
        encoded = tokenizer(document, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        sizes = _bytes_behind(document, encoded["offset_mapping"])
    else:
        encoded, sizes = tokenizer(document, add_special_tokens=False, verbose=False), None
    ids = encoded["input_ids"]
    for start in range(0, len(ids), length):
        part = slice(start, start + length)
        yield _Window(index, ids[part], None if sizes is None else sizes[part])


def _bytes_behind(document: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """UTF-8 bytes from the end of the token before to the end of this one.

    Tokenizers may leave the space before a word out of its offsets, and a character split over several tokens has
    the same offsets in each: measured from end to end, every byte counts once.
    """
    sizes, last = [], 0
    for _, end in offsets:
        end = max(end, last)
        sizes.append(len(document[last:end].encode()))
        last = end
    return sizes


def _bos(tokenizer: Any) -> int | None:
    ids = tokenizer("a", verbose=False)["input_ids"]
    bos: int | None = tokenizer.bos_token_id
    return bos if bos is not None and ids and ids[0] == bos else None
