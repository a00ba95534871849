"""The nats of next tokens, made in tiles of logits, against cross-entropy over whole rows."""

from collections.abc import Iterator

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from lm_probe.model_adapters import architecture_of
from lm_probe.probes import _surprisal
from lm_probe.probes._surprisal import Surprisal
from tests.conftest import VOCABULARY, make_model

POSITIONS = 50


def inputs(model: PreTrainedModel, offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head multiplies, and targets; all logits are moved by the offset, up to a soft cap."""
    generator = torch.Generator().manual_seed(0)
    width = architecture_of(model).head_weight.shape[1]
    hidden = torch.randn(POSITIONS, width, generator=generator).to(model.dtype)
    if offset:
        architecture_of(model).head_weight[:, 0] = 1.0
        hidden[:, 0] = offset
    return hidden, torch.randint(0, VOCABULARY, (POSITIONS,), generator=generator)


def expected(model: PreTrainedModel, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = architecture_of(model).logits(hidden)
    return cross_entropy(logits.double(), targets, reduction="none")


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_surprisal, "_TILE", (16, 37))
    monkeypatch.setattr(_surprisal, "HEAD_ROWS", 7)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("offset", [0.0, -200.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_tiles_give_cross_entropy(dtype: torch.dtype, offset: float, any_model: PreTrainedModel) -> None:
    """In half precision that of the logits as they were rounded: near -200 by 1 in bfloat16."""
    model = any_model.to(dtype)
    hidden, targets = inputs(model, offset)
    surprisal = Surprisal(architecture_of(model))
    found = surprisal(hidden, targets)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    off = (found.double() - expected(model, hidden, targets)).abs()
    if dtype in (torch.bfloat16, torch.float16):  # here and there a logit is rounded the other way
        assert (off < 1e-5).double().mean() > 0.9 and off.max() < 1
    else:
        assert off.max() < (1e-12 if dtype == torch.float64 else 5e-6) * (1 + abs(offset))
    again = surprisal(hidden[:20], targets[:20])  # over memory that holds other logits
    assert (again - found[:20]).abs().median() < 1e-5


@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
def test_nats_from_near_nothing_to_beyond_what_the_sum_can_hold(scale: float) -> None:
    model = make_model("gpt_neox")
    hidden, targets = inputs(model)
    targets[::2] = architecture_of(model).logits(hidden)[::2].argmax(1)
    hidden = hidden * scale
    found = Surprisal(architecture_of(model))(hidden, targets)
    wanted = expected(model, hidden, targets)
    assert (found >= 0).all() and (scale < 1e3 or (wanted > 1000).any())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5 * max(1, scale))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_terms_that_cancel_in_half_precision(dtype: torch.dtype) -> None:
    model = make_model("gpt_neox").to(dtype)
    hidden, targets = inputs(model)
    weight = architecture_of(model).head_weight
    weight[:, 0], weight[:, 1] = 300.0, -300.0
    hidden[:, 0] = hidden[:, 1] = 300.0 + 10 * hidden[:, 0].round()
    found = Surprisal(architecture_of(model))(hidden, targets)
    off = (found.double() - expected(model, hidden, targets)).abs()
    assert (off < 1e-5 * (1 + found)).double().mean() > 0.9


def test_a_bias_is_counted() -> None:
    model = make_model("gpt_neox")
    hidden, targets = inputs(model)
    plain = Surprisal(architecture_of(model))(hidden, targets)
    architecture_of(model).head.bias = torch.nn.Parameter(torch.arange(VOCABULARY) / 100)
    found = Surprisal(architecture_of(model))(hidden, targets)
    assert (found - plain).abs().max() > 0.1
    torch.testing.assert_close(found.double(), expected(model, hidden, targets), rtol=0, atol=5e-6)


def test_what_is_no_number_stays_none() -> None:
    model = make_model("gpt_neox")
    hidden, targets = inputs(model)
    hidden[3] = torch.nan
    found = Surprisal(architecture_of(model))(hidden, targets)
    assert found[3].isnan() and not found[4:].isnan().any()
