"""A folder of `checkpoint-<N>/`, as transformers' Trainer leaves it, is a series like one of `step<N>/`."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Trainer, TrainingArguments

from lm_probe.cli import main
from lm_probe.model_adapters import locate, step_of
from lm_probe.sweeps import RunStore, UserError, plan
from tests.conftest import make_model

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Trainer that is given no tokenizer saves none."""
    folder = tmp_path_factory.mktemp("trained") / "out"
    rows = torch.randint(0, 320, (8, 12), generator=torch.Generator().manual_seed(3))
    Trainer(
        model=make_model("gpt_neox"),
        args=TrainingArguments(
            output_dir=str(folder), max_steps=12, per_device_train_batch_size=4, save_strategy="steps", save_steps=4,
            learning_rate=1e-2, report_to="none", disable_tqdm=True, use_cpu=True,
        ),
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
    ).train()  # fmt: skip
    assert (folder / "checkpoint-4/optimizer.pt").is_file() and (folder / "checkpoint-4/training_args.bin").is_file()
    return folder


@pytest.fixture
def out(bare: Path, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    shutil.copytree(bare, folder)
    for checkpoint in folder.iterdir():
        tokenizer.save_pretrained(checkpoint)
    return folder


def test_it_is_planned_by_step(bare: Path) -> None:
    def of(*sources: str, revisions: str | None = None) -> list[tuple[str, str | None, int | None]]:
        return [(visit.model, visit.revision, visit.step) for visit in plan(sources, revisions)]

    whole = [("out", f"checkpoint-{step}", step) for step in (4, 8, 12)]
    assert of(str(bare)) == of(str(bare), revisions="all") == whole
    assert of(*(f"{bare}/checkpoint-{step}" for step in (12, 4))) == [whole[0], whole[2]]
    assert of(str(bare), revisions="8,step12") == of(str(bare), revisions="8::4") == whole[1:]
    assert of(str(bare), revisions="checkpoint-4") == whole[:1]
    assert step_of("checkpoint-500") == 500 and step_of("my-checkpoint-3") is None
    with pytest.raises(UserError, match="is a series of 3 checkpoints: give the folder of one"):
        locate(str(bare))
    with pytest.raises(UserError, match="has no checkpoint step5: found checkpoint-4, checkpoint-8, checkpoint-12"):
        plan([str(bare)], "5")


def test_two_kinds_and_weights_beside_them_are_told(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(out / "checkpoint-12/config.json", out)
    shutil.copy(out / "checkpoint-12/model.safetensors", out)
    assert len(plan([str(out)])) == 3
    assert f"{out} has weights of its own beside its series: nothing says of which step" in capsys.readouterr().err
    shutil.copytree(out / "checkpoint-4", out / "step2")
    with pytest.raises(UserError) as raised:
        plan([str(out)])
    assert str(raised.value) == (
        f"{out} holds checkpoint-12 and step2: two series; give {out}/checkpoint-* or {out}/step*"
    )
    assert len(plan([str(path) for path in out.glob("checkpoint-*")])) == 3
    shutil.copytree(out / "checkpoint-4", out / "step4")
    with pytest.raises(UserError, match="holds both checkpoint-4 and step4: rename or remove one"):
        plan([str(out)])


@pytest.mark.parametrize("reference", ["checkpoint-8", "step8", "8"])
def test_it_is_swept_with_a_reference(
    reference: str, out: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    asked = ["sweep", str(out), "--out", str(run), "--probes", "geometry,head_spectrum", "--tasks", "none"]
    asked += ["--text", str(text_file), "--tokens", "200", "--context", "32", "--device", "cpu", "--no-report"]
    assert main([*asked, "--reference", "step10"]) == 2
    assert "step10 is not among the checkpoints of" in (said := capsys.readouterr().err)
    assert said.strip().endswith(f"{out}: give one of checkpoint-4, checkpoint-8, checkpoint-12")
    assert main([*asked, "--reference", reference]) == 0
    with RunStore(run) as store:
        values = store.values()
    assert set(zip(values.model, values.revision, values.step, strict=True)) == {
        ("out", f"checkpoint-{step}", step) for step in (4, 8, 12)
    }
    cka = values[(values.metric == "cka") & (values.layer == 2)]
    assert set(cka.step) == {4, 8, 12} and (cka[cka.step == 8].value - 1).abs().max() < 1e-6


def test_it_is_audited(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(out)]) == 0
    assert "3 checkpoints" in capsys.readouterr().out
    shutil.copy(out / "checkpoint-4/model.safetensors", out / "checkpoint-8")
    assert main(["audit", str(out)]) == 1
    assert "out checkpoint-8: " in capsys.readouterr().out


def test_what_needs_a_tokenizer_is_said_before_as_while_sweeping(
    bare: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["sweep", str(bare), "--out", str(tmp_path / "run"), "--probes", "loss,anisotropy,head_spectrum"]
    asked += ["--tasks", "count_query_m5", "--text", str(text_file), "--tokens", "200", "--context", "32"]
    asked += ["--device", "cpu", "--no-report"]
    assert main([*asked, "--dry-run"]) == 1
    lines = capsys.readouterr().out.splitlines()
    why = "the checkpoint has no tokenizer, which text and tasks need: "
    (line,) = [line for line in lines if why in line]
    assert line.startswith(
        f"out checkpoint-4 ... checkpoint-12, 3 checkpoints: each 0 of 4 finished; 3 cannot be measured: {why}"
    )
    total = "0 of 12 measurements finished; 9 cannot be measured, for want of a tokenizer"
    assert any(total in line for line in lines)
    assert main(asked) == 1
    said = capsys.readouterr()
    assert total in said.err and why in "".join(said)
    with RunStore(tmp_path / "run") as store:
        assert set(store.values().probe) == {"head_spectrum"} and len(store.failures()) == 9
