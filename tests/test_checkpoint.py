"""Checkpoints: where they are, what they are called, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from lm_probe.model_adapters import (
    UserError,
    load_tokenizer,
    locate,
    open_checkpoint,
    open_weights,
    tokenizer_digest,
    why_not_loaded,
)
from lm_probe.model_adapters._config import load_config
from lm_probe.model_adapters._tokenizer import _what_it_does
from tests.conftest import CONFIGS, make_model


@pytest.fixture
def folder(tmp_path: Path, series: Path) -> Path:
    """A copy of one checkpoint, to be damaged."""
    return Path(shutil.copytree(series / "step8", tmp_path / "model"))


def _edit_weights(folder: Path, edit) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_series_gives_step_and_identity(series: Path) -> None:
    first, last = locate(str(series), "step0"), locate(str(series), "step8")
    assert (first.step, last.step) == (0, 8)
    assert first.identity.startswith("sha256:") and first.identity != last.identity
    assert locate(str(series / "step8")).identity == last.identity
    assert locate(str(series / "step8")).step == 8


def test_identity_sees_every_weight_and_the_config_and_not_who_saved_it(folder: Path) -> None:
    seen = [locate(str(folder)).identity]

    def nudge(tensors: dict[str, torch.Tensor]) -> None:
        tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"][-1, -1] += 1

    _edit_weights(folder, nudge)
    seen.append(locate(str(folder)).identity)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rotary_pct": 0.5}))
    seen.append(locate(str(folder)).identity)
    assert len(set(seen)) == 3
    (folder / "config.json").write_text(json.dumps(dict(reversed(config.items())) | {"transformers_version": "9.9"}))
    assert locate(str(folder)).identity == seen[1]


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_family_opens_with_its_own_weights(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    model.save_pretrained(tmp_path)
    opened = open_checkpoint(str(tmp_path))
    assert opened.tokenizer is None
    assert not opened.model.training
    for left, right in zip(model.parameters(), opened.model.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)
    weights = open_weights(str(tmp_path))
    torch.testing.assert_close(weights.head(), opened.architecture.head_weight, rtol=0, atol=0)
    assert weights.bytes_read == weights.head().nbytes
    torch.testing.assert_close(
        weights.read(weights.names()[0]), load_file(tmp_path / "model.safetensors")[weights.names()[0]]
    )


def test_tied_and_untied_heads(tmp_path: Path) -> None:
    assert open_weights_of("gpt2", tmp_path / "tied").head_name() == "transformer.wte.weight"
    assert open_weights_of("gpt_neox", tmp_path / "untied").head_name() in ("embed_out.weight", "lm_head.weight")


def open_weights_of(name: str, folder: Path):
    make_model(name).save_pretrained(folder)
    return open_weights(str(folder))


def test_weights_say_where_they_are_and_what_there_is(tmp_path: Path) -> None:
    make_model("gpt_neox").save_pretrained(tmp_path)
    weights = open_weights(str(tmp_path))
    assert repr(weights) == f"Weights({tmp_path}: model.safetensors)"
    with pytest.raises(UserError, match="no projection 'mlp_gate': its roles are query, key, value"):
        weights.projection("mlp_gate", 0)
    (tmp_path / "model.safetensors").unlink()
    make_model("gpt_neox").save_pretrained(tmp_path, max_shard_size="20KB")
    weights = open_weights(str(tmp_path))
    assert re.fullmatch(r"Weights\(.*: model-00001-of-0000\d\.safetensors and \d more\)", repr(weights))


def test_sharded_and_bin_files_give_the_same_as_one_file(tmp_path: Path) -> None:
    model = make_model("gpt_neox")
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    tensors = load_file(tmp_path / "one" / "model.safetensors")
    for name, legacy in (("bin", False), ("legacy-bin", True)):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "one" / "config.json", tmp_path / name)
        torch.save(tensors, tmp_path / name / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    expected = open_weights(str(tmp_path / "one")).head()
    for kind in ("sharded", "bin", "legacy-bin"):
        torch.testing.assert_close(open_weights(str(tmp_path / kind)).head(), expected, rtol=0, atol=0)
        opened = open_checkpoint(str(tmp_path / kind))
        torch.testing.assert_close(opened.architecture.head_weight, expected, rtol=0, atol=0)


def test_stored_dtype_is_kept_unless_another_is_asked_for(tmp_path: Path) -> None:
    make_model("gpt_neox").to(torch.float16).save_pretrained(tmp_path)
    assert open_weights(str(tmp_path)).head().dtype == torch.float16
    assert open_checkpoint(str(tmp_path)).model.dtype == torch.float16
    assert open_checkpoint(str(tmp_path), dtype=torch.float32).model.dtype == torch.float32


def test_bin_files_run_no_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    make_model("gpt_neox").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"embed_out.weight": Bomb()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds pickled code beside its tensors"):
        open_checkpoint(str(tmp_path))
    assert not (tmp_path / "exploded").exists()


def test_bad_folders_are_named(tmp_path: Path, series: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        locate(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no checkpoint step3: found step0, step1, step8"):
        locate(str(series), "step3")
    with pytest.raises(UserError, match=r"is a series of 3 checkpoints: give the folder of one, e\.g\. .*tiny/step8$"):
        locate(str(series))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no config\.json"):
        locate(str(tmp_path / "empty"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        locate(str(folder))


@pytest.mark.parametrize("keep", [0, 5, 300, 0.5, 0.999])
def test_truncated_safetensors_are_named(folder: Path, keep: float) -> None:
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(UserError, match=r"model.safetensors is damaged or truncated"):
        locate(str(folder))


@pytest.mark.parametrize("keep", [0, 300, 0.5])
def test_truncated_bin_is_named(folder: Path, keep: float) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    file = folder / "pytorch_model.bin"
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(UserError, match=r"pytorch_model.bin is damaged or truncated"):
        locate(str(folder))


@pytest.mark.parametrize(("bad", "said"), [(float("nan"), "NaN"), (float("inf"), "infinite values")])
def test_weights_that_are_not_finite_are_named(folder: Path, bad: float, said: str) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["gpt_neox.layers.2.mlp.dense_h_to_4h.bias"][1] = bad

    _edit_weights(folder, spoil)
    with pytest.raises(UserError, match=f"has {said} in gpt_neox.layers.2.mlp.dense_h_to_4h.bias"):
        open_checkpoint(str(folder))


def test_missing_tensors_are_refused_and_not_made_up(folder: Path) -> None:
    _edit_weights(folder, lambda tensors: tensors.pop("gpt_neox.layers.1.attention.dense.weight"))
    with pytest.raises(UserError, match=r"lacks 1 tensor .*layers.1.attention.dense.weight"):
        open_checkpoint(str(folder))


def test_shapes_that_do_not_fit_the_config_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(UserError, match=r"dense_4h_to_h.weight has shape .*\(16, 48\) by config"):
        open_checkpoint(str(folder))


def test_a_tied_model_with_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    make_model("gpt2").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    same = {**tensors, "lm_head.weight": tensors["transformer.wte.weight"].clone()}
    save_file(same, tmp_path / "model.safetensors", metadata={"format": "pt"})
    open_checkpoint(str(tmp_path))
    same["lm_head.weight"][0, 0] += 1
    save_file(same, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for reads in (open_checkpoint, lambda source: open_weights(source).head()):
        with pytest.raises(UserError, match=r"holds lm_head.weight and another transformer.wte.weight, though"):
            reads(str(tmp_path))


@pytest.mark.parametrize("index", ["[]", '{"weight_map": {}}', '{"weight_map": []}', '{"weight_map": {"a": 1}}', "{"])
def test_an_index_that_is_none_is_named(folder: Path, index: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=r"index\.json is damaged or truncated"):
        locate(str(folder))


def test_a_single_file_counts_before_shards_beside_it(tmp_path: Path) -> None:
    """Weight probes read the numbers that the model has: `from_pretrained` takes the single file."""
    make_model("gpt_neox", seed=1).save_pretrained(tmp_path, max_shard_size="20KB")
    make_model("gpt_neox", seed=2).save_pretrained(tmp_path / "single")
    shutil.move(tmp_path / "single" / "model.safetensors", tmp_path)
    assert (tmp_path / "model.safetensors.index.json").exists()
    model = open_checkpoint(str(tmp_path)).model
    assert torch.equal(open_weights(str(tmp_path)).head(), model.get_output_embeddings().weight)


def test_weights_that_the_config_names_are_refused(folder: Path) -> None:
    """`from_pretrained` would load those, and weight probes read others."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "other.safetensors"}))
    for reads in (open_checkpoint, open_weights, locate):
        with pytest.raises(UserError, match=r"transformers_weights: other\.safetensors"):
            reads(str(folder))


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "opt", "llama"])
def test_a_config_that_asks_for_fewer_blocks_is_refused(name: str, tmp_path: Path) -> None:
    make_model(name).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    layers = "n_layer" if name == "gpt2" else "num_hidden_layers"
    (tmp_path / "config.json").write_text(json.dumps({**config, layers: config[layers] - 1}))
    with pytest.raises(
        UserError, match=r"holds \d+ tensors of blocks that config.json does not ask for, first .*\.2\."
    ):
        open_checkpoint(str(tmp_path))


def _change(file: Path, **changed: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def test_the_tokenizers_digest_sees_what_decides_tokens_and_nothing_else(folder: Path) -> None:
    settings, rules = folder / "tokenizer_config.json", folder / "tokenizer.json"
    kept = settings.read_text()
    before = tokenizer_digest(folder)
    assert before is not None and before.startswith("tokens:")
    silent = {"name_or_path": "elsewhere", "model_max_length": 77, "chat_template": "{{ x }}", "padding_side": "left"}
    for name, value in silent.items():
        _change(settings, **{name: value})
        assert tokenizer_digest(folder) == before, name
        settings.write_text(kept)
    _change(rules, truncation={"max_length": 8, "strategy": "LongestFirst", "stride": 0})
    assert tokenizer_digest(folder) == before
    kept_rules = rules.read_text()
    for file, name, value in ((rules, "decoder", None), (settings, "bos_token", "a"), (settings, "eos_token", "b")):
        _change(file, **{name: value})
        assert (tokenizer_digest(folder) or "").startswith("tokens:") and tokenizer_digest(folder) != before, name
        rules.write_text(kept_rules)
        settings.write_text(kept)
    assert tokenizer_digest(folder) == before
    text = "A Word, and another."
    usual = load_tokenizer(folder)
    _change(rules, normalizer={"type": "Lowercase"})
    lower = load_tokenizer(folder)
    assert usual is not None and lower is not None and usual(text).input_ids != lower(text).input_ids
    assert tokenizer_digest(folder) not in (before, None)
    rules.write_text("{")
    assert (tokenizer_digest(folder) or "").startswith("files:")


def test_a_config_that_makes_no_model_is_no_fault_of_the_tokenizer(folder: Path) -> None:
    """Nor of the other checkpoints' tokenizers, which are the same."""
    usual = tokenizer_digest(folder)
    layers = {"n_layer": 10**9, "num_hidden_layers": 10**9}
    _change(folder / "config.json", **layers)
    with pytest.raises(UserError, match="layers"):
        load_tokenizer(folder)
    _what_it_does.cache_clear()
    assert tokenizer_digest(folder) == usual and why_not_loaded(folder) is None


def test_unknown_architecture_is_named_before_anything_is_loaded(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "rwkv"}))
    with pytest.raises(UserError, match=r"no adapter for model_type 'rwkv'.*known are"):
        open_checkpoint(str(folder))
    (folder / "config.json").write_text("{ not json")
    with pytest.raises(UserError, match="not valid JSON"):
        locate(str(folder))


@pytest.mark.parametrize(
    "wrong", [{"hidden_size": "wide"}, {"num_attention_heads": 0}, {"hidden_act": "nonsense"}, {"vocab_size": -1}]
)
def test_a_config_that_makes_no_sense_is_named(folder: Path, wrong: dict[str, object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **wrong}))
    with pytest.raises(UserError, match=r"does not load|config\.json is no configuration"):
        open_checkpoint(str(folder))
    if "hidden_size" in wrong:
        with pytest.raises(UserError, match=r"config\.json is no configuration"):
            load_tokenizer(folder)  # and not the tokenizer is blamed


def test_a_config_that_is_missing_is_no_config_that_makes_no_sense(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_config(folder)


def test_a_damaged_tokenizer_is_named(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    (folder / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(UserError, match=r"tokenizer in .* cannot be loaded"):
        open_checkpoint(str(folder))


def test_of_a_tokenizer_without_its_files_the_whole_reason_is_said(folder: Path) -> None:
    (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    reason = r"(from one of: \(1\) a `tokenizers` library|Converting from SentencePiece) .*"  # transformers 5, and 4
    with pytest.raises(UserError, match=rf"{reason}\): copy it"):
        load_tokenizer(folder)


def test_a_config_without_positions_is_refused(tmp_path: Path) -> None:
    make_model("gpt_neox").save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": -5}))
    with pytest.raises(UserError, match="max_position_embeddings -5"):
        _ = open_weights(str(tmp_path)).max_context
