"""Models that accelerate has spread: part of them is not on the device until a forward pass asks for it."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
import torch

from lm_probe.model_adapters import Checkpoint, CheckpointLoader, OpenCheckpoint, UserError, open_checkpoint
from lm_probe.sweeps import RunStore, SweepConfig, measure, sweep
from lm_probe.sweeps.lm_eval_bridge import run_tasks
from tests.conftest import make_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

PROBES = ["loss", "anisotropy", "geometry", "head_spectrum", "weight_spectra", "condensation"]


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """50 kB are free, so that accelerate leaves part of every tiny model on disk."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=50_000, total=2**30))
    yield


def _saved(folder: Path, family: str, tokenizer: Any) -> Path:
    make_model(family).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _spread(folder: Path) -> OpenCheckpoint:
    opened = open_checkpoint(str(folder), device="auto", dtype=torch.float32)
    assert "disk" in opened.model.hf_device_map.values()
    assert any(parameter.is_meta for parameter in opened.model.parameters())
    return opened


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt-350m", "llama"])
def test_what_lies_on_disk_gives_the_same_numbers(
    family: str, tmp_path: Path, tokenizer: Any, documents: list[str], little_memory: None
) -> None:
    folder = _saved(tmp_path, family, tokenizer)
    spread, whole = _spread(folder), open_checkpoint(str(folder), dtype=torch.float32)
    values = [
        measure(opened.model, PROBES, text=documents, tokenizer=tokenizer, context=64) for opened in (spread, whole)
    ]
    assert values[0] == values[1] and {value.probe for value in values[0]} == set(PROBES)
    scores = [
        run_tasks(opened.model, tokenizer, ["count_query_m5"], num_docs=4, model_args={"pretrained": "tiny"}).scores
        for opened in (spread, whole)
    ]
    assert scores[0] == scores[1] and "vocabulary_max_cos" in {score.metric for score in scores[0]}


def test_nan_is_found_in_what_lies_on_disk(tmp_path: Path, tokenizer: Any, little_memory: None) -> None:
    folder = _saved(tmp_path, "gpt_neox", tokenizer)
    _spread(folder)
    model = make_model("gpt_neox")
    model.gpt_neox.layers[2].mlp.dense_4h_to_h.bias.data[0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(UserError, match=re.escape("has NaN in gpt_neox.layers.2.mlp.dense_4h_to_h.bias")):
        _spread(folder)


@pytest.mark.parametrize(("free", "device"), [(1, "meta"), (60_000, "cpu")])
def test_a_sweep_with_layers_on_disk_stores_the_same(
    free: int, device: str, series: Path, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything a sweep does with a model, whether or not the embedding lies there too."""
    asked: dict[str, Any] = dict(text=str(text_file), tokens=300, context=32, revisions="step0,step1")
    asked |= dict(probes=("loss", "geometry", "head_spectrum"), controls=("gaussian", "random"), reference="step1")
    asked |= dict(tasks=("count_query_m5",), task_documents=1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free, total=2**30))
    spread: list[str] = []

    def opened(self: CheckpointLoader, checkpoint: Checkpoint) -> OpenCheckpoint:
        found = opens(self, checkpoint)
        spread.append(found.model.device.type if hasattr(found.model, "hf_device_map") else "whole")
        return found

    opens = CheckpointLoader.open
    monkeypatch.setattr(CheckpointLoader, "open", opened)
    runs = {}
    for where in ("auto", "cpu"):
        done = sweep(SweepConfig((str(series),), tmp_path / where, device=where, **asked), silent=True)
        assert not done.failures and done.checkpoints == 2
        with RunStore(tmp_path / where) as store:
            runs[where] = store.values()
            assert set(store.measurements().device) == {"cpu"}
    assert set(spread) == {device, "whole"}
    pd.testing.assert_frame_equal(*runs.values(), check_exact=True)
