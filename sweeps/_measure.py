"""Runs probes on a model in memory: the one path that the sweep and `measure` share."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm_probe.model_adapters import Architecture, UserError, architecture_of, device_of, step_of
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
    run_forward,
    unrounded,
)
from lm_probe.sweeps._given import check_fit, chosen_probes, given_sample, weight_context
from lm_probe.sweeps._in_memory import WeightsInMemory
from lm_probe.sweeps._memory import Passes
from lm_probe.sweeps._records import Value, refuse_non_finite
from lm_probe.sweeps._tokens import TokenSample


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
    passes: Passes,
    *,
    batches: Iterable[Batch] | None = None,
) -> list[Outcome]:
    """Runs forward probes together over one pass; `batches` are others than the sample's own, for a control.

    Raises:
        UserError: the sample does not fit the model (a token beyond its vocabulary, a context beyond its positions).
    """
    check_fit(architecture, sample)
    begun = time.perf_counter()
    device = str(device_of(architecture.model))
    states: dict[ForwardProbe, ForwardState] = {
        probe: probe.start(architecture, sample.sampled(device)) for probe in probes
    }
    own = sample.batches(passes.limit, device)
    with passes.watched(architecture.model):
        for _ in run_forward(architecture, own if batches is None else batches, states):
            pass
    seconds = time.perf_counter() - begun
    return [result_of(probe, state, seconds) for probe, state in states.items()]


def result_of(probe: ForwardProbe, state: ForwardState, seconds: float = 0.0) -> Outcome:
    """What a forward probe says in the end, or why it says nothing."""
    try:
        with unrounded(torch.device("cpu")):  # where the last sums are taken
            return Outcome(list(state.result()), None, seconds)
    except ValueError as error:
        return Outcome([], f"{probe.name}: {error}", seconds)


def only_finite(probe: Probe, outcome: Outcome) -> Outcome:
    """The outcome, or which of its numbers is not finite."""
    try:
        refuse_non_finite(probe.name, outcome.readings)
    except UserError as error:
        return Outcome([], str(error), outcome.seconds)
    return outcome


def measure(
    model: nn.Module,
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
            Adapters of peft in its layers (LoRA and others) are part of it: weights are measured with them merged.
        probes: names (`"loss"`, `"anisotropy"`, `"head_spectrum"`) or probes.
        token_ids: rows of tokens without padding; each row is a cluster for standard errors. Probes of weights take
            the tokens' frequencies from them, or from the text.
        text: one document or several; needs `tokenizer`. All of it is used.
        tokenizer: the model's tokenizer.
        batch_size: rows in a forward pass at most; on a CPU long ones go by fewer, which is quicker.
        context: longest window cut from `text`; default 512 or what the model takes.

    Returns:
        Values in the order of the probes; model and revision are those the model's config names.

    Raises:
        UserError: the family is unknown, a forward probe has no text, the text does not fit the model, or a value is
            not finite.
    """
    chosen = chosen_probes(probes, batch_size, context)
    architecture = architecture_of(model)
    sample = given_sample(architecture, chosen, token_ids, text, tokenizer, context)
    outcomes = read_probes(architecture, chosen, sample, weight_context(tokenizer, sample), Passes(batch_size))
    for outcome in outcomes.values():
        if outcome.error:
            raise UserError(outcome.error)
    name = str(architecture.model.config.name_or_path or "in memory")
    return [
        Value(name, None, step_of(name), probe.name, *_address(reading), reading.value, reading.stderr, reading.n)
        for probe in chosen
        for reading in outcomes[probe].readings
        if isinstance(reading, Reading)
    ]


def read_probes(
    architecture: Architecture,
    probes: Sequence[Probe],
    sample: TokenSample | None,
    beside: WeightContext,
    passes: Passes,
) -> dict[Probe, Outcome]:
    """Runs probes on a model in memory, in eval mode: forward probes together, weight probes one after the other.

    Args:
        architecture: the model.
        probes: what to run.
        sample: what forward probes read; they are refused without it.
        beside: what weight probes may know.
        passes: what forward passes may have, and then have had.

    Raises:
        UserError: the sample does not fit the model.
    """
    outcomes: dict[Probe, Outcome] = {}
    forward = [probe for probe in probes if isinstance(probe, ForwardProbe)]
    with _evaluating(architecture.model):
        if forward:
            assert sample is not None
            outcomes |= zip(forward, read_forward(forward, architecture, sample, passes), strict=True)
        for probe in probes:
            if isinstance(probe, WeightProbe):
                outcomes[probe] = read_weights(probe, WeightsInMemory(architecture), beside)
    return {probe: only_finite(probe, outcome) for probe, outcome in outcomes.items()}


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Puts a model into eval mode, and every module back into its own afterwards: some may be frozen in it."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _address(reading: Reading) -> tuple[str, int | None, str | None, str | None]:
    return reading.metric, reading.layer, reading.site, reading.component
