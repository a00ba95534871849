"""One forward pass for all forward probes together."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.model_adapters import Architecture, Site
from lm_probe.probes._protocol import Batch, ForwardProbe, ForwardState

# Rows of logits held at a time: wide enough for the product to run at full speed, small beside the model.
_HEAD_ROWS = 512


def run_forward(
    architecture: Architecture, batches: Iterable[Batch], states: Mapping[ForwardProbe, ForwardState]
) -> Iterable[Batch]:
    """Shows every batch to every state and yields it afterwards.

    The head is computed only when a probe needs logits, a few hundred positions at a time. Hidden states are shown
    as they appear and never kept.
    """
    hidden_states = [state for probe, state in states.items() if "hidden" in probe.needs]
    logit_states = [state for probe, state in states.items() if "logits" in probe.needs]
    head = _Head(architecture)

    for batch in batches:

        def see(site: Site, vectors: Tensor, batch: Batch = batch) -> None:
            for state in hidden_states:
                state.see_hidden(site, vectors, batch)

        with torch.no_grad():
            if hidden_states:
                with architecture.observe(see):
                    last = architecture.last_hidden(batch.token_ids, batch.mask)
            else:
                last = architecture.last_hidden(batch.token_ids, batch.mask)
            if logit_states:
                _show_logits(head, last, batch, logit_states)
        yield batch


class _Head:
    """The head, writing every chunk of logits over the last one: on a CPU fresh memory costs an eighth of the time."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture
        self._memory: Tensor | None = None

    def __call__(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n V"]:
        if not self._architecture.head_is_product:
            return self._architecture.logits(hidden)
        if self._memory is None:
            self._memory = hidden.new_empty(_HEAD_ROWS, len(self._architecture.head_weight))
        return self._architecture.logits(hidden, self._memory[: len(hidden)])


def _show_logits(head: _Head, last: Tensor, batch: Batch, states: list[ForwardState]) -> None:
    """Pairs each position that has a successor with it and shows the logits by chunks."""
    inputs, targets = last[:, :-1], batch.token_ids[:, 1:]
    clusters = batch.clusters[:, None].expand(targets.shape)
    sized = None if batch.token_bytes is None else batch.token_bytes[:, 1:]
    if batch.mask is None:
        flat = inputs.flatten(0, 1), targets.flatten(), clusters.flatten(), None if sized is None else sized.flatten()
    else:
        # A GPU halts until the host knows how many positions there are: asked once for all four.
        keep = batch.mask[:, 1:].nonzero(as_tuple=True)
        there = tuple(index.to(inputs.device) for index in keep)
        flat = inputs[there], targets[keep], clusters[keep], None if sized is None else sized[keep]
    hidden, target, cluster, size = flat
    for start in range(0, len(target), _HEAD_ROWS):
        part = slice(start, start + _HEAD_ROWS)
        logits = head(hidden[part])
        for state in states:
            state.see_logits(
                logits,
                target[part].to(logits.device),
                cluster[part].to(logits.device),
                None if size is None else size[part].to(logits.device),
            )
