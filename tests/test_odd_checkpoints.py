"""Checkpoints that nobody would make on purpose: each costs one line that says what to do, and no other checkpoint."""

import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_probe.sweeps import SweepConfig, sweep

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def odd(series: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(series, tmp_path / "odd"))


def _setting(file: str, **changed: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / file).read_text())
        kept = {name: value for name, value in (settings | changed).items() if value is not None}
        (folder / file).write_text(json.dumps(kept))

    return change


def _sweep(odd: Path, text_file: Path, **changed: Any) -> list[str]:
    asked: dict[str, Any] = dict(probes=("loss",), tasks=(), text=str(text_file), tokens=64, context=16, device="cpu")
    run = odd.with_name("run")
    done = sweep(SweepConfig(sources=(str(odd),), out=run, **{**asked, **changed}), silent=True)
    assert {one.checkpoint for one in done.failures} <= {"odd step1"} and done.checkpoints == 3
    assert not any("\n" in one.error for one in done.failures)
    return [one.error for one in done.failures] + [one.line for one in done.findings]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(model_type="unheard_of"), "says model_type 'unheard_of', which transformers"),
        (
            dict(hidden_act="unheard_of"),
            "config.json makes no model (KeyError: 'unheard_of'): copy the checkpoint again",
        ),
        (dict(num_hidden_layers=10**9), "config.json asks for 1,000,000,000 layers: copy the checkpoint again"),
        (dict(hidden_size=-4), "config.json makes no model (Trying to create tensor with negative dimension"),
    ],
)
def test_a_config_that_makes_no_model(settings: dict[str, Any], said: str, odd: Path, text_file: Path) -> None:
    _setting("config.json", **settings)(odd / "step1")
    lines = _sweep(odd, text_file)
    assert any(said in line for line in lines) and len(lines) == 2, lines


@pytest.mark.parametrize(
    ("lacks", "task", "said"),
    [
        (("bos_token", "eos_token"), "count_query_m5", "has neither a BOS nor an EOS token"),
        (("eos_token",), "count_query_m5_gen", "has no EOS token, which ends what is generated"),
    ],
)
def test_a_tokenizer_without_ends_is_asked_no_task(
    lacks: tuple[str, ...], task: str, said: str, odd: Path, text_file: Path
) -> None:
    _setting("tokenizer_config.json", **dict.fromkeys(lacks))(odd / "step1")
    error, _ = _sweep(odd, text_file, tasks=(task,), task_documents=1)
    assert said in error and "set eos_token in its tokenizer_config.json" in error


class _Code:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


def test_an_old_pickle_runs_nothing_and_says_nothing_else(odd: Path, text_file: Path, tmp_path: Path) -> None:
    (odd / "step1" / "model.safetensors").unlink()
    (odd / "step1" / "pytorch_model.bin").write_bytes(pickle.dumps(_Code(tmp_path / "ran"), protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        lines = _sweep(odd, text_file)
    assert not (tmp_path / "ran").exists() and all("holds pickled code" in line for line in lines)


def test_a_file_in_the_place_of_lm_evals_folder(odd: Path, text_file: Path) -> None:
    shutil.rmtree(odd / "step0")
    shutil.rmtree(odd / "step8")
    (odd.with_name("run")).mkdir()
    (odd.with_name("run") / "lm_eval").touch()
    asked = SweepConfig(sources=(str(odd),), out=odd.with_name("run"), probes=(), tasks=("count_query_m5",))
    (failure,) = sweep(asked, silent=True).failures
    assert (
        "cannot be written (Not a directory): is " in failure.error and "a folder, and is there room?" in failure.error
    )
