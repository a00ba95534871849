"""Scores that were measured elsewhere, in a run: what is taken, and under which name."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from lm_probe.cli import main
from lm_probe.reports import best_and_final_table, write_report
from lm_probe.sweeps import UNSEEN, RunStore, import_scores
from lm_probe.sweeps._import_names import arguments_of, named
from tests.importing import CSV, HARNESS_3, HARNESS_4, SAMPLE, changed, imported, written
from tests.test_saturation import EVALS, SEVEN


def test_a_file_of_harness_3(tmp_path: Path) -> None:
    said, values = imported(tmp_path / "run", written(tmp_path / "r.json", HARNESS_3))
    assert not said
    rows = values[["component", "metric", "value"]].values.tolist()
    assert rows == [
        ["lambada_openai", "acc", 0.253],
        ["lambada_openai", "ppl", 94.3],
        ["wikitext", "byte_perplexity", 2.1],
        ["wikitext", "word_perplexity", 61.5],
    ]
    one = values.iloc[0]
    assert (one.model, one.revision, one.step, one.identity) == ("somebody/tiny", "step3000", 3000, UNSEEN)
    assert one.stderr == 0.006 and values.stderr.isna().tolist() == [False, False, True, True]
    with RunStore(tmp_path / "run") as store:
        made = store.measurements().iloc[0]
    assert made.versions == {}, "nobody knows them, and today's are not those"
    assert made.config == {"task": "lambada_openai", "num_fewshot": 0, "task_version": "0"}


def test_a_file_of_harness_4(tmp_path: Path) -> None:
    path = written(tmp_path / "somebody__tiny" / "results_2023-11-14T22-13-20.json", HARNESS_4)
    said, values = imported(tmp_path / "run", path.parent)
    assert not said
    found = values.set_index(["component", "metric"])
    assert found.index.tolist() == [
        ("gsm8k (5-shot)", "exact_match,flexible-extract"),
        ("gsm8k (5-shot)", "exact_match,strict-match"),
        ("mmlu", "acc"),
        ("mmlu_art", "acc"),
        ("mmlu_law", "acc"),
    ]
    assert found.value.tolist() == [0.03, 0.02, 0.3, 0.4, 0.25]
    assert found.n.tolist()[:3] == [1319, 1319, 30] and found.n.isna().tolist()[3] and found.n.iloc[4] == 20
    assert found.stderr.isna().tolist() == [True, False, False, False, False]
    assert set(values.identity) == {"0123456789abcdef"} and set(values.step) == {1000}
    with RunStore(tmp_path / "run") as store:
        made = store.measurements().set_index(store.measurements().config.map(lambda config: config["task"]))
    assert made.loc["mmlu"].config == {
        "task": "mmlu",
        "num_fewshot": 0,
        "task_version": "2",
        "group": True,
        "dtype": "float16",
    }
    one = made.loc["mmlu_law"]
    assert one.versions == {"torch": "2.5.1+cu124", "transformers": "4.46.0", "lm-eval": "0.4.8"}
    assert (one["dtype"], one.device, one.seed) == ("float16", "cuda:0", 7)
    assert one.details["imported"]["file"] == path.name and len(one.details["imported"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("arguments", "file", "expected"),
    [
        ("pretrained=a/b,revision=step8,dtype=float16", "r.json", ("a/b", "step8", 8)),
        ("pretrained=a/b", "r.json", ("a/b", "main", None)),
        ("pretrained=a/b", "70m_step64.json", ("a/b", "step64", 64)),
        ("pretrained=a/b", "step128/r.json", ("a/b", "step128", 128)),
        ("pretrained=./tiny", "tiny_checkpoint-500.json", ("tiny", "checkpoint-500", 500)),
        ("pretrained=a/b", "two-step9-distillation/r.json", ("a/b", "main", None)),
        ('{"pretrained": "a/b", "revision": "step1-tokens2B"}', "r.json", ("a/b", "step1-tokens2B", 1)),
        ("pretrained=/data/runs/tiny/step8", "r.json", ("tiny", "step8", 8)),
        ("pretrained=runs/checkpoint-500", "r.json", ("runs", "checkpoint-500", 500)),
        ("pretrained=./tiny", "r.json", ("tiny", None, None)),
        ("pretrained=/runs/tiny,subfolder=global_step3", "r.json", ("tiny", "global_step3", 3)),
        ({"pretrained": "tiny", "revision": None}, "r.json", ("tiny", None, None)),
        ("pretrained=a/b,peft=c/adapter", "r.json", ("c/adapter", "main", None)),
        ("model=gpt-x,base_url=http://somewhere", "r.json", ("gpt-x", None, None)),
    ],
)
def test_the_checkpoint_behind_model_arguments(arguments: object, file: str, expected: tuple[object, ...]) -> None:
    found = named(arguments_of(arguments), None, Path(file))
    assert found is not None and found[:3] == expected


def test_shots_are_told_apart_in_the_report(tmp_path: Path) -> None:
    said, values = imported(tmp_path / "run", written(tmp_path / "t.csv", CSV))
    assert not said
    assert values.component.value_counts().to_dict() == {"piqa": 3, "piqa (5-shot)": 2}
    report = write_report([tmp_path / "run"]).read_text()
    assert "## Warnings" not in report
    rows = [line for line in report.partition("## Other tasks")[2].splitlines() if line.startswith("| piqa")]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == ["piqa", "piqa", "piqa (5-shot)"]
    assert "0.4000" in rows[2] and "0.7000" in rows[2]
    assert "t.csv (sha256 " in report and "no checkpoint was seen" in report and "| seed |" not in report


def test_samples_beside_a_file_are_kept_under_the_name_of_the_component(tmp_path: Path) -> None:
    folder, run = tmp_path / "somebody__tiny", tmp_path / "run"
    for time in ("2023-11-14T22-13-20.5", "2022-01-01T00-00-00.0"):
        for task in ("gsm8k", "mmlu_law", "unknown"):
            written(folder / f"samples_{task}_{time}.jsonl", SAMPLE)
    written(folder / "results_2023-11-14T22-13-20.5.json", HARNESS_4)
    assert import_scores([folder], run, say=pytest.fail).samples == 2
    kept = {path.name: path for path in (run / "lm_eval" / "somebody__tiny" / "step1000").iterdir()}
    assert set(kept) == {
        "samples_gsm8k (5-shot)_2023-11-14T22-13-20.5.jsonl.gz",
        "samples_mmlu_law_2023-11-14T22-13-20.5.jsonl.gz",
    }
    assert all(gzip.decompress(path.read_bytes()).decode() == SAMPLE for path in kept.values())
    assert import_scores([folder], run, say=pytest.fail).samples == 0
    outside = changed(HARNESS_4, config={"model_args": {"pretrained": "a/b", "revision": "../../elsewhere"}})
    written(folder / "results_2023-11-14T22-13-20.5.json", outside)
    said, values = imported(run, folder)
    assert "names a checkpoint that is no folder (a/b ../../elsewhere)" in said[0] and set(values.model) == {
        "somebody/tiny"
    }
    assert not (run / "elsewhere").exists()


def test_a_gpu_that_was_asked_for_and_is_not_there_is_no_device(tmp_path: Path) -> None:
    said = {**HARNESS_4, "pretty_env_info": "PyTorch version: 2.5.1\nIs CUDA available: False\n"}
    (tmp_path / "results_1.json").write_text(json.dumps(said))
    assert main(["import", str(tmp_path / "results_1.json"), "--out", str(tmp_path / "run")]) == 0
    with RunStore(tmp_path / "run") as store:
        assert set(store.measurements().device) == {"cpu"}


def test_a_task_named_like_one_with_shots_is_another_place(tmp_path: Path) -> None:
    lines = [
        "model,step,task,shots,metric,value",
        "m,1,t,5,acc,0.1",
        "m,1,t (5-shot),0,acc,0.2",
        "m,1,t (5-shot),5,acc,0.3",
    ]
    said, values = imported(tmp_path / "run", written(tmp_path / "t.csv", "\n".join(lines)))
    assert not said
    expected = {"t (5-shot)": 0.1, "t (5-shot) (0-shot)": 0.2, "t (5-shot) (5-shot)": 0.3}
    assert dict(zip(values.component, values.value, strict=True)) == expected
    # Where nobody says the shots the name does, and the two rows are one score given twice.
    lines[2:] = ["m,1,t (5-shot),,acc,0.2"]
    said, values = imported(tmp_path / "other", written(tmp_path / "u.csv", "\n".join(lines)))
    assert "1 row is followed by others for the same model, step, task and shots" in said[0]
    assert values.component.tolist() == ["t (5-shot)"] and values.value.tolist() == [0.2]


def test_columns_in_any_order_and_rows_that_are_repeated(tmp_path: Path) -> None:
    table = pd.read_csv(written(tmp_path / "t.csv", CSV), dtype=str)
    more = pd.concat([table, table.iloc[:1].assign(value="0.9"), table.iloc[1:2].assign(suite="other")])
    shuffled = more[list(reversed(more.columns))].assign(comment="?")
    shuffled.to_csv(tmp_path / "u.csv.gz", index=False)
    said, values = imported(tmp_path / "run", tmp_path / "u.csv.gz")
    assert [line.partition("u.csv.gz: ")[2] for line in said] == [
        "left out columns that have no place in a run: comment",
        "2 rows are followed by others for the same model, step, task and shots, and those count: "
        "first piqa of tiny at step 0",
    ]
    found = values.set_index(["model", "component", "step"]).value
    assert found["tiny", "piqa", 0] == 0.9 and found["tiny", "piqa", 1000] == 0.6 and len(found) == 5


def test_importing_and_reporting_wait_for_no_torch(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", CSV)
    script = (
        "import sys\nfrom lm_probe.cli import main\n"
        "assert main(['import', sys.argv[1], '--out', sys.argv[2]]) == 0 and main(['report', sys.argv[2]]) == 0\n"
        "assert not {'torch', 'transformers', 'lm_eval', 'datasets', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, path, tmp_path / "run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_files_that_lm_eval_wrote_in_a_sweep_come_back(series: Path, tmp_path: Path) -> None:
    asked = ["--probes", "none", "--tasks", "count_query_m5", "--task-documents", "6", "--no-report"]
    assert main(["sweep", str(series), "--revisions", "step8", "--out", str(tmp_path / "swept"), *asked]) == 0
    said, values = imported(tmp_path / "run", tmp_path / "swept" / "lm_eval")
    with RunStore(tmp_path / "swept") as store:
        measured = store.values(provenance=True)
        (details,) = store.measurements().details
    assert details["higher_is_better"].items() >= {"acc": True, "mae": False, "acc_gap": False}.items()
    assert not said
    where = ["model", "revision", "step", "identity", "probe", "component", "metric"]
    both = values.merge(measured, on=where, suffixes=("", "_measured"))
    assert len(both) == len(values) > 20
    assert both.value.tolist() == both.value_measured.tolist() and both.n.tolist() == both.n_measured.tolist()
    said, again = imported(tmp_path / "swept", tmp_path / "swept" / "lm_eval")
    assert len(said) == 1 and "measured by a sweep of this run" in said[0]
    pd.testing.assert_frame_equal(again, measured)


def test_published_evaluations(tmp_path: Path) -> None:
    """EleutherAI's evaluations of Pythia, by way of a run, show what they show in the paper."""
    if not EVALS.exists():
        pytest.skip("the published evaluations are not beside this checkout")
    assert import_scores([EVALS], tmp_path).scores == 57_248
    with RunStore(tmp_path) as store:
        values = store.values()
    assert len(values) == 57_248 and not values.duplicated(["model", "step", "component", "metric"]).any()
    rows = values[values.component.isin(SEVEN) & values.metric.isin(["acc", "ppl"])]
    rows = rows[rows.model.isin(["pythia-70m", "pythia-160m", "pythia-1b-bf16"])].rename(columns={"component": "task"})
    table = best_and_final_table(rows, mean_of={"mean without wsc": SEVEN}).set_index(["model", "task", "metric"])
    for measure in (("lambada_openai", "ppl"), ("mean without wsc", "acc")):
        verdicts = table.xs(measure, level=("task", "metric")).verdict
        assert verdicts[["pythia-70m", "pythia-160m"]].eq("saturated").all()
        assert verdicts["pythia-1b-bf16"] == "not worse"
    one = table.loc["pythia-160m", "lambada_openai", "ppl"]
    assert (one.best_step, round(one.best, 2), round(one.final, 2)) == (63000, 24.84, 38.06)
