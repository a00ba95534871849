"""Series that were trained, and the faults that are planted in them for the audit to find."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.conftest import CONFIGS

STEPS = (0, 1, 2, 4, 8, 16, 32, 48, 64, 72, 80, 88, 96)
HEAD = "embed_out.weight"


def _falling(part: float) -> float:
    """To 0 shortly before the end."""
    return max(0.0, 1 - part / 0.94)


def train(
    root: Path,
    family: str,
    seed: int,
    tokens: torch.Tensor,
    steps: Sequence[int],
    rate: Callable[[float], float] = _falling,
    **saved: Any,
) -> None:
    """Trains a model from scratch; its rate rises over 4 steps and goes as `rate` says of the part that is done."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[family]())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps[-1] + 1):
        if step in steps:
            model.save_pretrained(root / f"step{step}", **saved)
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 4) * rate(step / steps[-1])
        starts = torch.randint(len(tokens) - 33, (8,))
        rows = torch.stack([tokens[start : start + 32] for start in starts])
        model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def head_name(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name in (HEAD, "lm_head.weight") if name in tensors)


def _shard(folder: Path, wanted: Callable[[str], bool]) -> Path:
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    return folder / next(file for name, file in index.items() if wanted(name))


def _head_file(folder: Path) -> Path:
    return _shard(folder, lambda name: name in (HEAD, "lm_head.weight"))


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], object], file: Path | None = None) -> None:
    file = file or _head_file(folder)
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def _copied(series: Path) -> None:
    shutil.rmtree(series / "step16")
    shutil.copytree(series / "step8", series / "step16")


def _misplaced(series: Path) -> None:
    """What lies between steps 72 and 80 is uploaded as step 2."""
    late = [load_file(_head_file(series / name)) for name in ("step72", "step80")]
    middle = sum(tensors[head_name(tensors)] for tensors in late) / 2
    edit(series / "step2", lambda tensors: tensors.update({head_name(tensors): middle}))


def _early(series: Path) -> None:
    """What lies between steps 1 and 2 is uploaded as step 64."""
    early = [load_file(_head_file(series / name)) for name in ("step1", "step2")]
    middle = sum(tensors[head_name(tensors)] for tensors in early) / 2
    edit(series / "step64", lambda tensors: tensors.update({head_name(tensors): middle}))


def _not_finite(series: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[head_name(tensors)][3, 5] = float("nan")

    edit(series / "step32", spoil)


def _without_weights(series: Path) -> None:
    for file in (series / "step4").glob("model*"):
        file.unlink()


def _partial(series: Path) -> None:
    file = _head_file(series / "step48")
    file.write_bytes(file.read_bytes()[:-7])


def _without_shard(series: Path) -> None:
    _head_file(series / "step48").unlink()


def _pointer(series: Path) -> None:
    """What git leaves where Git LFS is not installed."""
    file = _head_file(series / "step48")
    file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 20608\n")


def _mixed(series: Path) -> None:
    """The head of another step came with an upload that broke off."""
    shutil.copy(_head_file(series / "step8"), _head_file(series / "step16"))


def _bin(series: Path, spoil: Callable[[Path], object]) -> None:
    folder = series / "step48"
    tensors = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    for file in folder.glob("model*"):
        file.unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    spoil(folder / "pytorch_model.bin")


def _twin(series: Path) -> None:
    """The same weights, converted."""
    _copied(series)
    folder = series / "step16"
    tensors = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    for file in folder.glob("model*"):
        file.unlink()
    torch.save(tensors, folder / "pytorch_model.bin")


def _halved(series: Path) -> None:
    for file in (series / "step48").glob("*.safetensors"):
        edit(series, lambda tensors: tensors.update({name: one.half() for name, one in tensors.items()}), file)


def _exchanged(series: Path) -> None:
    (series / "step32").rename(series / "aside")
    (series / "step16").rename(series / "step32")
    (series / "aside").rename(series / "step16")


def _other_tokenizer(series: Path) -> None:
    file = series / "step48" / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": {"type": "Lowercase"}}))


def _slow_tokenizer(series: Path) -> None:
    """A class that `tokenizers` does not run."""
    (series / "step48" / "tokenizer.json").unlink()
    (series / "step48" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))


def _broken_tokenizer(series: Path) -> None:
    file = series / "step48" / "tokenizer.json"
    file.write_text(file.read_text().replace("a", "b"))


def _without(series: Path, part: str, step: str) -> None:
    file = _shard(series / step, lambda name: part in name)

    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if part in name]:
            del tensors[name]

    edit(series / step, drop, file)
    index = series / step / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    listed["weight_map"] = {name: file for name, file in listed["weight_map"].items() if part not in name}
    index.write_text(json.dumps(listed))


def _other_config(series: Path, step: str, **changed: int) -> None:
    file = series / step / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


FAULTS: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "copy": (_copied, "step16", "copy", "it holds the same weights and config as tiny step8, bit for bit"),
    "mixed": (_mixed, "step16", "same head", "its head is that of tiny step8, byte for byte, though not all of it"),
    "late": (_misplaced, "step2", "misplaced", "its head lies with step72 and step80 and not with its neighbours"),
    "early": (_early, "step64", "misplaced", "its head lies with step1 and step2 and not with its neighbours"),
    "converted": (_twin, "step16", "copy", "it holds the same weights and config as tiny step8, bit for bit"),
    "exchanged": (_exchanged, "step16", "misplaced", "that of step32 lie the wrong way round between their neighbours"),
    "zeros": (
        lambda series: edit(series / "step48", lambda tensors: tensors[head_name(tensors)].zero_()),
        *("step48", "constant", "its head is 0 throughout"),
    ),
    "type": (_halved, "step48", "other tensors", "as another type, first embed_out.weight as float16 and not float32"),
    "nan": (_not_finite, "step32", "not finite", "its head holds NaN or Inf"),
    "empty": (_without_weights, "step4", "unreadable", "has no weights"),
    "partial": (_partial, "step48", "unreadable", "is damaged or truncated"),
    "pointer": (_pointer, "step48", "unreadable", "it is a Git LFS pointer in place of the weights"),
    "bin": (
        lambda series: _bin(series, lambda file: file.write_bytes(file.read_bytes()[:-99])),
        *("step48", "unreadable", "pytorch_model.bin"),
    ),
    "pointer to bin": (
        lambda series: _bin(series, lambda file: file.write_text("version https://git-lfs.github.com/spec/v1")),
        *("step48", "unreadable", "it is a Git LFS pointer in place of the weights"),
    ),
    "shard": (_without_shard, "step48", "unreadable", "lacks model-"),
    "other tokenizer": (
        _other_tokenizer,
        *(
            "step48",
            "tokenizer",
            "other text of tokens, than that of the series' other checkpoints: copy that of tiny step0",
        ),
    ),
    "slow tokenizer": (_slow_tokenizer, "step48", "tokenizer settings", "which may change no token"),
    "broken tokenizer": (_broken_tokenizer, "step48", "tokenizer", "its tokenizer cannot be loaded ("),
    "no tokenizer": (
        lambda series: [file.unlink() for file in (series / "step48").glob("*token*")],
        *("step48", "tokenizer", "it has no tokenizer, unlike the series' other checkpoints: copy tokenizer.json and "),
    ),
    "projection": (
        lambda series: _without(series, "layers.1.mlp.dense_h_to_4h.weight", "step8"),
        *(
            "step8",
            "config",
            "it lacks 1 tensor that config.json asks for, first gpt_neox.layers.1.mlp",
        ),
    ),
    "norm": (
        lambda series: _without(series, "final_layer_norm.bias", "step8"),
        *("step8", "config", "it lacks 1 tensor that config.json asks for, first gpt_neox.final_layer_norm.bias"),
    ),
    "surplus": (
        lambda series: edit(series / "step8", lambda tensors: tensors.update(noise=torch.ones(2))),
        *("step8", "other tensors", "adds noise, unlike the other steps"),
    ),
    "width": (
        lambda series: _other_config(series, "step1", intermediate_size=48),
        *("step1", "config", "is 32 x 16 in the file and 48 x 16 by config.json, and 8 more do not fit"),
    ),
    "vocabulary": (
        lambda series: _other_config(series, "step1", vocab_size=321),
        *("step1", "config", "is 320 x 16 in the file and 321 x 16 by config.json"),
    ),
    "blocks": (
        lambda series: _other_config(series, "step1", num_hidden_layers=2),
        *("step1", "config", "it holds 12 tensors of blocks that config.json does not ask for"),
    ),
}
