"""What a model answered to each document: kept small, read back, and read from lm-eval's own files."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from lm_probe.sweeps import RunStore, Summary, SweepConfig, UserError, read_samples, read_samples_file, sweep
from lm_probe.sweeps._samples import pack
from lm_probe.sweeps.lm_eval_bridge import TaskRun, run_tasks, save_results
from tests.word_level import word_level_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TASKS = ("count_query_m5", "most_frequent_word_m5_gen")


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return word_level_tokenizer()


@pytest.fixture(scope="module")
def model(words: PreTrainedTokenizerFast) -> GPTNeoXForCausalLM:
    torch.manual_seed(0)
    shape = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    config = GPTNeoXConfig(vocab_size=len(words), max_position_embeddings=512, eos_token_id=1, **shape)
    return GPTNeoXForCausalLM(config)


@pytest.fixture(scope="module")
def task_run(model: GPTNeoXForCausalLM, words: PreTrainedTokenizerFast) -> TaskRun:
    return run_tasks(model, words, TASKS, num_docs=6, model_args={"pretrained": "tiny"})


@pytest.mark.parametrize("task", TASKS)
def test_rows_come_back_without_their_prompts(task: str, task_run: TaskRun, tmp_path: Path) -> None:
    packed = pack(task_run.samples[task])
    assert packed == pack(task_run.samples[task])
    content = gzip.decompress(packed).decode()
    assert len(content.splitlines()) == 6 and "Here is a list" not in content
    (tmp_path / "samples.jsonl.gz").write_bytes(packed)
    read = read_samples_file(tmp_path / "samples.jsonl.gz")
    for (_, found), row in zip(read.iterrows(), task_run.samples[task], strict=True):
        assert (found.doc_id, found.doc_hash, found["filter"]) == (row["doc_id"], row["doc_hash"], "none")
        assert str(found.target) == str(row["target"]) and found.doc["list_id"] == row["doc"]["list_id"]
        assert {name: found[name] for name in row["metrics"]} == {name: row[name] for name in row["metrics"]}
        prompts = [asked[0] for asked in row["arguments"]]
        assert found.prompts == [list(dict.fromkeys(prompts)).index(prompt) for prompt in prompts]
        if task.endswith("_gen"):
            assert found.responses == row["filtered_resps"] and found.answers == [None, None]
        else:
            assert found.answers == [asked[1] for asked in row["arguments"]]
            narrow = [(torch.tensor(value).item(), greedy) for value, greedy in found.responses]
            assert narrow == [tuple(response) for response in row["filtered_resps"]]


def test_lm_evals_own_file_reads_the_same(task_run: TaskRun, tmp_path: Path) -> None:
    save_results(task_run, tmp_path, samples=True)
    for task in TASKS:
        (theirs,) = tmp_path.glob(f"samples_{task}_*.jsonl")
        (tmp_path / "ours.jsonl.gz").write_bytes(pack(task_run.samples[task]))
        (tmp_path / "theirs.jsonl.gz").write_bytes(gzip.compress(theirs.read_bytes()))
        ours = read_samples_file(tmp_path / "ours.jsonl.gz")
        for found in (read_samples_file(theirs), read_samples_file(tmp_path / "theirs.jsonl.gz")):
            left = ["doc", "target", "responses"]
            pd.testing.assert_frame_equal(found.drop(columns=left), ours.drop(columns=left))
            assert found.target.tolist() == [str(target) for target in ours.target]
            for theirs_said, said in zip(found.responses, ours.responses, strict=True):
                if task.endswith("_gen"):
                    assert theirs_said == said
                else:
                    values, kept = zip(*theirs_said, strict=True), zip(*said, strict=True)
                    assert next(values) == pytest.approx(next(kept), rel=1e-7) and next(values) == next(kept)


def test_what_a_filter_took_out_stays(task_run: TaskRun, tmp_path: Path) -> None:
    row = {**task_run.samples[TASKS[1]][0], "filtered_resps": ["goat", "goat"], "filter": "first"}
    lines = gzip.decompress(pack([row, task_run.samples[TASKS[1]][0]])).decode().splitlines()
    first, second = map(json.loads, lines)
    assert first["resps"] == row["resps"] and "resps" not in second
    (tmp_path / "samples.jsonl").write_text("\n".join(lines))
    read = read_samples_file(tmp_path / "samples.jsonl")
    assert read["filter"].tolist() == ["first", "none"] and read.responses[0] == ["goat", "goat"]


_DAMAGED = [b"no gzip", gzip.compress(b"[1]" * 99)[:40], gzip.compress(b"{}" * 9)[:10] + b"\xff" * 20]


@pytest.mark.parametrize(
    "content", [*_DAMAGED, gzip.compress(b'{"results": {}}\n')], ids=["no-gzip", "cut", "garbled", "other"]
)
def test_what_is_no_samples_file_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"is no samples file of lm-eval, or is damaged"):
        read_samples_file(tmp_path / "samples.jsonl.gz")
    with pytest.raises(UserError, match=r"no file .*: copy the run with its lm_eval folder"):
        read_samples_file(tmp_path / "nowhere.jsonl")


def _sweep(source: Path, out: Path, seed: int = 1234) -> Summary:
    return sweep(
        SweepConfig(sources=(str(source),), out=out, probes=(), tasks=TASKS[:1], task_documents=4, seed=seed),
        silent=True,
    )


def test_a_sweep_keeps_one_file_a_measurement(series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunStore, "record", stopped)  # between the file and the transaction
        _sweep(series / "step8", run)
    assert _sweep(series / "step8", run).measured == 1
    (file,) = run.rglob("samples_*")
    assert file.parent == run / "lm_eval" / "tiny" / "step8"
    found = read_samples(run, "tiny", "step8", TASKS[0])
    with RunStore(run) as store:
        values = store.values()
    assert values[values.metric == "mae"].value.item() == pytest.approx(found.mae.mean(), rel=1e-12)
    # What was asked otherwise has its own file, and what is asked again is shown again.
    assert _sweep(series / "step8", run, seed=7).measured == 1
    assert len(list(run.rglob("samples_*"))) == 2
    assert set(read_samples(run, "tiny", "step8", TASKS[0]).doc_hash).isdisjoint(found.doc_hash)
    _sweep(series / "step8", run)
    pd.testing.assert_frame_equal(read_samples(run, "tiny", "step8", TASKS[0]), found)
    for model, task in (("tinier", TASKS[0]), ("tiny", "most_frequent_word_m5")):
        with pytest.raises(UserError, match=f"holds no {task} of {model} step8: lm-probe sweep"):
            read_samples(run, model, "step8", task)
    file.unlink()
    with pytest.raises(UserError, match=r"no file .*samples_count_query_m5_"):
        read_samples(run, "tiny", "step8", TASKS[0])
