"""Runs probes on a model in memory: the one path that the sweep and `measure` share."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from lm_probe.model_adapters import Architecture, Role, UserError, architecture_of, step_of
from lm_probe.probes import (
    Batch,
    ForwardProbe,
    ForwardState,
    Probe,
    Reading,
    VectorReading,
    WeightContext,
    WeightProbe,
    WeightsByRole,
    find_probes,
    run_forward,
)
from lm_probe.sweeps._records import Value, refuse_non_finite
from lm_probe.sweeps._tokens import DEFAULT_CONTEXT, TokenSample, sample_of_rows, sample_tokens


@dataclass(frozen=True)
class Outcome:
    """What came of one probe: readings, or the error that kept it from giving any."""

    readings: list[Reading | VectorReading]
    error: str | None = None
    seconds: float = 0.0


def read_weights(probe: WeightProbe, weights: WeightsByRole, context: WeightContext) -> Outcome:
    """Runs a weight probe."""
    begun = time.perf_counter()
    try:
        return Outcome(list(probe.read(weights, context)), None, time.perf_counter() - begun)
    except (UserError, ValueError) as error:
        return Outcome([], f"{probe.name}: {error}", time.perf_counter() - begun)


def read_forward(
    probes: Sequence[ForwardProbe],
    architecture: Architecture,
    sample: TokenSample,
    batch_size: int,
    *,
    batches: Iterable[Batch] | None = None,
) -> list[Outcome]:
    """Runs forward probes together over one pass; `batches` are others than the sample's own, for a control.

    Raises:
        UserError: the sample does not fit the model (a token beyond its vocabulary, a context beyond its positions).
    """
    check_fit(architecture, sample)
    begun = time.perf_counter()
    device = str(architecture.model.device)
    states: dict[ForwardProbe, ForwardState] = {
        probe: probe.start(architecture, sample.sampled(device)) for probe in probes
    }
    own = sample.batches(batch_size, device)
    for _ in run_forward(architecture, own if batches is None else batches, states):
        pass
    seconds = time.perf_counter() - begun
    outcomes = []
    for probe, state in states.items():
        try:
            outcomes.append(Outcome(list(state.result()), None, seconds))
        except ValueError as error:
            outcomes.append(Outcome([], f"{probe.name}: {error}", seconds))
    return outcomes


def check_fit(architecture: Architecture, sample: TokenSample) -> None:
    """Refuses a sample that the model cannot take.

    Raises:
        UserError: a token id beyond the vocabulary, or windows longer than the model's positions.
    """
    rows = architecture.model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    highest = max(max(window) for window in sample.windows)
    if highest >= rows:
        raise UserError(
            f"the tokens do not fit the model: there is token {highest} and the embedding has {rows} rows; "
            f"use the model's own tokenizer"
        )
    # The context that was asked for, not the longest window: which text there is must not decide what is refused.
    limit = architecture.max_context
    if limit is not None and sample.context > limit:
        raise UserError(
            f"a context of {sample.context} tokens is longer than the model's {limit}: give --context {limit}"
        )


class _InMemory:
    """The weights of a model in memory, as weight probes read them."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture

    def head(self) -> Float[Tensor, "V d"]:
        return self._architecture.head_weight

    def embedding(self) -> Float[Tensor, "V e"]:
        return self._architecture.embedding_weight

    def projection(self, role: Role, block: int) -> Float[Tensor, "out in"]:
        return self._architecture.projection(role, block)

    @property
    def tied(self) -> bool:
        return self._architecture.tied

    @property
    def layers(self) -> int:
        return len(self._architecture.blocks)

    @property
    def roles(self) -> tuple[Role, ...]:
        return self._architecture.roles

    @property
    def head_size(self) -> int:
        return self._architecture.head_size


def measure(
    model: PreTrainedModel,
    probes: Sequence[str | Probe],
    *,
    token_ids: Int[Tensor, "b t"] | None = None,
    text: str | Sequence[str] | None = None,
    tokenizer: Any = None,
    batch_size: int = 8,
    context: int | None = None,
) -> list[Value]:
    """Measures a model that is already in memory, through the same code as a sweep.

    Args:
        model: a causal language model of transformers, of a known family; put into eval mode while it is measured.
        probes: names (`"loss"`, `"anisotropy"`, `"head_spectrum"`) or probes.
        token_ids: rows of tokens without padding; each row is a cluster for standard errors.
        text: one document or several; needs `tokenizer`. All of it is used.
        tokenizer: the model's tokenizer.
        batch_size: rows in a forward pass.
        context: longest window cut from `text`; default 512 or what the model takes.

    Returns:
        Values in the order of the probes; model and revision are those the model's config names.

    Raises:
        UserError: the family is unknown, a forward probe has no text, the text does not fit the model, or a value is
            not finite.
    """
    outcomes, _ = measure_outcomes(
        model,
        probes,
        token_ids=token_ids,
        text=text,
        tokenizer=tokenizer,
        batch_size=batch_size,
        context=context,
    )
    name = str(model.config.name_or_path or "in memory")
    return [
        Value(name, None, step_of(name), probe.name, *_address(reading), reading.value, reading.stderr, reading.n)
        for probe, readings in outcomes.items()
        for reading in readings
        if isinstance(reading, Reading)
    ]


def measure_outcomes(
    model: PreTrainedModel,
    probes: Sequence[str | Probe],
    *,
    token_ids: Int[Tensor, "b t"] | None = None,
    text: str | Sequence[str] | None = None,
    tokenizer: Any = None,
    batch_size: int = 8,
    context: int | None = None,
) -> tuple[dict[Probe, list[Reading | VectorReading]], TokenSample | None]:
    """What `measure` gives, with its vectors, by probe; and the token sample, where one was needed."""
    _refuse_odd(probes, batch_size, context)
    chosen = find_probes([probe for probe in probes if isinstance(probe, str)])
    chosen += [probe for probe in probes if not isinstance(probe, str)]
    architecture = architecture_of(model)
    forward = [probe for probe in chosen if isinstance(probe, ForwardProbe)]
    outcomes: dict[str, Outcome] = {}
    sample = None
    training = model.training
    model.eval()
    try:
        if forward:
            sample = _sample(architecture, token_ids, text, tokenizer, context)
            found = read_forward(forward, architecture, sample, batch_size)
            outcomes.update(zip((probe.name for probe in forward), found, strict=True))
        beside = WeightContext(
            None if tokenizer is None else len(tokenizer), None if sample is None else sample.token_counts()
        )
        for probe in chosen:
            if isinstance(probe, WeightProbe):
                outcomes[probe.name] = read_weights(probe, _InMemory(architecture), beside)
    finally:
        model.train(training)
    for name, outcome in outcomes.items():
        if outcome.error:
            raise UserError(outcome.error)
        refuse_non_finite(name, outcome.readings)
    return {probe: outcomes[probe.name].readings for probe in chosen}, sample


def _refuse_odd(probes: Sequence[str | Probe], batch_size: int, context: int | None) -> None:
    if isinstance(probes, str):
        raise UserError(f"probes is one text: give a list, e.g. probes=[{probes!r}]")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size={batch_size} is no batch: give 1 or more, e.g. batch_size=8")
    if not isinstance(context, int | None) or (context is not None and context < 2):
        raise UserError(f"context={context} leaves nothing to predict: give 2 or more, e.g. context=512")


def _address(reading: Reading) -> tuple[str, int | None, str | None, str | None]:
    return reading.metric, reading.layer, reading.site, reading.component


def _sample(
    architecture: Architecture,
    token_ids: Tensor | None,
    text: str | Sequence[str] | None,
    tokenizer: Any,
    context: int | None,
) -> TokenSample:
    if (token_ids is None) == (text is None):
        raise UserError("measure needs either token_ids or text: give one of them")
    if token_ids is not None:
        try:
            rows = torch.atleast_2d(torch.as_tensor(token_ids))
        except (ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"token_ids are no rows of one length ({error}): give a (rows, tokens) tensor") from error
        return sample_of_rows(rows)
    if tokenizer is None:
        raise UserError("measure needs a tokenizer for text: give tokenizer=, or token_ids=")
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
