"""Files and values that an import refuses: a line each, and the rest goes in."""

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from lm_probe.cli import main
from lm_probe.reports import write_report
from lm_probe.sweeps import RunStore, UserError, import_scores
from tests.importing import CSV, HARNESS_3, HARNESS_4, SAMPLE, changed, imported, written

DAMAGED: dict[str, tuple[str, object, str]] = {
    "empty": ("r.json", "", "is empty"),
    "truncated": ("r.json", json.dumps(HARNESS_3)[:90], "is damaged or cut off"),
    "something else": ("r.json", {"vocab_size": 8}, "is no result file of lm-eval"),
    "a list of TOML": (
        "pyproject.toml",
        "[project]\nname = 'x'\n",
        "is neither a result file of lm-eval (.json) nor a table",
    ),
    "truncated, of another name": ("r.txt", json.dumps(HARNESS_3)[:90], "is damaged or cut off"),
    "a list": ("r.json", [1, 2], "is no result file of lm-eval"),
    "results without tasks": ("r.json", {"results": {"acc": 0.5}}, "no results by task"),
    "no scores": ("r.json", changed(HARNESS_3, results={"a": {"alias": "a"}}), "holds no score"),
    "no model": ("r.json", changed(HARNESS_3, config={}), "does not say of which model"),
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
        written(bad, content)
    good = written(tmp_path / "good.json", HARNESS_3)
    assert main(["import", str(bad), str(good), "--out", str(tmp_path / "run")]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"lm-probe import: {bad}: ") and said in err and len(err.splitlines()) == 1
    assert "4 values from 1 file;" in out
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
        path = written(tmp_path / "odd" / name / "results_1.json", document)
        (path.parent / "samples_mmlu_law_1.jsonl").write_text(SAMPLE)
    said: list[str] = []
    done = import_scores([tmp_path / "odd"], tmp_path / "run", say=said.append)
    assert done.files > 200 and all(len(line) < 1000 for line in said)
    write_report([tmp_path / "run"])
    assert {path.name for path in tmp_path.iterdir()} == {"odd", "run"}


def test_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["import", str(tmp_path / "empty"), str(tmp_path / "none"), "--out", str(tmp_path / "run")]) == 1
    first, second, _ = capsys.readouterr().err.splitlines()
    assert "is a folder without .json files" in first and "none: does not exist" in second
    written(tmp_path / "model" / "config.json", {"vocab_size": 8})
    assert main(["import", str(tmp_path / "model"), "--out", str(tmp_path / "run")]) == 1
    assert "1 of 1 .json files hold no results" in capsys.readouterr().err
    written(tmp_path / "model" / "eval" / "r.json", HARNESS_3)
    assert main(["import", str(tmp_path / "model"), "--out", str(tmp_path / "run")]) == 0
    assert "1 of 2 .json files hold no results and are passed over, e.g. config.json" in capsys.readouterr().err
    with pytest.raises(UserError, match="nothing to import"):
        import_scores([], tmp_path / "run")


def test_what_is_not_finite_is_refused_value_by_value(tmp_path: Path) -> None:
    document = changed(HARNESS_3)
    document["results"]["wikitext"] = {"word_perplexity": float("inf"), "bits": 1.5, "bits_stderr": float("nan")}
    document["results"]["lambada_openai"]["acc"] = float("nan")
    run = tmp_path / "run"
    said: list[str] = []
    done = import_scores([written(tmp_path / "r.json", document)], run, say=said.append)
    assert done.problems == 2 and done.scores == 2
    assert [line.rpartition(": ")[2] for line in said] == [
        "acc is nan and is left out",
        "word_perplexity is inf and is left out",
        "the standard error of bits is nan; the score has none now",
    ]
    with RunStore(run) as store:
        assert store.values().metric.tolist() == ["ppl", "bits"]


def test_an_error_below_zero_is_none(tmp_path: Path) -> None:
    document = changed(HARNESS_3)
    document["results"] = {"wikitext": {"bits": 1.5, "bits_stderr": -0.1}}
    run = tmp_path / "run"
    said, values = imported(run, written(tmp_path / "r.json", document))
    assert values.value.tolist() == [1.5] and values.stderr.isna().all()
    assert said[0].endswith("the standard error of bits is -0.1; the score has none now")
    said, values = imported(run, written(tmp_path / "t.csv", CSV + "s,zero,tiny,0,0,piqa,acc_norm,0.5,-0.01\n"))
    assert said[-1].endswith("left out: stderr is negative") and "acc_norm" not in set(values.metric)
    assert write_report([run]).is_file()


def test_a_score_whose_square_would_overflow_is_refused(tmp_path: Path) -> None:
    document = changed(HARNESS_3)
    document["results"]["lambada_openai"]["ppl"] = 1e200
    run = tmp_path / "run"
    said, values = imported(run, written(tmp_path / "r.json", document))
    assert said == [f"{tmp_path / 'r.json'}: lambada_openai: ppl is 1e+200 and is left out"]
    assert "ppl" not in set(values.metric) and "acc" in set(values.metric)
    rows = [f"s,zero,tiny,{1000 * step},0,piqa,ppl,{1e200 if step == 11 else 30 - step},1\n" for step in range(12)]
    said, values = imported(tmp_path / "other", written(tmp_path / "t.csv", CSV + "".join(rows)))
    assert said[-1].endswith("left out: value is beyond 1e+100, which is no score")
    assert write_report([tmp_path / "other"]).is_file()


def test_a_zero_byte_in_a_name_is_a_line(tmp_path: Path) -> None:
    document = changed(HARNESS_3)
    document["config"]["model_args"] = "pretrained=some\0body,revision=step3000"
    written(tmp_path / "all" / "a.json", document)
    written(tmp_path / "all" / "b.json", HARNESS_3)
    said, values = imported(tmp_path / "run", tmp_path / "all")
    assert len(said) == 1 and said[0].endswith("a.json: holds a name with a zero byte in it")
    assert set(values.model) == {"somebody/tiny"}
    table = CSV + "s,zero,ti\0ny,0,0,piqa,acc_norm,0.5,0.01\n"
    said, values = imported(tmp_path / "other", written(tmp_path / "t.csv", table))
    assert said[-1].endswith("left out: a name with a zero byte in it") and "tiny" in set(values.model)


def test_rows_of_a_table_that_hold_no_score_are_counted(tmp_path: Path) -> None:
    rows = "s,zero,tiny,{},0,piqa,acc_norm,{},0.01\n"
    bad = [("0", "nan"), ("0", "oops"), ("0", "oops"), ("1.5", "0.1"), ("-1", "0.1"), ("0", "inf")]
    text = CSV + "".join(rows.format(*one) for one in bad) + "s,zero,tiny\n" + "s,zero,,0,0,piqa,acc,0.5,\n"
    said, values = imported(tmp_path / "run", written(tmp_path / "t.csv", text))
    assert len(values) == 5
    assert sorted(line.partition("t.csv: ")[2] for line in said) == [
        "2 lines, first 10, are left out: step is no whole number from 0",
        "2 lines, first 8, are left out: value is no number",
        "line 12 is left out: value is not finite",
        "line 13 is left out: more or fewer cells than columns",
        "line 14 is left out: no model",
        "line 7 is left out: no value",
    ]


def test_no_file_at_all_makes_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path / "none.json"), "--out", str(tmp_path / "run")]) == 2
    assert "none.json does not exist" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_run_is_made_for_what_is_kept_in_it_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    good = written(tmp_path / "good" / "results.json", HARNESS_3)
    cut = written(tmp_path / "cut.json", HARNESS_3)
    cut.write_text(cut.read_text()[:99])
    config = written(tmp_path / "model" / "config.json", {"vocab_size": 8})
    (tmp_path / "no_values.csv").write_text("model,step,task,metric,value\nm,1,t,acc,x\n")
    nothing = [str(cut), str(config.parent), str(tmp_path / "no_values.csv"), str(tmp_path / "none.json")]
    assert main(["import", *nothing, "--out", str(run)]) == 1
    out, err = capsys.readouterr()
    assert not run.exists() and not out and len(err.splitlines()) == 5
    assert err.endswith(f"lm-probe import: nothing was imported, so {run} is as it was\n")
    assert main(["import", *nothing, str(good), "--out", str(run)]) == 1
    assert " values from 1 file; " in capsys.readouterr().out
    before = (run / "run.db").read_bytes()
    assert main(["import", *nothing, "--out", str(run)]) == 1
    assert (run / "run.db").read_bytes() == before
