"""Probes of a model on a device without float64 are shown everything elsewhere; `meta` stands for that place."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.model_adapters import Architecture, Site, architecture_of
from lm_probe.probes import (
    Batch,
    ForwardState,
    Need,
    Reading,
    Sampled,
    _statistics_device,
    run_forward,
    statistics_device,
)
from lm_probe.sweeps._in_memory import WeightsInMemory
from lm_probe.sweeps._lm_eval_probes import TaskProbes
from lm_probe.sweeps._lm_eval_rows import Row
from lm_probe.sweeps._tokens import sample_of_rows
from tests.conftest import VOCABULARY, make_model


class Devices(ForwardState):
    """Notes where everything is that it is shown."""

    def __init__(self, sampled: Sampled) -> None:
        self.seen: dict[str, set[str]] = {"sampled": {sampled.device}}
        if sampled.token_counts is not None:
            self.note(counts=sampled.token_counts)

    def note(self, **tensors: Tensor | None) -> None:
        for name, tensor in tensors.items():
            if tensor is not None:
                self.seen.setdefault(name, set()).add(tensor.device.type)

    def see_hidden(self, site: Site, vectors: Float[Tensor, "b t d"], batch: Batch) -> None:
        self.note(vectors=vectors, ids=batch.token_ids, mask=batch.mask, clusters=batch.clusters)

    def see_logits(
        self,
        logits: Float[Tensor, "n V"],
        targets: Int[Tensor, " n"],
        clusters: Int[Tensor, " n"],
        target_bytes: Float[Tensor, " n"] | None,
    ) -> None:
        self.note(logits=logits, targets=targets, logit_clusters=clusters, bytes=target_bytes)

    def see_surprisals(
        self, nats: Float[Tensor, " n"], clusters: Int[Tensor, " n"], target_bytes: Float[Tensor, " n"] | None
    ) -> None:
        self.note(nats=nats, nat_clusters=clusters, bytes=target_bytes)

    def result(self) -> Sequence[Reading]:
        return []


class Everywhere:
    """A probe of all that a forward pass shows."""

    name = "everywhere"
    version = 1

    def __init__(self, *needs: Need) -> None:
        self.needs = frozenset(needs)

    def start(self, architecture: Architecture, sampled: Sampled) -> Devices:
        return Devices(sampled)


@pytest.fixture
def without_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_statistics_device, "_WITHOUT_FLOAT64", {"cpu"})
    monkeypatch.setattr(_statistics_device, "_INSTEAD", torch.device("meta"))
    yield


def test_only_a_device_without_float64_is_left() -> None:
    assert statistics_device("mps:0") == torch.device("cpu")
    assert statistics_device("cuda:1") == torch.device("cuda:1")
    assert statistics_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.usefixtures("without_float64")
def test_a_pass_shows_everything_elsewhere() -> None:
    architecture = architecture_of(make_model("gpt_neox"))
    sample = sample_of_rows(torch.arange(24).reshape(3, 8) % VOCABULARY)
    sample.windows[1] = sample.windows[1][:5]  # a mask is needed
    probe = Everywhere("hidden", "logits", "surprisals")
    state = probe.start(architecture, sample.sampled("cpu"))
    batches = [
        Batch(batch.token_ids, batch.mask, batch.clusters, torch.ones(batch.token_ids.shape))
        for batch in sample.batches(8, "cpu")
    ]
    for batch in run_forward(architecture, batches, {probe: state}):
        assert batch.token_ids.device.type == "cpu"
    assert batches[0].mask is not None
    assert len(state.seen) == 12 and all(where == {"meta"} for where in state.seen.values()), state.seen


@pytest.mark.usefixtures("without_float64")
def test_beside_a_task_too() -> None:
    model = make_model("gpt_neox")
    probe = Everywhere("hidden")
    probes = TaskProbes([probe], architecture_of(model))
    (state,) = probes._states.values()
    rows = [Row(0, [1, 2, 3], [4]), Row(1, [1, 2], [3])]
    with torch.no_grad(), probes.watching(torch.tensor([[1, 2, 3], [1, 2, 0]]), rows):
        model(torch.tensor([[1, 2, 3], [1, 2, 0]]))
    assert isinstance(state, Devices)
    assert len(state.seen) == 5 and all(where == {"meta"} for where in state.seen.values()), state.seen


@pytest.mark.usefixtures("without_float64")
def test_weights_in_memory_too() -> None:
    weights = WeightsInMemory(architecture_of(make_model("gpt_neox")))
    assert weights.head().is_meta and weights.embedding().is_meta and weights.projection(weights.roles[0], 0).is_meta
