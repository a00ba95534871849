"""The identity audit: each kind of fault is found in a series that was trained, and none in a clean one."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from lm_probe.cli import main
from lm_probe.sweeps import audit
from tests.audit_series import FAULTS, STEPS, edit, head_name, train
from tests.conftest import CONFIGS, make_model
from tests.hub_in_process import hub_in_process


@pytest.fixture(scope="module")
def tokens(documents: list[str], tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    return torch.tensor([token for document in documents for token in tokenizer(document)["input_ids"]])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tokens: torch.Tensor, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A series that stands still at its end."""
    root = tmp_path_factory.mktemp("trained") / "tiny"
    train(root, "gpt_neox", 0, tokens, STEPS, max_shard_size="20KB")
    for step in STEPS:
        tokenizer.save_pretrained(root / f"step{step}")
    for step in (88, 96):  # the rate was 0 in between: what is left is the noise of another hardware
        edit(root / f"step{step}", lambda tensors: tensors[head_name(tensors)].mul_(1 + 1e-6 * torch.randn(320, 16)))
    return root


@pytest.fixture
def series(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "tiny"))


def test_a_clean_series_raises_nothing(trained: Path) -> None:
    found = audit([str(trained)])
    assert found.findings == []
    assert found.checkpoints == len(STEPS) and found.bytes_read == len(STEPS) * 320 * 16 * 4


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "gpt_neox"])
def test_no_clean_series_raises_anything(family: str, tokens: torch.Tensor, tmp_path: Path) -> None:
    """Tied and untied; the first steps one by one, and where it stands still; in one file, in shards and as `.bin`."""
    for seed, steps in enumerate((range(6), range(0, 21, 3), (0, 1, 2, 4, 8, 16))):
        train(tmp_path / f"seed{seed}", family, seed, tokens, steps, **({"max_shard_size": "20KB"} if seed else {}))
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
        train(tmp_path / f"seed{seed}", "gpt_neox", seed, tokens, steps, _RATES[rate])
    assert audit([str(tmp_path / f"seed{seed}") for seed in range(3)]).findings == []


def test_settings_of_a_tokenizer_that_decide_no_token_are_no_finding(series: Path) -> None:
    file = series / "step48" / "tokenizer_config.json"
    silent = {"model_max_length": 77, "chat_template": "{{ messages }}", "padding_side": "left"}
    file.write_text(json.dumps(json.loads(file.read_text()) | silent))
    assert audit([str(series)]).findings == []


def test_the_file_that_a_tokenizer_lacks_is_named(series: Path) -> None:
    settings, tokens = "tokenizer_config.json", "tokenizer.json"
    for step, names in ((8, [settings]), (16, [tokens]), (32, [settings, tokens])):
        for name in names:
            (series / f"step{step}" / name).unlink()
    findings = audit([str(series)]).findings
    lines = {step: " | ".join(one.line for one in findings if one.revision == f"step{step}") for step in STEPS}
    assert {step for step, line in lines.items() if line} == {8, 16, 32}
    assert "makes other tokens" in lines[8] and "; it lacks tokenizer_config.json: copy that of tiny step0" in lines[8]
    assert "cannot be loaded" in lines[16] and "it lacks tokenizer.json, unlike the series'" in lines[16]
    assert "it has no tokenizer, unlike" in lines[32] and f"copy {tokens} and {settings} of tiny step0" in lines[32]


@pytest.mark.parametrize(
    ("names", "told", "said"),
    [
        (["tokenizer.json"], {0, 1, 2, 4}, "it lacks tokenizer.json, unlike tiny step8: copy that of tiny step8, "),
        (["tokenizer_config.json"], {8}, "; missing there is tokenizer_config.json: copy it to them, or the tokenizer"),
        (["tokenizer.json", "tokenizer_config.json"], {8}, ": copy tokenizer.json and tokenizer_config.json to them, "),
    ],
)
def test_the_file_that_most_tokenizers_lack_is_named(
    names: list[str], told: set[int], said: str, series: Path, tmp_path: Path
) -> None:
    for step in (0, 1, 2, 4, 8):
        shutil.copytree(series / f"step{step}", tmp_path / "few" / "tiny" / f"step{step}")
        for name in names if step < 8 else ():
            (tmp_path / "few" / "tiny" / f"step{step}" / name).unlink()
    findings = audit([str(tmp_path / "few" / "tiny")]).findings
    assert {one.step for one in findings} == {one.step for one in findings if said in one.line} == told


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
