"""Projections by role from files, and what the probe makes of them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_probe.model_adapters import UserError, architecture_of, open_weights
from lm_probe.probes import WeightsByRole
from tests.conftest import CONFIGS, make_model


def _as_bin(source: Path, target: Path) -> None:
    target.mkdir()
    shutil.copy(source / "config.json", target)
    torch.save(load_file(source / "model.safetensors"), target / "pytorch_model.bin")


def _equal(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.dtype == right.dtype
    torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_files_give_what_the_model_has_for_every_role_and_block(name: str, tmp_path: Path) -> None:
    model = make_model(name).to(torch.bfloat16)
    architecture = architecture_of(model)
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    _as_bin(tmp_path / "one", tmp_path / "bin")
    for kind in ("one", "sharded", "bin"):
        weights = open_weights(str(tmp_path / kind))
        assert isinstance(weights, WeightsByRole)
        assert weights.roles == architecture.roles
        assert weights.layers == len(architecture.blocks) == 3
        assert weights.head_size == architecture.head_size
        assert weights.tied == (architecture.head_weight is architecture.embedding_weight)
        for block in range(weights.layers):
            for role in weights.roles:
                _equal(weights.projection(role, block), architecture.projection(role, block))
        _equal(weights.embedding(), architecture.embedding_weight)
        _equal(weights.head(), architecture.head_weight)


def test_only_what_a_projection_needs_is_read_and_a_fused_tensor_once(tmp_path: Path) -> None:
    model = make_model("gpt_neox")
    model.save_pretrained(tmp_path)
    block = architecture_of(model).blocks[1]
    weights = open_weights(str(tmp_path))
    weights.projection("mlp_in", 1)
    expected = block.get_parameter("mlp.dense_h_to_4h.weight").nbytes
    assert weights.bytes_read == expected
    for role in ("query", "key", "value"):
        weights.projection(role, 1)
    assert weights.bytes_read == expected + block.get_parameter("attention.query_key_value.weight").nbytes


def test_a_trunk_saved_alone_is_read_too(tmp_path: Path) -> None:
    """The Hub's GPT-2 files name `h.0...`, without the `transformer.` of the causal model."""
    model = make_model("gpt2")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(bare, tmp_path / "model.safetensors", metadata={"format": "pt"})
    weights = open_weights(str(tmp_path))
    for role in weights.roles:
        _equal(weights.projection(role, 2), architecture_of(model).projection(role, 2))
    _equal(weights.embedding(), architecture_of(model).embedding_weight)


def test_a_missing_projection_is_named(tmp_path: Path) -> None:
    make_model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    weights = open_weights(str(tmp_path))
    assert weights.layers == 4
    with pytest.raises(UserError, match=r"no query projection in block 3: looked for model.layers.3.self_attn.q_proj"):
        weights.projection("query", 3)
