"""The identity audit: each kind of fault is found in a series that was trained, and none in a clean one."""

import itertools
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from lm_probe.cli import main
from lm_probe.sweeps import audit
from lm_probe.sweeps._exchanged import exchanged
from lm_probe.sweeps._misplaced import misplaced
from tests.conftest import CONFIGS, make_model
from tests.hub_in_process import hub_in_process

STEPS = (0, 1, 2, 4, 8, 16, 32, 48, 64, 72, 80, 88, 96)
HEAD = "embed_out.weight"


def _falling(part: float) -> float:
    """To 0 shortly before the end."""
    return max(0.0, 1 - part / 0.94)


def _train(
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


@pytest.fixture(scope="module")
def tokens(documents: list[str], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    return torch.tensor([token for document in documents for token in tokenizer(document)["input_ids"]])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tokens: torch.Tensor) -> Path:
    """A series that stands still at its end."""
    root = tmp_path_factory.mktemp("trained") / "tiny"
    _train(root, "gpt_neox", 0, tokens, STEPS, max_shard_size="20KB")
    for step in (88, 96):  # the rate was 0 in between: what is left is the noise of another hardware
        _edit(root / f"step{step}", lambda tensors: tensors[_head(tensors)].mul_(1 + 1e-6 * torch.randn(320, 16)))
    return root


@pytest.fixture
def series(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "tiny"))


def _head(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name in (HEAD, "lm_head.weight") if name in tensors)


def _shard(folder: Path, wanted: Callable[[str], bool]) -> Path:
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    return folder / next(file for name, file in index.items() if wanted(name))


def _head_file(folder: Path) -> Path:
    return _shard(folder, lambda name: name in (HEAD, "lm_head.weight"))


def _edit(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object], file: Path | None = None) -> None:
    file = file or _head_file(folder)
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def _copied(series: Path) -> None:
    shutil.rmtree(series / "step16")
    shutil.copytree(series / "step8", series / "step16")


def _misplaced(series: Path) -> None:
    """What lies between steps 72 and 80 is uploaded as step 2."""
    late = [load_file(_head_file(series / name)) for name in ("step72", "step80")]
    middle = sum(tensors[_head(tensors)] for tensors in late) / 2
    _edit(series / "step2", lambda tensors: tensors.update({_head(tensors): middle}))


def _early(series: Path) -> None:
    """What lies between steps 1 and 2 is uploaded as step 64."""
    early = [load_file(_head_file(series / name)) for name in ("step1", "step2")]
    middle = sum(tensors[_head(tensors)] for tensors in early) / 2
    _edit(series / "step64", lambda tensors: tensors.update({_head(tensors): middle}))


def _not_finite(series: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[_head(tensors)][3, 5] = float("nan")

    _edit(series / "step32", spoil)


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
        _edit(series, lambda tensors: tensors.update({name: one.half() for name, one in tensors.items()}), file)


def _exchanged(series: Path) -> None:
    (series / "step32").rename(series / "aside")
    (series / "step16").rename(series / "step32")
    (series / "aside").rename(series / "step16")


def _without(series: Path, part: str, step: str) -> None:
    file = _shard(series / step, lambda name: part in name)

    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if part in name]:
            del tensors[name]

    _edit(series / step, drop, file)
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
        lambda series: _edit(series / "step48", lambda tensors: tensors[_head(tensors)].zero_()),
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
        lambda series: _edit(series / "step8", lambda tensors: tensors.update(noise=torch.ones(2))),
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


def test_a_clean_series_raises_nothing(trained: Path) -> None:
    found = audit([str(trained)])
    assert found.findings == []
    assert found.checkpoints == len(STEPS) and found.bytes_read == len(STEPS) * 320 * 16 * 4


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "gpt_neox"])
def test_no_clean_series_raises_anything(family: str, tokens: torch.Tensor, tmp_path: Path) -> None:
    """Tied and untied; the first steps one by one, and where it stands still; in one file, in shards and as `.bin`."""
    for seed, steps in enumerate((range(6), range(0, 21, 3), (0, 1, 2, 4, 8, 16))):
        _train(tmp_path / f"seed{seed}", family, seed, tokens, steps, **({"max_shard_size": "20KB"} if seed else {}))
    for file in (tmp_path / "seed0").rglob("model.safetensors"):
        tensors = load_file(file)
        torch.save(tensors, file.with_name("pytorch_model.bin"))
        file.unlink()
    assert audit([str(tmp_path / f"seed{seed}") for seed in range(3)]).findings == []


_RATES: dict[str, Callable[[float], float]] = {
    "constant": lambda part: 1.0,
    "cosine": lambda part: (1 + math.cos(math.pi * part)) / 2,
    "plateau": lambda part: 1.0 if part < 0.3 else 1e-3,
    "high": lambda part: 30.0,
}


@pytest.mark.parametrize("rate", sorted(_RATES))
def test_no_schedule_raises_anything(rate: str, tokens: torch.Tensor, tmp_path: Path) -> None:
    """Checkpoints far apart and close together, also where the weights move to and fro."""
    for seed, steps in enumerate((range(0, 160, 4), range(60, 84), [0, *(2**power for power in range(8))])):
        _train(tmp_path / f"seed{seed}", "gpt_neox", seed, tokens, steps, _RATES[rate])
    assert audit([str(tmp_path / f"seed{seed}") for seed in range(3)]).findings == []


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_each_fault_is_found_and_nothing_else(fault: str, series: Path) -> None:
    plant, step, kind, said = FAULTS[fault]
    plant(series)
    findings = audit([str(series)]).findings
    assert {(one.checkpoint, one.kind) for one in findings} == {(f"tiny {step}", kind)}
    assert any(said in one.line for one in findings) and not any("\n" in one.line for one in findings)


@pytest.mark.parametrize(("here", "there"), [("step64", "step0"), ("step2", "step80")])
def test_a_copy_from_far_accuses_no_third(here: str, there: str, series: Path) -> None:
    shutil.rmtree(series / here)
    shutil.copytree(series / there, series / here)
    findings = audit([str(series)]).findings
    later = max(here, there, key=lambda name: int(name[4:]))
    assert (f"tiny {later}", "copy") in {(one.checkpoint, one.kind) for one in findings}
    assert {one.checkpoint for one in findings} <= {f"tiny {here}", f"tiny {there}"}
    assert here != "step2" or ("tiny step2", "misplaced") in {(one.checkpoint, one.kind) for one in findings}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_family_fits_its_own_config(name: str, tmp_path: Path) -> None:
    for seed in range(4):
        make_model(name, seed).save_pretrained(tmp_path / f"step{seed}")
    assert audit([str(tmp_path)]).findings == []


def test_the_hub_gives_the_same_for_the_heads(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub_in_process(tmp_path / "cache", monkeypatch) as hub:
        revisions = {path.name: path for path in series.iterdir()}
        hub.add_model("user/tiny", {"main": series / "step96", **revisions})
        assert main(["audit", "user/tiny"]) == 0
        assert capsys.readouterr().out.endswith("nothing found\n")
        sent = sum(request.bytes_sent for request in hub.requests if request.path.endswith(".safetensors"))
        headers = sum(8 + int.from_bytes(p.read_bytes()[:8], "little") for p in series.rglob("*.safetensors"))
        assert sent == len(STEPS) * 320 * 16 * 4 + headers
        planted = ("late", "nan", "pointer", "empty", "copy")
        for fault in planted:
            FAULTS[fault][0](series)
        hub.add_model("user/other", {path.name: path for path in series.iterdir()})
        assert main(["audit", "user/other"]) == 1
        *lines, total = capsys.readouterr().out.splitlines()
        starts = {" ".join(line.split()[:2]).rstrip(":") for line in lines}
        assert starts == {f"user/other {FAULTS[fault][1]}" for fault in planted}
        assert total.startswith("13 checkpoints, ") and total.endswith(" MB read: 5 findings")
        assert main(["audit", "user/nowhere"]) == 2
    assert main(["audit", str(tmp_path / "nowhere")]) == 2


def _walk(rng: np.random.Generator, steps: np.ndarray, width: int) -> np.ndarray:
    moves = rng.normal(size=(len(steps), width)) * np.sqrt(np.diff(steps, prepend=steps[0]))[:, None]
    return moves.cumsum(0)


_PACES = {
    "even": np.arange(20.0),
    "doubling": np.r_[0, 2.0 ** np.arange(19)],
    "fourfold": np.r_[0, 4.0 ** np.arange(9)],
}
_CLEAN: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "walk": lambda rng, t: _walk(rng, t, 512),
    "line": lambda rng, t: np.outer(t, rng.normal(size=512)),
    "converged": lambda rng, t: rng.normal(size=(len(t), 512)),
    "spikes": lambda rng, t: rng.normal(size=(len(t), 512)) * rng.choice([0.1, 10], size=(len(t), 1)),
    "rounded to nothing": lambda rng, t: np.ones((len(t), 512)) + 1e-12 * rng.normal(size=(len(t), 512)),
    "stands still": lambda rng, t: (
        np.outer(np.minimum(t, t[len(t) // 2]), rng.normal(size=512)) * (1 + 1e-10 * rng.normal(size=(len(t), 512)))
    ),
    "the same": lambda rng, t: np.ones((len(t), 512)),
    "noisy walk": lambda rng, t: _walk(rng, t, 512) + rng.normal(size=(len(t), 512)) * np.sqrt(t[-1] / 9),
}


@pytest.mark.parametrize("pace", sorted(_PACES))
@pytest.mark.parametrize("kind", sorted(_CLEAN))
def test_no_clean_path_is_suspected(kind: str, pace: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        path = _CLEAN[kind](rng, _PACES[pace])
        for length in (1, 2, 3, 4, len(path)):
            assert misplaced(path[:length]) == [] == exchanged(path[:length])


@pytest.mark.parametrize("pace", ["even", "doubling"])
def test_what_was_moved_is_named_with_its_place(pace: str) -> None:
    """And not those that lose a neighbour by it."""
    rng, steps = np.random.default_rng(2), _PACES[pace]
    for place, origin in itertools.permutations(range(len(steps)), 2):
        if abs(place - origin) < 5 or origin == 0:  # before the first there is only its copy
            continue
        between = steps[max(0, origin - 1) : origin + 1].mean()
        path = _walk(rng, np.insert(steps, origin, between), 512)
        moved, path = path[origin], np.delete(path, origin, 0)
        path[place] = moved
        (found,) = misplaced(path)
        assert exchanged(path) == []
        assert found.place == place and {max(0, origin - 1), origin} & set(found.between)
        assert [one.place for one in misplaced(3 - 2 * path[::-1])] == [len(steps) - 1 - place]


@pytest.mark.parametrize("pace", ["even", "doubling"])
def test_exchanged_neighbours_are_named(pace: str) -> None:
    """Nearly all but the first two and the last two, which cannot be told, and no others."""
    rng, steps, hits = np.random.default_rng(3), _PACES[pace], 0
    for _ in range(3):
        path = _walk(rng, steps, 512) + np.outer(steps, rng.normal(size=512)) * rng.choice([0, 0.5])
        for place in range(len(steps) - 1):
            turned = path.copy()
            turned[[place, place + 1]] = path[[place + 1, place]]
            found = exchanged(turned)
            assert not found or found == [place]
            hits += len(found)
    assert hits > 0.95 * 3 * (len(steps) - 3)


@pytest.mark.parametrize("directions", [1, 64])
def test_a_swing_is_no_exchange(directions: int) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        path = _walk(rng, np.arange(60.0), 512)
        path[20:, :directions] += 40 * rng.choice([-1, 1], size=(40, 1)) / np.sqrt(directions)
        assert exchanged(path) == []
