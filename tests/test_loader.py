"""Checkpoint after checkpoint in the same memory: the numbers and the refusals of loading each afresh."""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_probe.model_adapters import CheckpointLoader, OpenCheckpoint, UserError, _loader, open_checkpoint
from lm_probe.model_adapters._mould import mould_of
from lm_probe.model_adapters._weights import Weights
from tests.conftest import CONFIGS, make_model

DTYPES = (torch.float32, torch.bfloat16, torch.float16, None)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of every family, in float16 files."""
    root = tmp_path_factory.mktemp("pairs")
    for name in CONFIGS:
        for step in (1, 2):
            make_model(name, seed=step).half().save_pretrained(root / name / f"step{step}")
    return root


def _refuse_difference(found: OpenCheckpoint, expected: OpenCheckpoint) -> None:
    both = [
        {**dict(opened.model.named_parameters(remove_duplicate=False)), **dict(opened.model.named_buffers())}
        for opened in (found, expected)
    ]
    assert both[0].keys() == both[1].keys()
    for name, tensor in both[1].items():
        assert both[0][name].dtype == tensor.dtype and torch.equal(both[0][name], tensor), name
        assert not both[0][name].requires_grad
    assert not found.model.training
    assert found.model.config.to_dict() == expected.model.config.to_dict()
    assert found.model.config.name_or_path == expected.model.config.name_or_path
    assert found.model.generation_config.to_dict() == expected.model.generation_config.to_dict()
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.equal(found.model(ids).logits, expected.model(ids).logits)


def _loaded_afresh(folders: Sequence[Path], dtype: torch.dtype | None = None) -> int:
    """Opens the folders in turn, compares each with itself loaded afresh, and counts those that were not copied in."""
    loader = CheckpointLoader(dtype=dtype)
    with patch.object(_loader, "load_model", wraps=_loader.load_model) as loads:
        for folder in folders:
            _refuse_difference(loader.open(str(folder)), open_checkpoint(str(folder), dtype=dtype))
    return loads.call_count


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_family_is_copied_to_the_last_bit(name: str, dtype: torch.dtype | None, pairs: Path) -> None:
    assert _loaded_afresh([pairs / name / "step1", pairs / name / "step2", pairs / name / "step1"], dtype) == 1


def _trunk_alone(prefix: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _old_buffers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What Pythia's first uploads hold beside the weights."""
    beside = {
        f"gpt_neox.layers.{block}.attention.{name}": torch.ones(1, 1, 4, 4).bool()
        for block in range(3)
        for name in ("bias", "masked_bias")
    }
    return {**tensors, **beside, "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(2)}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gpt2", _trunk_alone("transformer.")),
        ("opt", _trunk_alone("model.")),
        ("gpt_neox", _old_buffers),
        ("gpt2", lambda tensors: {**tensors, "lm_head.weight": tensors["transformer.wte.weight"].clone()}),
    ],
    ids=["gpt2-trunk", "opt-trunk", "old-buffers", "tied-twice"],
)
@pytest.mark.parametrize("form", ["safetensors", "bin", "legacy-bin"])
def test_files_as_the_hub_has_them(name: str, change: Callable, form: str, pairs: Path, tmp_path: Path) -> None:
    folders = []
    for step in (1, 2):
        folder = Path(shutil.copytree(pairs / name / f"step{step}", tmp_path / f"step{step}"))
        tensors = change(load_file(folder / "model.safetensors"))
        if form == "safetensors":
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        else:
            (folder / "model.safetensors").unlink()
            torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "bin")
        folders.append(folder)
    assert _loaded_afresh(folders, torch.float32) == 1


def test_shards_are_copied(pairs: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        open_checkpoint(str(pairs / "gpt_neox"), f"step{step}").model.save_pretrained(
            tmp_path / f"step{step}", max_shard_size="20KB"
        )
    assert len(list((tmp_path / "step1").glob("*.safetensors"))) > 1
    assert _loaded_afresh([tmp_path / "step1", tmp_path / "step2"]) == 1


def _changed_config(folder: Path, **changes: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@pytest.mark.parametrize(
    "changes", [{"rotary_emb_base": 500}, {"hidden_act": "relu"}, {"use_parallel_residual": False}], ids=str
)
def test_another_config_makes_another_module(changes: dict[str, object], pairs: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(pairs / "gpt_neox" / "step2", tmp_path / "other"))
    assert _loaded_afresh([pairs / "gpt_neox" / "step1", _changed_config(other, **changes)]) == 2


def test_code_of_its_own_is_loaded_afresh(pairs: Path, tmp_path: Path) -> None:
    folders = [
        _changed_config(Path(shutil.copytree(pairs / "gpt_neox" / step, tmp_path / step)), auto_map={})
        for step in ("step1", "step2")
    ]
    assert _loaded_afresh(folders) == 2


def _damage(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


_WEIGHT = "gpt_neox.layers.1.attention.dense.weight"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda folder: _damage(folder, lambda tensors: tensors.pop(_WEIGHT)),
    "shape": lambda folder: _damage(folder, lambda tensors: tensors.update({_WEIGHT: torch.zeros(16, 8)})),
    "surplus": lambda folder: _damage(
        folder, lambda tensors: tensors.update({_WEIGHT.replace("1", "3"): torch.zeros(16, 16)})
    ),
    "nan": lambda folder: _damage(folder, lambda tensors: tensors[_WEIGHT][3].fill_(float("nan"))),
    "infinite": lambda folder: _damage(folder, lambda tensors: tensors[_WEIGHT][3].fill_(-float("inf"))),
    "truncated": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:-100]
    ),
    "unknown": lambda folder: _changed_config(folder, model_type="rwkv"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
}


@pytest.mark.parametrize("kind", sorted(DAMAGES))
def test_refusals_are_those_of_loading_afresh(kind: str, pairs: Path, tmp_path: Path) -> None:
    bad = Path(shutil.copytree(pairs / "gpt_neox" / "step2", tmp_path / "bad"))
    DAMAGES[kind](bad)
    loader = CheckpointLoader()
    loader.open(str(pairs / "gpt_neox" / "step1"))
    said = []
    for open_it in (loader.open, open_checkpoint):
        with pytest.raises(UserError) as refusal:
            open_it(str(bad))
        said.append(str(refusal.value))
    assert said[0] == said[1]
    good = str(pairs / "gpt_neox" / "step2")
    _refuse_difference(loader.open(good), open_checkpoint(good))


def test_numbers_that_a_narrower_type_does_not_hold_are_refused(pairs: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        model = open_checkpoint(str(pairs / "gpt_neox"), f"step{step}", dtype=torch.float32).model
        model.gpt_neox.embed_in.weight[7, 7] = 70_000.0 * (step == 2)
        model.save_pretrained(tmp_path / f"step{step}")
    loader = CheckpointLoader(dtype=torch.float16)
    loader.open(str(tmp_path / "step1"))
    with pytest.raises(UserError, match=r"infinite values in gpt_neox\.embed_in\.weight"):
        loader.open(str(tmp_path / "step2"))


def test_large_sums_of_finite_weights_are_no_infinity(pairs: Path, tmp_path: Path) -> None:
    for step in (1, 2):
        model = open_checkpoint(str(pairs / "gpt_neox"), f"step{step}", dtype=torch.float32).model
        model.gpt_neox.embed_in.weight.fill_(3e38)
        model.save_pretrained(tmp_path / f"step{step}")
    loader = CheckpointLoader()
    for step in (1, 2):
        assert float(loader.open(str(tmp_path), f"step{step}").architecture.embedding_weight.max()) > 2e38


def test_what_was_given_before_raises_when_it_is_run(pairs: Path) -> None:
    loader = CheckpointLoader()
    before = loader.open(str(pairs / "gpt_neox"), "step1")
    loader.open(str(pairs / "gpt_neox"), "step2")
    with pytest.raises((RuntimeError, NotImplementedError)):
        before.architecture.last_hidden(torch.zeros(1, 4, dtype=torch.long)).sum().item()


def test_what_was_done_to_a_model_is_gone_with_it(pairs: Path) -> None:
    loader, calls = CheckpointLoader(), []
    for step in ("step1", "step2", "step1"):
        opened = loader.open(str(pairs / "gpt2"), step)
        _refuse_difference(opened, open_checkpoint(str(pairs / "gpt2"), step))
        assert not calls
        model = opened.model
        model.register_forward_hook(lambda *_: calls.append(1))
        model.transformer.h[0].register_forward_hook(lambda *_: calls.append(1))
        model.config.pad_token_id, model.config.tie_word_embeddings = 7, False
        model.generation_config.max_new_tokens = 99
        model.train()
        model.requires_grad_(True)
        model.transformer.ln_f.weight = torch.nn.Parameter(torch.zeros(16))
        model.half()
        with torch.no_grad():
            model.transformer.wte.weight.fill_(5)


def test_a_function_that_a_module_keeps_is_no_patch_and_a_method_over_its_own_is(pairs: Path) -> None:
    folder = pairs / "gpt_neox" / "step1"
    model, weights = open_checkpoint(str(folder)).model, Weights(folder)
    model.gpt_neox.rotary_emb.rope_init_fn = torch.sin
    assert mould_of(model, weights)
    model.gpt_neox.rotary_emb.forward = partial(model.gpt_neox.rotary_emb.forward)
    assert mould_of(model, weights) is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_lm_eval_leaves_nothing_on_a_model(series: Path) -> None:
    from lm_probe.sweeps.lm_eval_bridge import run_tasks

    loader = CheckpointLoader()
    for step in ("step1", "step8"):
        opened = loader.open(str(series), step)
        _refuse_difference(opened, open_checkpoint(str(series), step))
        run_tasks(
            opened.model, opened.needed_tokenizer(), ["count_query_m5"], batch_size=4, num_docs=2, seed=0, model_args={}
        )
