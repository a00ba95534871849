"""What is given to measure a model in memory: which probes, on which tokens, and whether they fit the model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lm_probe.model_adapters import Architecture, UserError
from lm_probe.probes import ForwardProbe, Probe, WeightContext, WeightsByRole, find_probes
from lm_probe.sweeps._tokens import DEFAULT_CONTEXT, TokenSample, sample_of_rows, sample_tokens


def chosen_probes(probes: Sequence[str | Probe], batch_size: int, context: int | None) -> list[Probe]:
    """Probes by their names, and those that are given themselves.

    Raises:
        UserError: there is no such probe, or a setting is no number that it could be.
    """
    if isinstance(probes, str):
        raise UserError(f"probes is one text: give a list, e.g. probes=[{probes!r}]")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size={batch_size} is no batch: give 1 or more, e.g. batch_size=8")
    if not isinstance(context, int | None) or (context is not None and context < 2):
        raise UserError(f"context={context} leaves nothing to predict: give 2 or more, e.g. context=512")
    named = find_probes([probe for probe in probes if isinstance(probe, str)])
    return [*named, *(probe for probe in probes if not isinstance(probe, str))]


def weight_context(tokenizer: Any, sample: TokenSample | None, first: WeightsByRole | None = None) -> WeightContext:
    """What weight probes may know beside a model in memory."""
    rows = None if tokenizer is None else len(tokenizer)
    return WeightContext(rows, None if sample is None else sample.token_counts(), first)


def given_sample(
    architecture: Architecture,
    probes: Sequence[Probe],
    token_ids: Tensor | None,
    text: str | Sequence[str] | None,
    tokenizer: Any,
    context: int | None,
) -> TokenSample | None:
    """The tokens that are given, whichever probes read them; None where there are none and none are needed.

    Raises:
        UserError: there are both text and tokens, or neither and a probe needs them; they are no rows of tokens, or
            not of the model's vocabulary.
    """
    reads = any(isinstance(probe, ForwardProbe) for probe in probes)
    if token_ids is None and text is None and not reads:
        return None
    if (token_ids is None) == (text is None):
        raise UserError("there must be either token_ids or text to measure on: give one of them")
    sample = _sample(architecture, token_ids, text, tokenizer, context)
    check_vocabulary(architecture, sample)
    return sample


def _sample(
    architecture: Architecture,
    token_ids: Tensor | None,
    text: str | Sequence[str] | None,
    tokenizer: Any,
    context: int | None,
) -> TokenSample:
    if token_ids is not None:
        try:
            rows = torch.atleast_2d(torch.as_tensor(token_ids))
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"token_ids are no rows of one length ({error}): give a (rows, tokens) tensor") from error
        return sample_of_rows(rows)
    if tokenizer is None:
        raise UserError("text needs a tokenizer: give tokenizer=, or token_ids=")
    assert text is not None
    documents = [text] if isinstance(text, str) else list(text)
    if not all(isinstance(document, str) for document in documents):
        raise UserError("text holds something that is no text: give one str, or a list of them")
    documents = [document for document in documents if document.strip()]
    if not documents:
        raise UserError("text is empty or blank: give a text to read")
    length = default_context(architecture.max_context) if context is None else context
    everything = sum(len(document.encode()) for document in documents) + 2 * len(documents)
    return sample_tokens(documents, tokenizer, tokens=max(2, everything), context=length, seed=0, allow_short=True)


def default_context(limit: int | None) -> int:
    """512 tokens, or what the model takes where that is less."""
    return DEFAULT_CONTEXT if limit is None else min(DEFAULT_CONTEXT, limit)


def check_fit(architecture: Architecture, sample: TokenSample) -> None:
    """Refuses a sample that the model cannot take.

    Raises:
        UserError: a token id beyond the vocabulary, or windows longer than the model's positions.
    """
    check_vocabulary(architecture, sample)
    # The context that was asked for, not the longest window: which text there is must not decide what is refused.
    limit = architecture.max_context
    if limit is not None and sample.context > limit:
        raise UserError(
            f"a context of {sample.context} tokens is longer than the model's {limit}: give --context {limit}"
        )


def check_vocabulary(architecture: Architecture, sample: TokenSample) -> None:
    """Refuses tokens that the model does not know.

    Raises:
        UserError: a token id beyond the vocabulary.
    """
    rows = architecture.model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    highest = max(max(window) for window in sample.windows)
    if highest >= rows:
        raise UserError(
            f"the tokens do not fit the model: there is token {highest} and the embedding has {rows} rows; "
            f"use the model's own tokenizer"
        )
