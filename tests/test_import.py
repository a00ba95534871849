"""Scores that were measured elsewhere, in a run: what is taken, under which name, and what is refused."""

import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lm_probe.cli import main
from lm_probe.probes import Reading
from lm_probe.reports import best_and_final_table, write_report
from lm_probe.sweeps import UNSEEN, CheckpointKey, Measurement, RunStore, UserError, import_scores
from lm_probe.sweeps._import_names import arguments_of, named
from tests.test_saturation import EVALS, SEVEN

HARNESS_3 = {
    "results": {
        "lambada_openai": {"ppl": 94.3, "ppl_stderr": 3.2, "acc": 0.253, "acc_stderr": 0.006},
        "wikitext": {"word_perplexity": 61.5, "byte_perplexity": 2.1},
    },
    "versions": {"lambada_openai": 0, "wikitext": 1},
    "config": {"model": "hf-causal", "model_args": "pretrained=somebody/tiny,revision=step3000", "num_fewshot": 0},
}
HARNESS_4: dict[str, Any] = {
    "results": {
        "mmlu": {"acc,none": 0.3, "acc_stderr,none": 0.01, "alias": "mmlu", "sample_len": 30},
        "mmlu_law": {"alias": " - law", "name": "mmlu_law", "sample_len": 20, "acc,none": 0.25, "acc_stderr,none": 0.1},
        "mmlu_art": {"alias": " - art", "acc,none": 0.4, "acc_stderr,none": 0.15},
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.02,
            "exact_match_stderr,strict-match": 0.004,
            "exact_match,flexible-extract": 0.03,
            "exact_match_stderr,flexible-extract": "N/A",
        },
        "only_names": {" ": " ", "alias": "only_names"},
    },
    "groups": {"mmlu": {"acc,none": 0.3, "acc_stderr,none": 0.01, "alias": "mmlu"}},
    "group_subtasks": {"mmlu": ["mmlu_law", "mmlu_art"], "only_names": ["gsm8k"]},
    "configs": {"gsm8k": {"num_fewshot": 5, "metadata": {"version": 3.0}}},
    "versions": {"mmlu": 2, "mmlu_law": 1.0, "gsm8k": 3.0, "mmlu_art": 1.0},
    "n-shot": {"mmlu_law": 0, "mmlu_art": 0, "gsm8k": 5},
    "n-samples": {"mmlu_law": {"original": 99, "effective": 20}, "gsm8k": {"original": 1319, "effective": 1319}},
    "config": {
        "model": "hf",
        "model_args": {"pretrained": "somebody/tiny", "revision": "step1000", "dtype": "float16"},
        "model_sha": "0123456789abcdef",
        "model_dtype": "torch.float16",
        "device": "cuda:0",
        "limit": None,
        "fewshot_seed": 7,
    },
    "date": 1_700_000_000.5,
    "lm_eval_version": "0.4.8",
    "transformers_version": "4.46.0",
    "pretty_env_info": "PyTorch version: 2.5.1+cu124\nIs debug build: False",
}
CSV = """suite,variant,model,step,shots,task,metric,value,stderr
s,zero,tiny,0,0,piqa,acc,0.5,0.01
s,zero,tiny,1000,0.0,piqa,acc,0.6,0.01
s,five,tiny,0,5,piqa,acc,0.4,
s,five,tiny,1000,5,piqa,acc,0.7,
s,zero,final,,0,piqa,acc,0.65,0.01
"""


def _write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def _import(run: Path, *files: Path) -> tuple[list[str], pd.DataFrame]:
    said: list[str] = []
    import_scores(files, run, say=said.append)
    with RunStore(run) as store:
        return said, store.values(provenance=True)


def _changed(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(document)), **changes}


def test_a_file_of_harness_3(tmp_path: Path) -> None:
    said, values = _import(tmp_path / "run", _write(tmp_path / "r.json", HARNESS_3))
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
    path = _write(tmp_path / "somebody__tiny" / "results_2023-11-14T22-13-20.json", HARNESS_4)
    said, values = _import(tmp_path / "run", path.parent)
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
    said, values = _import(tmp_path / "run", _write(tmp_path / "t.csv", CSV))
    assert not said
    assert values.component.value_counts().to_dict() == {"piqa": 3, "piqa (5-shot)": 2}
    report = write_report([tmp_path / "run"]).read_text()
    assert "## Warnings" not in report
    rows = [line for line in report.partition("## Other tasks")[2].splitlines() if line.startswith("| piqa")]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == ["piqa", "piqa", "piqa (5-shot)"]
    assert "0.4000" in rows[2] and "0.7000" in rows[2]
    assert "t.csv (sha256 " in report and "no checkpoint was seen" in report and "| seed |" not in report


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    files = [_write(tmp_path / "t.csv", CSV), _write(tmp_path / "r.json", HARNESS_4)]
    _, first = _import(tmp_path / "run", *files)
    with RunStore(tmp_path / "run") as store:
        before = store.measurements()
    said, second = _import(tmp_path / "run", *files)
    with RunStore(tmp_path / "run") as store:
        after = store.measurements()
    assert not said
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_newest_file_counts_in_any_order(tmp_path: Path, order: tuple[int, int]) -> None:
    newer = _changed(HARNESS_4, date=1_800_000_000)
    newer["results"]["mmlu_law"]["acc,none"] = 0.9
    del newer["results"]["gsm8k"]
    files = [_write(tmp_path / "older.json", HARNESS_4), _write(tmp_path / "newer.json", newer)]
    said, values = _import(tmp_path / "run", *(files[place] for place in order))
    found = values.set_index(["component", "metric"]).value
    assert found["mmlu_law", "acc"] == 0.9 and len(found) == 5
    assert len(said) == 1 and "older.json" in said[0] and "mmlu, mmlu_law, mmlu_art" in said[0]
    assert not _import(tmp_path / "run", files[1])[0]


def test_files_of_one_checkpoint_add_up(tmp_path: Path) -> None:
    other = _changed(HARNESS_3, results={"piqa": {"acc": 0.6}})
    _, values = _import(tmp_path / "run", _write(tmp_path / "a.json", HARNESS_3), _write(tmp_path / "b.json", other))
    assert set(values.component) == {"lambada_openai", "wikitext", "piqa"}


def test_imported_scores_stand_beside_what_a_sweep_measured(tmp_path: Path) -> None:
    def record(probe: str, config: dict[str, Any], *readings: Reading, identity: str = "0123456789abcdef") -> None:
        key = CheckpointKey("somebody/tiny", "step3000", 3000, identity, "somebody/tiny")
        with RunStore.create(tmp_path / "run") as store:
            assert store.namesake(key) is None
            store.record(key, [Measurement(probe, config, readings)])

    path = _write(tmp_path / "r.json", HARNESS_3)
    _import(tmp_path / "run", path)
    record("loss", {}, Reading("loss", 4.0))
    record("lm_eval", {"task": "wikitext", "asks": "x"}, Reading("word_perplexity", 9.0, component="wikitext"))
    with RunStore(tmp_path / "run") as store:
        values = store.values().set_index(["probe", "metric"]).value
    assert values["loss", "loss"] == 4.0 and values["lm_eval", "ppl"] == 94.3
    assert values["lm_eval", "word_perplexity"] == 9.0 and ("lm_eval", "byte_perplexity") not in values
    _write(path, _changed(HARNESS_3, versions={}))  # another file, and what was measured still counts
    said, again = _import(tmp_path / "run", path)
    assert "wikitext: measured by a sweep of this run, which counts" in said[-1]
    assert again.set_index("metric").value["word_perplexity"] == 9.0
    record("loss", {}, Reading("loss", 3.0), identity="fedcba9876543210")  # new weights hide the old, not the file
    with RunStore(tmp_path / "run") as store:
        values = store.values().set_index(["probe", "metric"]).value
    assert values["loss", "loss"] == 3.0 and values["lm_eval", "ppl"] == 94.3


def test_samples_beside_a_file_are_kept_under_the_name_of_the_component(tmp_path: Path) -> None:
    folder, run = tmp_path / "somebody__tiny", tmp_path / "run"
    for time in ("2023-11-14T22-13-20.5", "2022-01-01T00-00-00.0"):
        for task in ("gsm8k", "mmlu_law", "unknown"):
            _write(folder / f"samples_{task}_{time}.jsonl", SAMPLE)
    _write(folder / "results_2023-11-14T22-13-20.5.json", HARNESS_4)
    assert import_scores([folder], run, say=pytest.fail).samples == 2
    kept = {path.name: path for path in (run / "lm_eval" / "somebody__tiny" / "step1000").iterdir()}
    assert set(kept) == {
        "samples_gsm8k (5-shot)_2023-11-14T22-13-20.5.jsonl.gz",
        "samples_mmlu_law_2023-11-14T22-13-20.5.jsonl.gz",
    }
    assert all(gzip.decompress(path.read_bytes()).decode() == SAMPLE for path in kept.values())
    assert import_scores([folder], run, say=pytest.fail).samples == 0
    outside = _changed(HARNESS_4, config={"model_args": {"pretrained": "a/b", "revision": "../../elsewhere"}})
    _write(folder / "results_2023-11-14T22-13-20.5.json", outside)
    said, values = _import(run, folder)
    assert "names a checkpoint that is no folder (a/b ../../elsewhere)" in said[0] and set(values.model) == {
        "somebody/tiny"
    }
    assert not (run / "elsewhere").exists()


def test_scores_of_other_weights_are_not_mixed_in(tmp_path: Path) -> None:
    moved = _changed(HARNESS_4)
    moved["config"]["model_sha"] = "fedcba9876543210"
    said, values = _import(tmp_path / "run", _write(tmp_path / "a.json", HARNESS_4), _write(tmp_path / "b.json", moved))
    assert len(said) == 1 and "b.json: is of other weights (fedcba987654)" in said[0] and "another run" in said[0]
    assert set(values.identity) == {"0123456789abcdef"}
    elsewhere = [_changed(HARNESS_3, config={"model_args": f"pretrained=/{folder}/tiny/step1"}) for folder in "ab"]
    elsewhere[1]["results"] = {"piqa": {"acc": 0.5}}
    files = [_write(tmp_path / f"{number}.json", one) for number, one in enumerate(elsewhere)]
    said, _ = _import(tmp_path / "run", *files)
    assert said == [f"{files[1]}: /b/tiny is taken for the model tiny of /a/tiny"]


SAMPLE = '{"doc_id": 0, "doc": {}, "target": "1"}\n{"doc_id": 1, "doc": {}, "target": "2"}\n'
DAMAGED: dict[str, tuple[str, object, str]] = {
    "empty": ("r.json", "", "is empty"),
    "truncated": ("r.json", json.dumps(HARNESS_3)[:90], "is damaged or cut off"),
    "something else": ("r.json", {"vocab_size": 8}, "is no result file of lm-eval"),
    "a list": ("r.json", [1, 2], "is no result file of lm-eval"),
    "results without tasks": ("r.json", {"results": {"acc": 0.5}}, "no results by task"),
    "no scores": ("r.json", _changed(HARNESS_3, results={"a": {"alias": "a"}}), "holds no score"),
    "no model": ("r.json", _changed(HARNESS_3, config={}), "does not say of which model"),
    "samples": ("samples_piqa_2024.jsonl", SAMPLE, "samples, a line a document: name the results_<date>.json"),
    "samples called results": ("r.json", SAMPLE, "samples, a line a document"),
    "one sample": ("r.json", [{"doc_id": 0}], "samples, a line a document"),
    "no gzip": ("t.csv.gz", CSV, "is no whole gzip file"),
    "half a gzip": ("t.csv.gz", gzip.compress(CSV.encode())[:60], "is no whole gzip file"),
    "Latin-1": ("t.csv", CSV.replace("tiny", "größe").encode("latin-1"), "is not UTF-8 (byte "),
    "semicolons": ("t.csv", CSV.replace(",", ";"), "has no column model, step, task, metric, value: needed are"),
    "a column missing": ("t.csv", CSV.replace("metric", "measure", 1), "has no column metric"),
    "only a head": ("t.csv", CSV.splitlines()[0], "is a table without scores"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_one_line_and_the_others_go_in(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, said = DAMAGED[case]
    bad = tmp_path / "bad" / name
    bad.parent.mkdir()
    if isinstance(content, bytes):
        bad.write_bytes(content)
    else:
        _write(bad, content)
    good = _write(tmp_path / "good.json", HARNESS_3)
    assert main(["import", str(bad), str(good), "--out", str(tmp_path / "run")]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"lm-probe import: {bad}: ") and said in err and len(err.splitlines()) == 1
    assert "4 scores from 1 file;" in out
    with RunStore(tmp_path / "run") as store:
        assert len(store.values()) == 4


def _places(document: Any) -> list[tuple[Any, ...]]:
    """The paths to everything in a JSON document."""
    inside = document.items() if isinstance(document, dict) else ()
    return [()] + [(key, *rest) for key, value in inside for rest in _places(value)]


ODD = (None, [], {}, "", "x", "step9" * 9, "\ud800", "../../x", True, -1, 10**400, float("nan"), [[1]], {"a": {"b": 1}})


def test_whatever_stands_in_a_file_is_taken_or_refused_in_a_line(tmp_path: Path) -> None:
    places = [place for place in _places(HARNESS_4)[1:] if place[:1] != ("results",) or "gsm8k" not in place]
    for place, (number, value) in list(itertools.product(places, enumerate(ODD)))[::3]:  # 3 and 14 share no factor
        document = json.loads(json.dumps(HARNESS_4))
        parent = document
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = value
        name = f"{'.'.join(map(str, place)).replace(' ', '_')}-{number}"
        path = _write(tmp_path / "odd" / name / "results_1.json", document)
        (path.parent / "samples_mmlu_law_1.jsonl").write_text(SAMPLE)
    said: list[str] = []
    done = import_scores([tmp_path / "odd"], tmp_path / "run", say=said.append)
    assert done.files > 200 and all(len(line) < 1000 for line in said)
    write_report([tmp_path / "run"])
    assert {path.name for path in tmp_path.iterdir()} == {"odd", "run"}


def test_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["import", str(tmp_path / "empty"), str(tmp_path / "none"), "--out", str(tmp_path / "run")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "is a folder without .json files" in first and "none: does not exist" in second
    _write(tmp_path / "model" / "config.json", {"vocab_size": 8})
    assert main(["import", str(tmp_path / "model"), "--out", str(tmp_path / "run")]) == 1
    assert "1 of 1 .json files hold no results" in capsys.readouterr().err
    _write(tmp_path / "model" / "eval" / "r.json", HARNESS_3)
    assert main(["import", str(tmp_path / "model"), "--out", str(tmp_path / "run")]) == 0
    assert "1 of 2 .json files hold no results and are passed over, e.g. config.json" in capsys.readouterr().err
    with pytest.raises(UserError, match="nothing to import"):
        import_scores([], tmp_path / "run")


def test_what_is_not_finite_is_refused_value_by_value(tmp_path: Path) -> None:
    document = _changed(HARNESS_3)
    document["results"]["wikitext"] = {"word_perplexity": float("inf"), "bits": 1.5, "bits_stderr": float("nan")}
    document["results"]["lambada_openai"]["acc"] = float("nan")
    run = tmp_path / "run"
    said: list[str] = []
    done = import_scores([_write(tmp_path / "r.json", document)], run, say=said.append)
    assert done.problems == 2 and done.scores == 2
    assert [line.rpartition(": ")[2] for line in said] == [
        "acc is nan and is left out",
        "word_perplexity is inf and is left out",
        "the standard error of bits is nan; the score has none now",
    ]
    with RunStore(run) as store:
        assert store.values().metric.tolist() == ["ppl", "bits"]


def test_an_error_below_zero_is_none(tmp_path: Path) -> None:
    document = _changed(HARNESS_3)
    document["results"] = {"wikitext": {"bits": 1.5, "bits_stderr": -0.1}}
    run = tmp_path / "run"
    said, values = _import(run, _write(tmp_path / "r.json", document))
    assert values.value.tolist() == [1.5] and values.stderr.isna().all()
    assert said[0].endswith("the standard error of bits is -0.1; the score has none now")
    said, values = _import(run, _write(tmp_path / "t.csv", CSV + "s,zero,tiny,0,0,piqa,acc_norm,0.5,-0.01\n"))
    assert said[-1].endswith("left out: stderr is negative") and "acc_norm" not in set(values.metric)
    assert write_report([run]).is_file()


def test_a_score_whose_square_would_overflow_is_refused(tmp_path: Path) -> None:
    document = _changed(HARNESS_3)
    document["results"]["lambada_openai"]["ppl"] = 1e200
    run = tmp_path / "run"
    said, values = _import(run, _write(tmp_path / "r.json", document))
    assert said == [f"{tmp_path / 'r.json'}: lambada_openai: ppl is 1e+200 and is left out"]
    assert "ppl" not in set(values.metric) and "acc" in set(values.metric)
    rows = [f"s,zero,tiny,{1000 * step},0,piqa,ppl,{1e200 if step == 11 else 30 - step},1\n" for step in range(12)]
    said, values = _import(tmp_path / "other", _write(tmp_path / "t.csv", CSV + "".join(rows)))
    assert said[-1].endswith("left out: value is beyond 1e+100, which is no score")
    assert write_report([tmp_path / "other"]).is_file()


def test_a_zero_byte_in_a_name_is_a_line(tmp_path: Path) -> None:
    document = _changed(HARNESS_3)
    document["config"]["model_args"] = "pretrained=some\0body,revision=step3000"
    _write(tmp_path / "all" / "a.json", document)
    _write(tmp_path / "all" / "b.json", HARNESS_3)
    said, values = _import(tmp_path / "run", tmp_path / "all")
    assert len(said) == 1 and said[0].endswith("a.json: holds a name with a zero byte in it")
    assert set(values.model) == {"somebody/tiny"}
    table = CSV + "s,zero,ti\0ny,0,0,piqa,acc_norm,0.5,0.01\n"
    said, values = _import(tmp_path / "other", _write(tmp_path / "t.csv", table))
    assert said[-1].endswith("left out: a name with a zero byte in it") and "tiny" in set(values.model)


def test_rows_of_a_table_that_hold_no_score_are_counted(tmp_path: Path) -> None:
    rows = "s,zero,tiny,{},0,piqa,acc_norm,{},0.01\n"
    bad = [("0", "nan"), ("0", "oops"), ("0", "oops"), ("1.5", "0.1"), ("-1", "0.1"), ("0", "inf")]
    text = CSV + "".join(rows.format(*one) for one in bad) + "s,zero,tiny\n" + "s,zero,,0,0,piqa,acc,0.5,\n"
    said, values = _import(tmp_path / "run", _write(tmp_path / "t.csv", text))
    assert len(values) == 5
    assert sorted(line.partition("t.csv: ")[2] for line in said) == [
        "2 lines, first 10, are left out: step is no whole number from 0",
        "2 lines, first 8, are left out: value is no number",
        "line 12 is left out: value is not finite",
        "line 13 is left out: more or fewer cells than columns",
        "line 14 is left out: no model",
        "line 7 is left out: no value",
    ]


def test_columns_in_any_order_and_rows_that_are_repeated(tmp_path: Path) -> None:
    table = pd.read_csv(_write(tmp_path / "t.csv", CSV), dtype=str)
    more = pd.concat([table, table.iloc[:1].assign(value="0.9"), table.iloc[1:2].assign(suite="other")])
    shuffled = more[list(reversed(more.columns))].assign(comment="?")
    shuffled.to_csv(tmp_path / "u.csv.gz", index=False)
    said, values = _import(tmp_path / "run", tmp_path / "u.csv.gz")
    assert [line.partition("u.csv.gz: ")[2] for line in said] == [
        "left out columns that have no place in a run: comment",
        "2 rows are followed by others for the same model, step, task and shots, and those count: "
        "first piqa of tiny at step 0",
    ]
    found = values.set_index(["model", "component", "step"]).value
    assert found["tiny", "piqa", 0] == 0.9 and found["tiny", "piqa", 1000] == 0.6 and len(found) == 5


def test_importing_and_reporting_wait_for_no_torch(tmp_path: Path) -> None:
    path = _write(tmp_path / "t.csv", CSV)
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
    said, values = _import(tmp_path / "run", tmp_path / "swept" / "lm_eval")
    with RunStore(tmp_path / "swept") as store:
        measured = store.values(provenance=True)
    assert not said
    where = ["model", "revision", "step", "identity", "probe", "component", "metric"]
    both = values.merge(measured, on=where, suffixes=("", "_measured"))
    assert len(both) == len(values) > 20
    assert both.value.tolist() == both.value_measured.tolist() and both.n.tolist() == both.n_measured.tolist()
    said, again = _import(tmp_path / "swept", tmp_path / "swept" / "lm_eval")
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
        assert verdicts["pythia-1b-bf16"] == "not saturated"
    one = table.loc["pythia-160m", "lambada_openai", "ppl"]
    assert (one.best_step, round(one.best, 2), round(one.final, 2)) == (63000, 24.84, 38.06)


def test_a_gpu_that_was_asked_for_and_is_not_there_is_no_device(tmp_path: Path) -> None:
    said = {**HARNESS_4, "pretty_env_info": "PyTorch version: 2.5.1\nIs CUDA available: False\n"}
    (tmp_path / "results_1.json").write_text(json.dumps(said))
    assert main(["import", str(tmp_path / "results_1.json"), "--out", str(tmp_path / "run")]) == 0
    with RunStore(tmp_path / "run") as store:
        assert set(store.measurements().device) == {"cpu"}


def test_no_file_at_all_makes_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path / "none.json"), "--out", str(tmp_path / "run")]) == 2
    assert "none.json does not exist" in capsys.readouterr().err and not (tmp_path / "run").exists()
