"""Whether two checkpoints hold the same: their weights, bit for bit, their config, and what makes tokens of a text."""

import hashlib
import json

import torch
from torch import Tensor

from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._hub import commit_files, weight_files
from lm_probe.model_adapters._tokenizer import tokenizer_digest
from lm_probe.model_adapters._weights import Weights


def hub_content(weights: Weights, repository: str, sha: str) -> str | None:
    """A digest of what a commit holds, from the checksums that the Hub lists: equal where two commits hold the same.

    None where the Hub cannot be asked, or has no checksum of a weight file.
    """
    try:
        files = commit_files(repository, sha)
    except UserError:
        return None
    if files is None:
        return None
    sums = {name: files[name].sha256 for name in weight_files(files)}
    return hashlib.sha256(json.dumps([sums, _settings(weights)]).encode()).hexdigest() if all(sums.values()) else None


def same_content(first: Weights, second: Weights) -> bool:
    """Whether two local checkpoints hold the same, in whichever files; reads them only up to where they differ.

    Raises:
        UserError: files are damaged.
    """
    if _settings(first) != _settings(second) or first.listed() != second.listed():
        return False
    return all(_same_bits(first.read(name), second.read(name)) for name in first.names())


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Of two tensors of one type and shape; a NaN is equal to itself."""
    return torch.equal(*(tensor.contiguous().flatten().view(torch.uint8) for tensor in (one, other)))


def _settings(weights: Weights) -> list[str | None]:
    return [json.dumps(weights.settings(), sort_keys=True), tokenizer_digest(weights.folder)]
