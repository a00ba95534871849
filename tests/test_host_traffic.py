"""While a probe gathers, nothing goes to the host or waits for it: tried without a GPU, on PyTorch's device `meta`.

Tensors there have shapes and no numbers, so a number that is asked for, or a shape that depends on numbers, is an error
as such; what goes from one device to the other is seen as it is copied.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lm_probe.model_adapters import Architecture, Site, architecture_of
from lm_probe.probes import (
    Batch,
    ForwardProbe,
    ForwardState,
    NormMatchedGaussian,
    Sampled,
    find_probes,
    probe_names,
)
from lm_probe.probes._forward import _successors
from tests.conftest import VOCABULARY, make_model

aten = torch.ops.aten
WIDTH = 24
SITE = Site(1, "block")
AWAY = torch.device("meta")


class Traffic(TorchDispatchMode):
    """Fails where a GPU would halt for the host, or the host for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        if any(tensor.device == AWAY for tensor in tensors):
            assert not _halts(func, args), f"{func} needs a number"
        found = func(*args, **(kwargs or {}))
        if func in (aten._to_copy.default, aten.copy_.default):
            assert tensors[-1].device == found.device, f"a tensor goes from {tensors[-1].device} to {found.device}"
        return found


def _halts(func: Any, args: Any) -> bool:
    """Whether an operation reads a number, or gives a shape that depends on numbers."""
    if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):
        return any(index is not None and index.dtype == torch.bool for index in args[1])
    return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & {*func.tags})


def make_batch(rows: int, length: int, padded: bool) -> Batch:
    mask = torch.ones(rows, length, dtype=torch.bool, device=AWAY) if padded else None
    tokens = torch.zeros(rows, length, dtype=torch.int64, device=AWAY)
    return Batch(tokens, mask, tokens[:, 0], tokens.float())


def show(state: ForwardState, batch: Batch, dtype: torch.dtype) -> None:
    states = torch.empty(*batch.token_ids.shape, WIDTH, dtype=dtype, device=AWAY)
    targets = batch.token_ids.flatten()
    logits = torch.empty(len(targets), VOCABULARY, dtype=dtype, device=AWAY)
    with Traffic():
        state.see_hidden(SITE, states, batch)
        state.see_logits(logits, targets, targets, targets.float())
        state.see_surprisals(logits[:, 0].float(), targets, targets.float())


def forward_probes() -> list[ForwardProbe]:
    found = [probe for probe in find_probes(probe_names()) if isinstance(probe, ForwardProbe)]
    return [*found, *(NormMatchedGaussian(probe) for probe in found if "hidden" in probe.needs)]


def sampled(counted: bool = True) -> Sampled:
    counts = torch.arange(VOCABULARY) if counted else None
    return Sampled(30, AWAY.type, True, counts)


@pytest.fixture(scope="module")
def architecture() -> Architecture:
    return architecture_of(make_model("gpt_neox"))


def test_every_forward_probe_is_tried() -> None:
    assert {probe.name for probe in forward_probes()} >= {
        *("loss", "anisotropy", "geometry", "anisotropy_gaussian", "geometry_gaussian")
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("probe", forward_probes(), ids=lambda probe: probe.name)
def test_gathering_is_no_traffic(
    probe: ForwardProbe, counted: bool, padded: bool, dtype: torch.dtype, architecture: Architecture
) -> None:
    state, twin = (probe.start(architecture, sampled(counted)) for _ in range(2))
    for rows, length in ((4, 7), (2, 600), (3, 3)):
        show(state, make_batch(rows, length, padded), dtype)
        show(twin, make_batch(rows, length, padded), dtype)
    with Traffic():
        state.merge(twin)


@pytest.mark.parametrize(("padded", "times"), [(False, 0), (True, 1)])
def test_a_padded_batch_asks_once_how_many_positions_have_a_successor(padded: bool, times: int) -> None:
    class Asked(TorchDispatchMode):
        times = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.times += _halts(func, args)
            return func(*args, **(kwargs or {}))

    architecture = architecture_of(make_model("gpt_neox"))
    mask = torch.arange(9) < torch.arange(4, 8)[:, None] if padded else None
    batch = Batch(torch.zeros(4, 9).long(), mask, torch.arange(4), torch.ones(4, 9))
    with torch.no_grad():
        last = architecture.last_hidden(batch.token_ids, batch.mask)
        with Asked() as asked:
            _successors(last, batch)
    assert asked.times == times


@pytest.mark.parametrize(
    "read",
    [
        lambda vectors: float(vectors.sum()),
        lambda vectors: vectors[0, 0].tolist(),
        lambda vectors: bool((vectors > 0).any()),
        lambda vectors: vectors.cpu(),
        lambda vectors: vectors[vectors > 0],
        lambda vectors: vectors.masked_select(vectors > 0),
        lambda vectors: (vectors > 0).nonzero(),
        lambda vectors: vectors.flatten().unique(),
        lambda vectors: vectors.index_put_((vectors > 0,), vectors[0, 0, :1]),
        lambda vectors: vectors + torch.ones(1).to(vectors.device),
    ],
)
def test_traffic_is_seen(read: Callable[[torch.Tensor], object]) -> None:
    state = _Looking(lambda vectors: vectors.sum())
    show(state, make_batch(3, 5, padded=False), torch.float32)
    state.look = read
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)):
        show(state, make_batch(3, 5, padded=False), torch.float32)


class _Looking(ForwardState):
    def __init__(self, look: Callable[[torch.Tensor], object]) -> None:
        self.look = look

    def see_hidden(self, site: Site, vectors: torch.Tensor, batch: Batch) -> None:
        self.look(vectors)

    def see_logits(self, logits: torch.Tensor, *_: object) -> None:
        self.look(logits)
