"""Every adapter against transformers itself."""

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lm_probe.model_adapters import Site, UserError, architecture_of
from lm_probe.sweeps import measure
from tests.conftest import make_model

IDS = torch.tensor([[5, 17, 80, 301, 9, 44], [7, 7, 12, 250, 3, 0]])


def _kept_inputs(model: PreTrainedModel, ids: torch.Tensor) -> tuple[torch.Tensor, list[dict[str, object]]]:
    """What enters the first block, and the other arguments with which the model calls each block."""
    kept: list[tuple[tuple[torch.Tensor, ...], dict[str, object]]] = []
    hooks = [
        block.register_forward_pre_hook(lambda _, inputs, keywords: kept.append((inputs, keywords)), with_kwargs=True)
        for block in architecture_of(model).blocks
    ]
    with torch.no_grad():
        model(ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    return kept[0][0][0], [keywords for _, keywords in kept]


def test_the_roles_put_together_again_give_the_models_own_logits(any_model: PreTrainedModel) -> None:
    architecture = architecture_of(any_model)
    hidden, keywords = _kept_inputs(any_model, IDS)
    with torch.no_grad():
        for block, words in zip(architecture.blocks, keywords, strict=True):
            output = block(hidden, **words)
            hidden = output[0] if isinstance(output, tuple) else output
        if architecture.final_norm is not None:
            hidden = architecture.final_norm(hidden)
        if architecture.head_projection is not None:
            hidden = architecture.head_projection(hidden)
        logits = architecture.logits(hidden)
        expected = any_model(IDS, use_cache=False).logits
    torch.testing.assert_close(logits, expected)
    assert logits.std() > 0.05


def test_trunk_and_head_give_the_models_own_logits(any_model: PreTrainedModel) -> None:
    architecture = architecture_of(any_model)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], dtype=torch.bool)
    with torch.no_grad():
        logits = architecture.logits(architecture.last_hidden(IDS, mask))
        expected = any_model(IDS, attention_mask=mask.long(), use_cache=False).logits
    torch.testing.assert_close(logits[mask], expected[mask])


def test_the_logits_of_some_tokens_are_a_part_of_the_models_own(any_model: PreTrainedModel) -> None:
    architecture = architecture_of(any_model)
    product = architecture.head_product()
    assert product is not None
    with torch.no_grad():
        hidden = architecture.last_hidden(IDS).flatten(0, 1)
        expected = architecture.logits(hidden)
        memory = torch.full((len(hidden), 30), torch.nan)
        torch.testing.assert_close(product.logits(hidden, slice(40, 70), memory), expected[:, 40:70])
        assert not memory.isnan().any()
        tokens = torch.arange(len(hidden)) + 40
        torch.testing.assert_close(product.logit_of(hidden, tokens), expected[:, 40:].diagonal())


def test_a_head_that_does_more_than_multiply_is_called() -> None:
    model = make_model("gpt_neox")
    head = architecture_of(model).head
    plain = measure(model, ["loss"], token_ids=IDS)
    hook = head.register_forward_hook(lambda _, __, output: output * 0.5)
    assert architecture_of(model).head_product() is None
    assert measure(model, ["loss"], token_ids=IDS)[0].value != plain[0].value
    hook.remove()
    head.bias = torch.nn.Parameter(torch.arange(len(head.weight)) / 100)
    assert architecture_of(model).head_product() is None
    assert measure(model, ["loss"], token_ids=IDS)[0].value != plain[0].value


def test_sites_are_the_hidden_states_of_transformers(any_model: PreTrainedModel) -> None:
    architecture = architecture_of(any_model)
    seen: dict[Site, torch.Tensor] = {}
    with torch.no_grad(), architecture.observe(seen.__setitem__):
        output = any_model(IDS, use_cache=False, output_hidden_states=True)
    assert list(seen) == architecture.sites
    layers = len(architecture.blocks)
    # transformers: embedding, blocks 1..L-1, and last what the head multiplies.
    for layer in range(layers):
        site = Site(layer, "embedding" if layer == 0 else "block")
        torch.testing.assert_close(seen[site], output.hidden_states[layer], rtol=0, atol=0)
    torch.testing.assert_close(seen[architecture.sites[-1]], output.hidden_states[-1], rtol=0, atol=0)


def test_opt_350m_has_no_final_norm_and_a_head_input() -> None:
    architecture = architecture_of(make_model("opt-350m"))
    assert architecture.final_norm is None
    assert architecture.sites[-1] == Site(3, "head_input")
    assert architecture.head_weight.shape == (320, 8)


@pytest.fixture
def attention_inputs() -> list[tuple[torch.Tensor, ...]]:
    """Query, key and value as transformers hands them to its attention function."""
    seen: list[tuple[torch.Tensor, ...]] = []

    def spy(module, query, key, value, attention_mask, **keywords):
        seen.append((query, key, value))
        keywords.pop("softcap", None)  # sdpa has none; what attention gives does not matter here
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, attention_mask, **keywords)

    ALL_ATTENTION_FUNCTIONS.register("spy", spy)
    return seen


def test_projections_give_the_models_own_queries_keys_and_values(
    any_model: PreTrainedModel, attention_inputs: list[tuple[torch.Tensor, ...]]
) -> None:
    """At position 0 a rotary embedding is the identity, so query and key can be seen as projected."""
    architecture = architecture_of(any_model)
    entered: list[torch.Tensor] = []
    attention = next(m for name, m in architecture.blocks[1].named_children() if "attn" in name or name == "attention")
    attention.register_forward_pre_hook(
        lambda _, inputs, keywords: entered.append(inputs[0] if inputs else keywords["hidden_states"]),
        with_kwargs=True,
    )
    any_model.set_attn_implementation("spy")
    for name, parameter in any_model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    with torch.no_grad():
        any_model(IDS[:1, :1], use_cache=False)
    query, key, value = attention_inputs[1]
    scale = 2.0 if any_model.config.model_type == "opt" else 1.0  # OPT scales the query by head_dim**-0.5 beforehand
    entered_first = entered[0][0, 0]
    for role, found in (("query", query), ("key", key)):
        projected = architecture.projection(role, 1) @ entered_first
        if any_model.config.model_type == "olmo2":  # normalises all heads together before attention
            projected = getattr(attention, f"{role[0]}_norm")(projected)
        if any_model.config.model_type == "qwen3":  # normalises head by head
            projected = getattr(attention, f"{role[0]}_norm")(projected.view(-1, attention.head_dim)).flatten()
        expected = found[0, :, 0].flatten() * (scale if role == "query" else 1.0)
        torch.testing.assert_close(projected, expected)
    torch.testing.assert_close(architecture.value(1) @ entered_first, value[0, :, 0].flatten())


def test_projections_are_out_by_in(any_model: PreTrainedModel) -> None:
    architecture = architecture_of(any_model)
    config = any_model.config
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    inner = {"gpt2": 64, "opt": 32, "gpt_neox": 32}.get(architecture.family, 24)
    assert architecture.query(0).shape == (heads * width, 16)
    assert architecture.key(0).shape == architecture.value(0).shape == (groups * width, 16)
    assert architecture.attention_output(0).shape == (16, heads * width)
    assert architecture.mlp_in(0).shape == (inner, 16)
    assert architecture.mlp_out(0).shape == (16, inner)
    if architecture.family == "llama":
        assert architecture.projection("mlp_gate", 0).shape == (inner, 16)


def test_a_projection_that_there_is_not_is_named_with_those_that_there_are(neox: PreTrainedModel) -> None:
    said = "gpt_neox has no projection 'mlp_gate': its roles are query, key, value, attention_output, mlp_in, mlp_out"
    with pytest.raises(UserError, match=said):
        architecture_of(neox).projection("mlp_gate", 0)


def test_mlp_projections_are_the_models_own(any_model: PreTrainedModel) -> None:
    """What goes through the last feed-forward product is what its module gives, bias aside."""
    architecture = architecture_of(any_model)
    weight = architecture.mlp_out(2)
    module = next(
        m
        for m in architecture.blocks[2].modules()
        if getattr(m, "weight", None) is not None and m.weight.data_ptr() == weight.data_ptr()
    )
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        any_model(IDS, use_cache=False)
    entered, left = seen[0]
    bias = getattr(module, "bias", None)
    torch.testing.assert_close(entered @ weight.T + (0 if bias is None else bias), left)


def test_an_unknown_architecture_is_named_with_the_known_ones() -> None:
    model = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=32, hidden_size=8, n_layer=1, n_head=2))
    with pytest.raises(UserError, match=r"no adapter for model_type 'bloom'.*blocks.*known are gemma.*gpt_neox"):
        architecture_of(model)
