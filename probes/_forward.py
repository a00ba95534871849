"""One forward pass for all forward probes together."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.model_adapters import Architecture, Site
from lm_probe.probes._protocol import Batch, ForwardProbe, ForwardState
from lm_probe.probes._statistics_device import statistics_device, unrounded
from lm_probe.probes._surprisal import HEAD_ROWS, Surprisal


def run_forward(
    architecture: Architecture, batches: Iterable[Batch], states: Mapping[ForwardProbe, ForwardState]
) -> Iterable[Batch]:
    """Shows every batch to every state and yields it afterwards.

    The head is computed only when a probe needs logits or surprisals, a few hundred positions at a time. Hidden states
    are shown as they appear and never kept. All is shown on `statistics_device` of the model's device.
    """
    hidden_states = [state for probe, state in states.items() if "hidden" in probe.needs]
    logit_states = [state for probe, state in states.items() if "logits" in probe.needs]
    surprisal_states = [state for probe, state in states.items() if "surprisals" in probe.needs]
    surprisal = Surprisal(architecture)

    for batch in batches:
        shown = batch.to(statistics_device(batch.token_ids.device))

        def see(site: Site, vectors: Tensor, batch: Batch = shown) -> None:
            vectors = vectors.to(statistics_device(vectors.device))
            with unrounded(vectors.device):
                for state in hidden_states:
                    state.see_hidden(site, vectors, batch)

        with torch.no_grad():
            if hidden_states:
                with architecture.observe(see):
                    last = architecture.last_hidden(batch.token_ids, batch.mask)
            else:
                last = architecture.last_hidden(batch.token_ids, batch.mask)
            if logit_states or surprisal_states:
                successors = _successors(last, batch)
                _show_logits(architecture, successors, logit_states)
                _show_surprisals(surprisal, successors, surprisal_states)
        yield batch


class _Successors(NamedTuple):
    """Positions that have a next token, with that token."""

    hidden: Float[Tensor, "n d"]
    targets: Int[Tensor, " n"]
    clusters: Int[Tensor, " n"]
    target_bytes: Float[Tensor, " n"] | None

    def part(self, rows: slice) -> "_Successors":
        sized = None if self.target_bytes is None else self.target_bytes[rows]
        return _Successors(self.hidden[rows], self.targets[rows], self.clusters[rows], sized)

    def beside(self, found: Tensor) -> "_Successors":
        """With what is known of the tokens on this tensor's device."""
        sized = None if self.target_bytes is None else self.target_bytes.to(found.device)
        return _Successors(self.hidden, self.targets.to(found.device), self.clusters.to(found.device), sized)


def _successors(last: Float[Tensor, "b t d"], batch: Batch) -> _Successors:
    inputs, targets = last[:, :-1], batch.token_ids[:, 1:]
    clusters = batch.clusters[:, None].expand(targets.shape)
    sized = None if batch.token_bytes is None else batch.token_bytes[:, 1:]
    if batch.mask is None:
        sized = None if sized is None else sized.flatten()
        return _Successors(inputs.flatten(0, 1), targets.flatten(), clusters.flatten(), sized)
    # A GPU halts until the host knows how many positions there are: asked once for all four.
    keep = batch.mask[:, 1:].nonzero(as_tuple=True)
    there = tuple(index.to(inputs.device) for index in keep)
    return _Successors(inputs[there], targets[keep], clusters[keep], None if sized is None else sized[keep])


def _show_logits(architecture: Architecture, successors: _Successors, states: list[ForwardState]) -> None:
    for start in range(0, len(successors.targets) if states else 0, HEAD_ROWS):
        part = successors.part(slice(start, start + HEAD_ROWS))
        logits = architecture.logits(part.hidden)
        logits = logits.to(statistics_device(logits.device))
        part = part.beside(logits)
        with unrounded(logits.device):
            for state in states:
                state.see_logits(logits, part.targets, part.clusters, part.target_bytes)


def _show_surprisals(surprisal: Surprisal, successors: _Successors, states: list[ForwardState]) -> None:
    if states:
        nats = surprisal(successors.hidden, successors.targets)
        nats = nats.to(statistics_device(nats.device))
        successors = successors.beside(nats)
        with unrounded(nats.device):
            for state in states:
                state.see_surprisals(nats, successors.clusters, successors.target_bytes)
