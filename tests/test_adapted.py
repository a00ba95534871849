"""Models with adapters of peft: what they compute is measured, in passes and in weights."""

import copy

import pytest
import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from torch import nn

from lm_probe.model_adapters import UserError, adapter_identity, architecture_of
from lm_probe.sweeps import measure
from tests.conftest import make_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*(fan_in_fan_out|tie|tied|Could not find a config file).*:UserWarning"),
]

TOKENS = torch.arange(60).reshape(4, 15)
PROBES = ["loss", "anisotropy", "weight_spectra", "head_spectrum"]
TARGETS = {
    "gpt_neox": ["query_key_value", "dense_4h_to_h"],
    "llama": ["q_proj", "down_proj"],
    "gpt2": ["c_attn"],
    "opt": ["k_proj", "fc2"],
}


def _spread(model: nn.Module) -> nn.Module:
    """Moves what an adapter would train away from where it does nothing."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.train()


def _lora(family: str, **settings: object) -> nn.Module:
    given = {"target_modules": TARGETS[family], "r": 2, "task_type": "CAUSAL_LM", **settings}
    torch.manual_seed(0)  # peft draws an adapter's first weights
    return _spread(get_peft_model(make_model(family), LoraConfig(**given)))


@pytest.mark.parametrize("family", TARGETS)
@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_a_model_with_adapters_is_measured_as_the_merged_one(family: str, settings: dict[str, object]) -> None:
    model = _lora(family, **settings)
    before = copy.deepcopy(model.state_dict())
    found = measure(model, PROBES, token_ids=TOKENS)
    base = measure(make_model(family), ["weight_spectra"])
    assert [value.value for value in found if value.probe == "weight_spectra"] != [value.value for value in base]
    assert model.training
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name
    expected = measure(model.merge_and_unload(), PROBES, token_ids=TOKENS)
    assert [value[3:8] for value in found] == [value[3:8] for value in expected]
    assert [value.value for value in found] == pytest.approx([value.value for value in expected], rel=1e-4, abs=1e-5)


def test_an_embedding_with_an_adapter_is_not_tied_to_the_head() -> None:
    plain, model = architecture_of(make_model("gpt2")), _lora("gpt2", target_modules=["wte"])
    architecture = architecture_of(model)
    assert plain.tied and not architecture.tied
    assert torch.equal(architecture.head_weight, plain.head_weight)  # the pass multiplies with the base's
    hidden = architecture.embedding_weight - plain.embedding_weight
    assert 0 < torch.linalg.matrix_rank(hidden) <= 2


def test_adapters_that_are_switched_off_play_no_part() -> None:
    model, plain = _lora("llama"), architecture_of(make_model("llama"))
    model.merge_adapter()
    merged = architecture_of(model).query(0).clone()
    assert not torch.equal(merged, plain.query(0))
    with model.disable_adapter():
        torch.testing.assert_close(architecture_of(model).query(0), plain.query(0))
    torch.testing.assert_close(architecture_of(model).query(0), merged)


def test_other_kinds_of_adapters_in_layers_are_merged_too() -> None:
    settings = IA3Config(target_modules=["v_proj"], feedforward_modules=[], task_type="CAUSAL_LM")
    model = _spread(get_peft_model(make_model("llama"), settings))
    found = architecture_of(model).value(1)
    assert not torch.equal(found, architecture_of(make_model("llama")).value(1))
    torch.testing.assert_close(found, architecture_of(model.merge_and_unload()).value(1))


def test_what_stands_beside_the_layers_is_refused_in_a_line() -> None:
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(UserError, match="peft's PROMPT_TUNING works beside the layers") as error:
        measure(get_peft_model(make_model("llama"), settings), ["loss"], token_ids=TOKENS)
    assert "\n" not in str(error.value)


def test_an_adapter_on_weights_that_are_not_there_is_refused() -> None:
    model = _lora("llama")
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    layer.base_layer.weight = nn.Parameter(layer.base_layer.weight.to("meta"))
    with pytest.raises(UserError, match=r"an adapter is on weights that are .* not in memory: .*merge_and_unload"):
        measure(model, ["weight_spectra"])


def test_the_identity_of_a_saved_adapter_is_that_of_its_weights_and_settings(tmp_path) -> None:
    _lora("llama").save_pretrained(tmp_path / "one")
    _lora("llama").save_pretrained(tmp_path / "same")
    _lora("llama", lora_alpha=4).save_pretrained(tmp_path / "other")
    one, same, other = (adapter_identity(str(tmp_path / name)) for name in ("one", "same", "other"))
    assert one == same != other
