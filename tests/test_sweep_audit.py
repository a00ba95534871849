"""The audit in front of a sweep: what it finds is kept and told, copies are measured once, and the report says so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm_probe.cli import main
from lm_probe.reports import write_report
from lm_probe.sweeps import RunStore, Summary, SweepConfig, _sweep_audit, read_samples, sweep
from tests.conftest import make_model
from tests.hub_in_process import hub_in_process

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def walk(series: Path, tmp_path: Path) -> Path:
    """Eight checkpoints whose heads walk away from the first."""
    folder = tmp_path / "walk"
    model = make_model("gpt_neox")
    torch.manual_seed(0)
    for step in range(8):
        model.get_output_embeddings().weight.data += torch.randn(320, 16)
        model.save_pretrained(folder / f"step{step}")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(series / "step8" / name, folder / f"step{step}")
    return folder


def _sweep(source: Path | str, out: Path, **changed: Any) -> Summary:
    asked: dict[str, Any] = dict(probes=("head_spectrum",), tasks=(), revisions="all")
    return sweep(SweepConfig(sources=(str(source),), out=out, **{**asked, **changed}), silent=True)


def _spoil(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _plant(walk: Path) -> None:
    shutil.copytree(walk / "step4", walk / "step5", dirs_exist_ok=True)
    _spoil(walk / "step1", lambda tensors: tensors["embed_out.weight"][3].fill_(float("nan")))
    file = walk / "step2" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


def test_findings_are_told_kept_and_reported_and_the_sweep_goes_on(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _plant(walk)
    asked = ["sweep", str(walk), "--out", str(tmp_path / "run"), "--probes", "head_spectrum", "--tasks", "none"]
    assert main(asked) == 1
    printed = capsys.readouterr()
    assert "1 copied from the same weights, 2 failed; the audit found 3 things, see the report" in printed.out
    told = [line for line in printed.err.splitlines() if line.startswith("walk step")]
    assert len([line for line in told if line.startswith("walk step2: ")]) == 1, "a failure repeats what was found"
    assert any("step1: its head holds NaN or Inf" in line for line in told)
    with RunStore(tmp_path / "run") as store:
        found = store.audit()
        assert found[["revision", "step", "kind", "twin"]].fillna("").to_numpy().tolist() == [
            ["step1", 1, "not finite", ""],
            ["step2", 2, "unreadable", ""],
            ["step5", 5, "copy", "step4"],
        ]
        assert store.audited().to_numpy().tolist() == [["walk", 8, 7 * 320 * 16 * 4]]
        assert set(store.values().step) == {0, 3, 4, 5, 6, 7}
    said = (tmp_path / "run" / "report.md").read_text()
    section = said.split("## Audit\n")[1].split("\n## ")[0]
    assert "of 8 checkpoints" in section and "3 findings" in section
    assert "| walk | 5 | copy | it holds the same weights and config as walk step4, bit for bit" in section
    assert "walk step 5 was not measured: it holds the same as step4" in section
    assert (tmp_path / "run" / "tables" / "audit.csv").read_text().count("\n") == 4


def test_a_mended_series_is_clean_and_a_run_without_audit_has_no_section(walk: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(walk, tmp_path / "whole"))
    _plant(walk)
    assert len(_sweep(walk, tmp_path / "run").findings) == 3
    shutil.copytree(whole, walk, dirs_exist_ok=True)
    assert _sweep(walk, tmp_path / "run").findings == []
    with RunStore(tmp_path / "run") as store:
        assert store.audit().empty and len(store.audited()) == 1
    assert "8 checkpoints were looked at" in write_report([tmp_path / "run"]).read_text()
    assert _sweep(walk, tmp_path / "none", audit=False).findings == []
    with RunStore(tmp_path / "none") as store:
        assert store.audited().empty
    assert "## Audit" not in write_report([tmp_path / "none"]).read_text()


def test_what_was_looked_at_is_not_read_again(walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _plant(walk)
    before = _sweep(walk, tmp_path / "run").findings
    looked: list[str | None] = []
    look = _sweep_audit.look
    monkeypatch.setattr(_sweep_audit, "look", lambda visit, *how: (looked.append(visit.revision), look(visit, *how))[1])
    assert _sweep(walk, tmp_path / "run").findings == before and looked == ["step2"]
    (walk / "step3" / "config.json").touch()
    assert _sweep(walk, tmp_path / "run").findings == before and looked == ["step2", "step2", "step3"]


def test_a_head_at_the_wrong_step_is_found_from_what_is_kept(walk: Path, tmp_path: Path) -> None:
    _sweep(walk, tmp_path / "run", revisions="0,1,2,3,5,6,7")
    heads = [load_file(walk / f"step{step}" / "model.safetensors")["embed_out.weight"] for step in (1, 2)]
    _spoil(walk / "step6", lambda tensors: tensors.update({"embed_out.weight": sum(heads) / 2}))
    (found,) = _sweep(walk, tmp_path / "run").findings
    assert (found.checkpoint, found.kind) == ("walk step6", "misplaced") and "step1 and step2" in found.line


def _shown(run: Path, revision: str) -> Any:
    with RunStore(run) as store:
        values = store.values()
    return values[values.revision == revision].drop(columns=["revision", "step"]).reset_index(drop=True)


def test_a_copy_is_measured_once(walk: Path, tmp_path: Path, text_file: Path) -> None:
    shutil.copytree(walk / "step4", walk / "step5", dirs_exist_ok=True)
    asked: dict[str, Any] = dict(
        probes=("loss", "anisotropy", "head_spectrum"), tasks=("count_query_m5",), task_documents=2,
        text=str(text_file), tokens=300, context=32, revisions="4,5,6",
    )  # fmt: skip
    done = _sweep(walk, tmp_path / "run", **asked)
    assert (done.measured, done.copied, done.failures) == (8, 4, [])
    assert _shown(tmp_path / "run", "step5").equals(_shown(tmp_path / "run", "step4"))
    with RunStore(tmp_path / "run") as store:
        made = store.measurements().set_index("revision")
        spectra = {address["revision"]: vector.tolist() for address, vector in store.vectors("singular_values")}
    assert [details.get("copied_from") for details in made.loc["step5"].details] == ["step4"] * 4
    assert made.loc["step5"].seconds.sum() == 0 and made.loc["step4"].seconds.sum() > 0
    assert spectra["step5"] == spectra["step4"] != spectra["step6"]
    copied, origin = (read_samples(tmp_path / "run", "walk", name, "count_query_m5") for name in ("step5", "step4"))
    assert copied.equals(origin) and len(origin) == 2
    again = _sweep(walk, tmp_path / "run", **asked)
    assert (again.measured, again.copied, again.finished_before) == (0, 0, 12)
    # An equal head is not enough, nor are weights that another tokenizer feeds.
    _spoil(walk / "step6", lambda tensors: tensors.update(load_file(walk / "step4" / "model.safetensors")))
    _spoil(walk / "step6", lambda tensors: tensors["gpt_neox.final_layer_norm.bias"].add_(1))
    tokens = walk / "step5" / "tokenizer.json"
    tokens.write_text(json.dumps(json.loads(tokens.read_text()) | {"normalizer": {"type": "Lowercase"}}))
    other = _sweep(walk, tmp_path / "other", **asked)
    assert (other.measured, other.copied) == (12, 0)
    assert [(one.checkpoint, one.kind) for one in other.findings] == [
        ("walk step5", "tokenizer"),
        ("walk step5", "same head"),
        ("walk step6", "same head"),
    ]


def test_a_tokenizer_that_does_not_load_is_told_by_the_audit(
    walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (walk / "step4" / "tokenizer.json").write_text('{"model": 7}')
    names = [f"step{step}" for step in (3, 4, 5)]
    run = tmp_path / "run"
    with hub_in_process(tmp_path / "cache", monkeypatch) as hub:
        hub.add_model("user/walk", {name: walk / name for name in names})
        asked = ["sweep", "user/walk", "--revisions", "all", "--out", str(run), "--probes", "loss", "--tasks", "none"]
        assert main([*asked, "--tokens", "64", "--context", "16", "--no-report"]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "tokenizer" in line]
    assert len(told) == 2 and "user/walk step4: its tokenizer cannot be loaded (" in told[0]
    assert "copy it again, leave it out with --revisions" in told[0] and "user/walk step4: the tokenizer in " in told[1]
    with RunStore(run) as store:
        assert [*store.failures().revision] == ["step4"] and [*store.measurements().revision] == ["step3", "step5"]
        kept = {row["revision"] for row in store._rows("SELECT revision FROM looks")}
    assert kept == {"step3", "step5"}, "what is installed may cure it: it is to be looked at again"


def test_commits_that_hold_the_same_are_measured_once(
    walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(walk / "step4", walk / "step5", dirs_exist_ok=True)
    (walk / "step5" / "README.md").write_text("another commit")
    with hub_in_process(tmp_path / "cache", monkeypatch) as hub:
        names = [f"step{step}" for step in (3, 4, 5)]
        hub.add_model("user/walk", {name: walk / name for name in names} | {"step6": walk / "step3"})
        done = _sweep("user/walk", tmp_path / "run")
        assert (done.measured, done.copied, done.failures) == (2, 2, [])
        assert {(one.revision, one.kind, one.twin) for one in done.findings} == {
            ("step5", "copy", "step4"),
            ("step6", "copy", "step3"),
        }
        assert _shown(tmp_path / "run", "step5").equals(_shown(tmp_path / "run", "step4"))
        (walk / "step4" / "README.md").write_text("the branch was moved, the weights were not")
        hub.add_model("user/walk", {"step4": walk / "step4"})
        assert (moved := _sweep("user/walk", tmp_path / "run")).copied == 1 and not moved.measured
        hub.add_model("user/walk", {name: walk / name for name in names} | {"step6": walk / "step3"})
        alone = _sweep("user/walk", tmp_path / "alone", audit=False)
        assert (alone.measured, alone.copied) == (3, 1)  # the same commit tells itself
