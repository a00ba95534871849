"""Weights on the Hub: the values of a whole download, for the bytes of what is read, whatever the network does."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from lm_probe.cli import main
from lm_probe.model_adapters import NO_TOKENIZER, UserError, Weights, open_weights
from lm_probe.sweeps import Fetch, RunStore, SweepConfig, dry_run, sweep
from tests.conftest import make_model
from tests.loopback_hub import LoopbackHub

FORMATS = ("one", "sharded", "bin", "sharded-bin", "legacy-bin")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model in every format."""
    root = tmp_path_factory.mktemp("formats")
    model = make_model("gpt_neox")
    model.save_pretrained(root / "one")
    model.save_pretrained(root / "sharded", max_shard_size="20KB")
    tensors = load_file(root / "one" / "model.safetensors")
    for name in ("bin", "legacy-bin", "sharded-bin"):
        (root / name).mkdir()
        shutil.copy(root / "one" / "config.json", root / name)
    torch.save(tensors, root / "bin" / "pytorch_model.bin")
    torch.save(tensors, root / "legacy-bin" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    where = {}
    for number, names in enumerate((sorted(tensors)[:9], sorted(tensors)[9:])):
        file = f"pytorch_model-{number}.bin"
        torch.save({name: tensors[name] for name in names}, root / "sharded-bin" / file)
        where |= dict.fromkeys(names, file)
    (root / "sharded-bin" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    return root


def _sent(hub: LoopbackHub) -> int:
    """Bytes of weight files that the server handed out."""
    return sum(request.bytes_sent for request in hub.requests if request.path.endswith((".safetensors", ".bin")))


def _open(hub: LoopbackHub, folder: Path, said: list[str] | None = None) -> Weights:
    hub.add_model("user/tiny", {"main": folder})
    return open_weights("user/tiny", say=print if said is None else said.append)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_tensor_is_that_of_the_file(kind: str, folders: Path, hub: LoopbackHub) -> None:
    said: list[str] = []
    weights, expected = _open(hub, folders / kind, said), load_file(folders / "one" / "model.safetensors")
    assert weights.names() == sorted(expected)
    for name, tensor in expected.items():
        read = weights.read(name)
        assert read.dtype == tensor.dtype and torch.equal(read, tensor), name
    local = Weights(folders / kind)
    assert {name: tuple(listed) for name, listed in weights.listed().items()} == local.listed()
    assert torch.equal(weights.projection("key", 1), local.projection("key", 1))
    assert weights.bytes_read == _sent(hub) > 0
    assert bool(said) == (kind == "legacy-bin")


@pytest.mark.parametrize("kind", ["one", "sharded", "bin", "sharded-bin"])
def test_the_head_costs_the_head(kind: str, folders: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    weights = _open(hub, folders / kind)
    head = weights.head()
    assert weights.head_dtype() == head.dtype and torch.equal(head, Weights(folders / kind).head())
    assert torch.equal(weights.head(), head)
    directory = 24_000 if "bin" in kind else 9_000
    assert head.nbytes < weights.bytes_read == _sent(hub) <= head.nbytes + directory
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".safetensors", ".bin")]


@pytest.mark.parametrize("kind", ["one", "bin"])
def test_one_reader_does_not_see_what_another_changes(kind: str, folders: Path, hub: LoopbackHub) -> None:
    weights = _open(hub, folders / kind)
    other = weights.head()
    weights.head().zero_()
    for head in (other, weights.head()):
        assert torch.equal(head, Weights(folders / kind).head())


@pytest.mark.parametrize("kind", ["429", "503", "cut", "stall", "short", "long", "shifted"])
def test_what_passes_costs_only_time(kind: str, folders: Path, hub: LoopbackHub, no_pauses: list[float]) -> None:
    weights = _open(hub, folders / "one")
    weights.names()
    hub.fail("model.safetensors", kind, 2)
    assert torch.equal(weights.head(), Weights(folders / "one").head())
    assert len([request for request in hub.requests if request.path.endswith(".safetensors")]) == 2 + 3
    if kind in ("cut", "stall"):
        spans = [request.range for request in hub.requests[-3:]]
        assert len(set(spans)) == 3, "went on where it stopped"
    assert kind not in ("429", "503") or no_pauses


@pytest.mark.parametrize("kind", ["429", "503", "short", "long", "shifted"])
def test_what_stays_is_given_up(kind: str, folders: Path, hub: LoopbackHub, no_pauses: list[float]) -> None:
    weights = _open(hub, folders / "one")
    weights.names()
    before = len(hub.requests)
    hub.fail("model.safetensors", kind, float("inf"))
    with pytest.raises(UserError, match=r"user/tiny.*(did not answer|do not arrive)") as raised:
        weights.head()
    assert "\n" not in str(raised.value)
    assert 5 <= len(hub.requests) - before <= 7 and 5 <= len(no_pauses) <= 7


@pytest.mark.parametrize("times", [1, float("inf")])
@pytest.mark.parametrize("kind", ["one", "bin"])
def test_a_server_without_ranges(kind: str, times: float, folders: Path, hub: LoopbackHub) -> None:
    said: list[str] = []
    hub.fail(".safetensors" if kind == "one" else ".bin", "whole", times)
    weights = _open(hub, folders / kind, said)
    assert torch.equal(weights.head(), Weights(folders / kind).head())
    assert weights.names() == Weights(folders / kind).names()
    (line,) = said
    assert "the server sends whole files only" in line and "MB" in line


def test_ranges_that_end_midway(folders: Path, hub: LoopbackHub) -> None:
    weights = _open(hub, folders / "one", said := [])
    weights.names()
    hub.fail("model.safetensors", "whole", 1)
    assert torch.equal(weights.head(), Weights(folders / "one").head())
    assert len(said) == 1


def test_storage_on_another_port_gets_the_range_and_not_the_token(folders: Path, hub: LoopbackHub) -> None:
    hub.redirect()
    weights = _open(hub, folders / "sharded")
    assert torch.equal(weights.head(), Weights(folders / "sharded").head())
    assert hub.tokens and set(hub.tokens) == {("storage", None)}
    assert weights.bytes_read == _sent(hub) < 2 * weights.head().nbytes
    hub.tokens.clear()
    hub._redirects = False
    open_weights("user/tiny").head()
    assert set(hub.tokens) == {("hub", "Bearer hf_secret")}


def test_what_is_in_the_cache_is_read_there(folders: Path, hub: LoopbackHub) -> None:
    from huggingface_hub import snapshot_download

    head = _open(hub, folders / "one").head()
    snapshot_download("user/tiny")
    hub.forget_requests()
    weights = open_weights("user/tiny")
    assert torch.equal(weights.head(), head)
    assert _sent(hub) == 0 and weights.bytes_read == head.nbytes


def test_what_a_bin_file_may_hold(hub: LoopbackHub, tmp_path: Path) -> None:
    """Views, shared storages, parameters, every type, nothing at all, and a state dict's own metadata."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = torch.nn.Linear(3, 2).state_dict()
    state |= {
        "base": base,
        "turned": base.T,
        "part": base[1:3, ::2],
        "one": torch.tensor(3.5),
        "none": torch.empty(0, 4),
    }
    state |= {str(kind): torch.arange(7).to(kind) for kind in (torch.bfloat16, torch.float16, torch.int64, torch.bool)}
    state["parameter"] = torch.nn.Parameter(base.clone())
    (tmp_path / "model").mkdir()
    torch.save(state, tmp_path / "model" / "pytorch_model.bin")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt_neox"}')
    weights = _open(hub, tmp_path / "model", said := [])
    assert weights.names() == sorted(state)
    for name, tensor in state.items():
        assert weights.read(name).dtype == tensor.dtype and torch.equal(weights.read(name), tensor), name
    assert not said


def test_a_bin_file_runs_no_code(hub: LoopbackHub, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / "model").mkdir()
    torch.save({"embed_out.weight": torch.ones(2, 2), "more": Bomb()}, tmp_path / "model" / "pytorch_model.bin")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt_neox"}')
    weights = _open(hub, tmp_path / "model", said := [])
    with pytest.raises(UserError, match="holds pickled code beside its tensors"):
        weights.head()
    assert "more than tensors" in said[0] and not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("keep", [0, 5, 300, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["one", "bin"])
def test_a_partial_upload_is_named(kind: str, keep: float, folders: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders / kind, tmp_path / "model"))
    file = next(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(UserError, match="is damaged or truncated"):
        _open(hub, folder).head()


def test_an_index_that_lies_is_named(folders: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders / "sharded", tmp_path / "model"))
    index = folder / "model.safetensors.index.json"
    listed = json.loads(index.read_text())
    files = sorted(set(listed["weight_map"].values()))
    name = Weights(folder).head_name()
    other = next(file for file in files if file != listed["weight_map"][name])
    listed["weight_map"][name] = other
    index.write_text(json.dumps(listed))
    with pytest.raises(UserError, match=f"has no tensor {name} in {other}, where its index says"):
        _open(hub, folder).head()
    (folder / files[0]).unlink()
    with pytest.raises(UserError, match=f"user/tiny@main lacks {files[0]}, which model.safetensors.index.json names"):
        _open(hub, folder)


_SHAPE = dict(vocab_size=3144, hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8)


@pytest.fixture(scope="module")
def billion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty revisions in the shape of pythia-1b at a sixteenth of its width, with two of its blocks, sharded."""
    root = tmp_path_factory.mktemp("billion")
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**_SHAPE)).to(torch.float16)
    for step in range(20):
        with torch.no_grad():
            model.get_output_embeddings().weight.add_(0.01 * torch.randn(3144, 128))
        model.save_pretrained(root / f"step{step}", max_shard_size="900KB")
    return root


def test_heads_of_twenty_revisions_cost_the_heads(billion: Path, hub: LoopbackHub) -> None:
    revisions = {path.name: path for path in sorted(billion.iterdir())}
    hub.add_model("user/billion", revisions)
    hub.redirect()
    heads = headers = 0
    for name, folder in revisions.items():
        weights = open_weights("user/billion", name)
        head = weights.head()
        assert torch.equal(
            head, GPTNeoXForCausalLM.from_pretrained(folder, dtype="auto").get_output_embeddings().weight
        )
        heads += head.nbytes
        (file,) = {path.name for path in folder.glob("*.safetensors") if weights.head_name() in load_file(path)}
        headers += 8 + int.from_bytes((folder / file).read_bytes()[:8], "little")
    assert heads < _sent(hub) <= 1.02 * heads + headers
    assert _sent(hub) == heads + headers


@pytest.mark.parametrize("matrices", [1, 2])
def test_a_sweep_of_weights_downloads_no_model(matrices: int, billion: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    """The head of each, once, though every later step is compared with the first; the embedding where it is asked."""
    revisions = {name: billion / name for name in ("step0", "step3", "step7")}
    hub.add_model("user/billion", revisions)
    asked = dict(probes=("head_spectrum", "embedding_spectrum")[:matrices], tasks=(), text=None)
    summary = sweep(SweepConfig(("user/billion",), tmp_path / "hub", revisions="all", **asked), silent=True)
    assert not summary.failures
    one = matrices * 3144 * 128 * 2
    headers = [8 + int.from_bytes(file.read_bytes()[:8], "little") for file in _weight_files(billion, *revisions)]
    assert _sent(hub) == 3 * one + sum(headers)  # the audit reads all headers, and the head for both
    sweep(SweepConfig((str(billion),), tmp_path / "here", revisions="0,3,7", **asked), silent=True)
    with RunStore(tmp_path / "hub") as store, RunStore(tmp_path / "here") as local:
        drop = ["model"]
        assert store.values().drop(columns=drop).equals(local.values().drop(columns=drop))
        assert store.audit().empty and local.audit().empty
        read = store.measurements().bytes_read.sum() + store.audited().bytes_read.item()
        assert read == _sent(hub)


def _weight_files(root: Path, *revisions: str) -> list[Path]:
    return [file for name in revisions for file in (root / name).glob("*.safetensors")]


def test_a_dry_run_says_what_the_sweep_then_does(
    billion: Path, hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add_model("user/billion", {name: billion / name for name in ("step0", "step3", "step7")})
    config = SweepConfig(("user/billion",), tmp_path / "run", revisions="all", probes=("head_spectrum",), tasks=())
    planned = list(dry_run(config))
    read, files = _sent(hub), {path.name: path.stat().st_size for path in (billion / "step0").glob("*.safetensors")}
    assert read < 6_000 and not (tmp_path / "run").exists()
    assert [one.visit.name for one in planned] == ["user/billion step0", "user/billion step3", "user/billion step7"]
    assert all(one.fetch.size == sum(files.values()) and not one.fetch.whole for one in planned)
    sweep(replace(config, revisions="0,3"), silent=True)
    assert sum(one.fetch.bytes + one.fetch.audit for one in planned[:2]) == _sent(hub) - read
    again = list(dry_run(config))
    assert [one.finished for one in again] == [1, 1, 0]
    assert [one.fetch for one in again[:2]] == [Fetch(), Fetch()] and again[2].fetch == planned[2].fetch
    asked = ["sweep", "user/billion", "--revisions", "all", "--out", str(tmp_path / "run"), "--tasks", "none"]
    assert main([*asked, "--probes", "head_spectrum,loss", "--dry-run"]) == 1
    _, _, *lines, total, estimate = capsys.readouterr().out.splitlines()
    whole = f"{sum(files.values()) / 1e6:,.1f}"
    fetched = f"to fetch {whole} MB of {whole} from {len(files)} weight files (all)"
    assert lines == [
        f"user/billion step0 and step3: each 1 of 2 finished, {fetched}; 1 cannot be measured: {NO_TOKENIZER}",
        f"user/billion step7: 0 of 2 finished, {fetched}, before that 0.8 MB for the audit; 1 cannot be measured: "
        f"{NO_TOKENIZER}",
    ]
    without = "3 cannot be measured, for want of a tokenizer"
    assert total.startswith(f"3 checkpoints, 2 of 6 measurements finished; {without}; to fetch")
    assert estimate.startswith("estimated time: less than a minute of measuring (as this run has taken so far)")
    assert estimate.endswith("of fetching at 100 Mbit/s, which is assumed; nothing was started")
    assert main([*asked[:-2], "--probes", "loss", "--tasks", "none", "--revisions", "step9", "--dry-run"]) == 2


def test_a_dry_run_of_folders_fetches_nothing(series: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(series, tmp_path / "tiny"))
    config = SweepConfig((str(folder),), tmp_path / "run", probes=("head_spectrum",), tasks=())
    assert [(one.visit.name, *one[1:3]) for one in dry_run(config)] == [
        (f"tiny step{step}", 1, 0) for step in (0, 1, 8)
    ]
    sweep(config, silent=True)
    (folder / "step1" / "model.safetensors").write_bytes(b"")
    first, second, third = dry_run(config)
    assert (first.finished, third.finished) == (1, 1) and "damaged or truncated" in (second.problem or "")


def test_a_sweep_that_needs_the_model_downloads_it_once(
    folders: Path, hub: LoopbackHub, series: Path, tmp_path: Path
) -> None:
    hub.add_model("user/tiny", {name: series / name for name in ("step0", "step8")})
    config = SweepConfig(
        ("user/tiny",),
        tmp_path / "run",
        revisions="all",
        probes=("loss", "head_spectrum", "weight_spectra"),
        tasks=(),
        tokens=400,
        context=32,
    )
    files = _weight_files(series, "step0", "step8")
    planned = list(dry_run(config))
    audit, whole = sum(one.fetch.audit for one in planned), sum(file.stat().st_size for file in files)
    headers = sum(8 + int.from_bytes(file.read_bytes()[:8], "little") for file in files)
    assert audit == 2 * 320 * 16 * 4 + headers and sum(one.fetch.bytes for one in planned) == whole
    hub.forget_requests()
    assert not sweep(replace(config, audit=False), silent=True).failures
    assert _sent(hub) == whole
    # What is in the cache is looked at there; of a new revision the head comes first, once for all sweeps.
    assert not sweep(config, silent=True).failures
    assert _sent(hub) == whole
    hub.add_model("user/other", {name: series / name for name in ("step0", "step8")})
    hub.forget_requests()
    for probes in (("loss",), ("loss", "head_spectrum")):
        assert not sweep(replace(config, sources=("user/other",), probes=probes), silent=True).failures
        assert _sent(hub) == whole + audit


def test_a_tied_head_is_compared_with_the_embedding(hub: LoopbackHub, tmp_path: Path) -> None:
    make_model("gpt2").save_pretrained(tmp_path / "model")
    weights = _open(hub, tmp_path / "model")
    assert torch.equal(weights.head(), Weights(tmp_path / "model").embedding())
    assert _sent(hub) <= weights.head().nbytes + 9_000
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    other = {**tensors, "lm_head.weight": tensors["transformer.wte.weight"] + 1}
    save_file(other, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"user/tiny@main holds lm_head.weight and another transformer.wte.weight"):
        _open(hub, tmp_path / "model").head()
