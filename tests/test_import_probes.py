"""Values of probes and directions of metrics that lm-eval's result files hold beside the scores."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lm_probe.cli import main
from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.reports._load import load
from lm_probe.reports._markdown import MISSING
from lm_probe.reports._series import measures, undirected
from lm_probe.sweeps import UNSEEN, CheckpointKey, Measurement, RunStore, import_scores
from tests.importing import CSV, HARNESS_3, HARNESS_4, changed, imported, written

ROWS = [
    {
        "probe": "anisotropy",
        "metric": "mean_cosine",
        "layer": layer,
        "site": "block",
        "component": None,
        "value": 0.1 * layer,
        "stderr": 0.01,
        "n": 500,
    }
    for layer in (1, 2)
]


def with_rows(rows: object) -> dict[str, Any]:
    return changed(HARNESS_4, config={**HARNESS_4["config"], "lm_probe": rows})


def test_what_hf_probe_measured_is_taken_with_its_place(tmp_path: Path) -> None:
    said, values = imported(tmp_path / "run", written(tmp_path / "r.json", with_rows(ROWS)))
    assert not said
    found = values[values.probe == "anisotropy"]
    assert found[["metric", "layer", "site", "value", "stderr", "n"]].values.tolist() == [
        ["mean_cosine", 1, "block", 0.1, 0.01, 500],
        ["mean_cosine", 2, "block", 0.2, 0.01, 500],
    ]
    assert set(found.identity) == {"0123456789abcdef"} and set(found.step) == {1000} and found.component.isna().all()
    with RunStore(tmp_path / "run") as store:
        made = store.measurements().set_index("probe").loc["anisotropy"]
    assert made.config["prompts"] == "hf-probe" and made.config["dtype"] == "float16"
    assert made.details["imported"]["file"] == "r.json"
    report = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert "## Hidden states" in report and "None of them was seen here: all values were read" in report
    assert "were measured on prompts of tasks: they do not compare" in report
    again, _ = imported(tmp_path / "run", tmp_path / "r.json")
    assert not again


def test_captions_say_of_imported_values_what_is_known_of_them(tmp_path: Path) -> None:
    loss = {**ROWS[0], "probe": "loss", "metric": "loss", "layer": None, "site": None}
    silent = {**HARNESS_4["config"], "model_args": "pretrained=org/m,revision=step1000", "lm_probe": [*ROWS, loss]}
    for name in ("dtype", "device", "model_dtype"):
        silent.pop(name, None)
    imported(tmp_path / "run", written(tmp_path / "r.json", changed(HARNESS_4, config=silent)))
    report = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    text = "text: the prompts of gsm8k."
    assert (
        f"Mean next-token cross-entropy; the bars are the 95 % interval. n = 500 predicted tokens, {text}\n" in report
    )
    assert (
        f"Mean cosine over all ordered pairs of hidden states of a layer. n = 500 tokens, {text}\n" in report
        and f"{MISSING} on" not in report
    )
    assert not re.search(r"\S  +\S", re.sub(r"^[|].*$", "", report, flags=re.MULTILINE))


def with_errors(errors: object, rows: object = (), **more: Any) -> dict[str, Any]:
    config = {**HARNESS_4["config"], "lm_probe": list(rows), "lm_probe_errors": errors}
    return changed(HARNESS_4, config={**config, **more})


def failures(run: Path) -> list[list[Any]]:
    with RunStore(run) as store:
        return store.failures().drop(columns="measurements").values.tolist()


def test_why_a_probe_has_no_values_comes_in_until_there_are_some(tmp_path: Path) -> None:
    reason = "geometry: mean_cosine is not finite"
    without = written(tmp_path / "1.json", with_errors({"geometry": reason}, ROWS))
    values = written(tmp_path / "2.json", with_rows([{**row, "probe": "geometry"} for row in ROWS]))
    said, _ = imported(tmp_path / "run", without)
    assert said == [f"{without}: {reason}"]
    assert failures(tmp_path / "run") == [["somebody/tiny", "step1000", 1000, "geometry", reason]]
    assert "geometry | mean_cosine is not finite" in write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert imported(tmp_path / "run", without)[0] == []
    for run, files in (("run", [values, without]), ("other", [without, values])):
        imported(tmp_path / run, *files)
        assert failures(tmp_path / run) == []


def test_a_sweeps_own_reason_stays(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run") as store:
        store.record_failure("somebody/tiny", "step1000", 1000, "geometry", "its own")
    said, _ = imported(tmp_path / "run", written(tmp_path / "r.json", with_errors({"geometry": "another"})))
    assert not said and [row[-1] for row in failures(tmp_path / "run")] == ["its own"]


@pytest.mark.parametrize("wrong", ["text", 5, ["a"], {"geometry": None}, {"": "why"}, {"lm_eval": "why"}])
def test_what_is_no_reason_is_said(tmp_path: Path, wrong: object) -> None:
    said, values = imported(tmp_path / "run", written(tmp_path / "r.json", with_errors(wrong, ROWS)))
    assert [line.partition("r.json: ")[2] for line in said] == [
        "1 of 1 entries of config.lm_probe_errors are no reasons and are left out"
    ]
    assert "anisotropy" in set(values.probe) and not failures(tmp_path / "run")


def test_an_adapter_is_part_of_the_identity(tmp_path: Path) -> None:
    args = {**HARNESS_4["config"]["model_args"], "peft": "somebody/lora"}

    def with_adapter(name: str, sha: str | None) -> Path:
        return written(tmp_path / name, with_errors({}, ROWS, model_args=args, peft_sha=sha))

    _, values = imported(tmp_path / "run", with_adapter("1.json", "fedcba98765432100"))
    assert set(values.identity) == {"0123456789abcdef+fedcba98765432100"} and set(values.model) == {"somebody/lora"}
    said, _ = imported(tmp_path / "run", with_adapter("2.json", "ffff"))
    assert "is of other weights (0123456789ab+ffff) than the run holds as somebody/lora step1000 (" in said[0]
    assert "(0123456789ab+fedcba987654)" in said[0]
    _, values = imported(tmp_path / "unknown", with_adapter("3.json", ""))  # lm-eval's own, of an adapter in a folder
    assert set(values.identity) == {UNSEEN}


def test_a_sweeps_own_values_of_a_probe_are_never_replaced(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run") as store:
        key = CheckpointKey("somebody/tiny", "step1000", 1000, "0123456789abcdef", "somebody/tiny")
        store.record(key, [Measurement("anisotropy", {"text": "x"}, [Reading("mean_cosine", 0.9, 1, "block")])])
    said, values = imported(tmp_path / "run", written(tmp_path / "r.json", with_rows(ROWS)))
    assert values[values.probe == "anisotropy"].value.tolist() == [0.9] and "gsm8k (5-shot)" in set(values.component)
    assert said == [
        f"{tmp_path / 'r.json'}: somebody/tiny step1000: anisotropy: measured by a sweep of this run, which counts"
    ]


def test_of_two_rows_for_one_place_the_last_counts_and_it_is_said(tmp_path: Path) -> None:
    twice = [ROWS[0], ROWS[1], {**ROWS[0], "value": 0.7}]
    said, values = imported(tmp_path / "run", written(tmp_path / "r.json", with_rows(twice)))
    assert [line.partition("r.json: ")[2] for line in said] == [
        "1 row of config.lm_probe is followed by another for the same place, and the last counts"
    ]
    assert values[values.probe == "anisotropy"].value.tolist() == [0.7, 0.2]


def on_prompts(path: Path, step: int, tasks: str, value: float, date: float) -> Path:
    document = with_rows([{**ROWS[0], "value": value}])
    args = {**HARNESS_4["config"]["model_args"], "revision": f"step{step}"}
    document["config"] = {**document["config"], "model_args": args, "model_sha": f"sha{step}"}
    document |= {"results": {task: {"acc,none": 0.5} for task in tasks.split()}, "date": date, "group_subtasks": {}}
    return written(path / f"{step}_{tasks}.json", document | {"configs": {task: {} for task in tasks.split()}})


def curve(run: Path) -> dict[int, float]:
    with RunStore(run) as store:
        values = store.values()
    found = values[values.probe == "anisotropy"]
    return dict(zip(found.step, found.value, strict=True))


def test_other_prompts_stand_beside_and_the_curve_is_through_those_of_most_checkpoints(tmp_path: Path) -> None:
    files = [on_prompts(tmp_path, step, "piqa", step / 1000, step) for step in (100, 200, 300)]
    files.append(on_prompts(tmp_path, 200, "sciq", 0.9, 5000))
    said: list[str] = []
    for order in (files, files[::-1]):
        run = tmp_path / f"run{len(said)}"
        import_scores(order, run, say=said.append)
        assert not said and curve(run) == {100: 0.1, 200: 0.2, 300: 0.3}
        assert import_scores(order, run, say=said.append).scores == 0  # also what the run does not show is held
        assert not said
        said = []
    import_scores([on_prompts(tmp_path, 200, "sciq", 0.8, 4000)], run, say=said.append)
    assert ["older than in" in line for line in said] == [True]


def test_of_prompts_that_all_checkpoints_have_one_makes_the_whole_curve(tmp_path: Path) -> None:
    files = []
    for step, (first, second) in {100: (1, 2), 200: (4, 3), 300: (5, 6)}.items():  # dates that alternate
        both = [on_prompts(tmp_path, step, "piqa", 0.1, first), on_prompts(tmp_path, step, "sciq", 0.7, second)]
        files += both if first < second else both[::-1]
    for name, order in (("back", files[::-1]), ("run", files)):
        import_scores(order, tmp_path / name)
        assert curve(tmp_path / name) == {100: 0.7, 200: 0.7, 300: 0.7}
    report = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert sum("anisotropy at step" in line for line in report.splitlines()) == 1


def test_a_sweep_after_an_import_counts_whatever_the_prompts(tmp_path: Path) -> None:
    import_scores([on_prompts(tmp_path, step, "piqa", 0.1, 1.0) for step in (100, 200)], tmp_path / "run")
    with RunStore.create(tmp_path / "run") as store:
        key = CheckpointKey("somebody/tiny", "step100", 100, "sha100", "somebody/tiny")
        store.record(key, [Measurement("anisotropy", {"text": "x"}, [Reading("mean_cosine", 0.9, 1, "block")])])
    assert curve(tmp_path / "run") == {100: 0.9, 200: 0.1}
    said: list[str] = []
    import_scores([on_prompts(tmp_path, 100, "sciq", 0.5, 9.0)], tmp_path / "run", say=said.append)
    assert ["measured by a sweep" in line for line in said] == [True] and curve(tmp_path / "run")[100] == 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": float("nan")},
        {"value": 10**400},
        {"value": True},
        {"value": "0.5"},
        {"metric": ""},
        {"probe": "lm_eval"},
        {"probe": None},
        {"layer": -1},
        {"layer": 2**40},
        {"layer": 0.5},
        {"site": 3},
        {"component": "a\0b"},
        {"n": "many"},
    ],
)
def test_a_row_that_is_no_value_is_counted_and_the_rest_goes_in(tmp_path: Path, wrong: dict[str, object]) -> None:
    said, values = imported(tmp_path / "run", written(tmp_path / "r.json", with_rows([{**ROWS[0], **wrong}, ROWS[1]])))
    assert [line.partition("r.json: ")[2] for line in said] == [
        "1 of 2 rows of config.lm_probe are no values and are left out"
    ]
    assert values[values.probe == "anisotropy"].layer.tolist() == [2]
    write_report([tmp_path / "run"])


@pytest.mark.parametrize("rows", [None, [], {}, "text", 5, [None], [[1]]])
def test_whatever_stands_in_the_place_of_the_rows(tmp_path: Path, rows: object) -> None:
    _, values = imported(tmp_path / "run", written(tmp_path / "r.json", with_rows(rows)))
    assert set(values.probe) == {"lm_eval"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_file_of_a_real_evaluation_comes_in_with_its_probes(series: Path, tmp_path: Path) -> None:
    from lm_probe.sweeps.hf_probe import HFProbe
    from tests.counting import evaluate

    lm = HFProbe(f"{series}/step8", probes="anisotropy", dtype="float32", device="cpu", batch_size=4)
    results = evaluate(lm, ["count_query_m5"], {"num_docs": 3})
    results.pop("samples")
    results["config"] |= {"model": "hf-probe", "model_args": f"pretrained={series},revision=step8"}
    path = written(tmp_path / "results_1.json", json.loads(json.dumps(results, default=str)))
    said, values = imported(tmp_path / "run", path)
    assert not said
    found = values[values.probe == "anisotropy"]
    assert found.value.tolist() == [value.value for value in lm.probe_values] and len(found) > 3
    assert set(values.step) == {8} and set(values.identity) == {results["config"]["model_sha"]}


def test_directions_are_lm_evals_own_and_an_unknown_one_is_said(tmp_path: Path) -> None:
    for place, step in enumerate((1000, 2000, 3000)):
        document = changed(
            HARNESS_4,
            results={
                "task": {"oddness,none": 5.0 - place, "strange,none": 1.0 + place, "acc,none": 0.5, "rate,none": 0.1}
            },
            higher_is_better={"task": {"oddness": False, "acc": True, "rate": None}},
        )
        document["config"]["model_args"]["revision"] = f"step{step}"
        document["config"]["model_sha"] = f"sha{step}"
        written(tmp_path / "files" / f"{step}.json", document)
    import_scores([tmp_path / "files"], tmp_path / "run")
    data = load([tmp_path / "run"])
    assert {one.metric: one.lower_is_better for one in measures(data)} == {"acc": False, "oddness": True}
    assert undirected(data) == ["rate (task)", "strange (task)"]
    report = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert "Whether low or high is better is not known of rate (task) and strange (task)" in report


def test_a_table_may_say_which_way_is_better(tmp_path: Path) -> None:
    head, *rows = CSV.splitlines()
    said = ["true", "no", "", "1", "maybe"]
    text = "\n".join([f"{head},higher_is_better", *(f"{row},{one}" for row, one in zip(rows, said, strict=True))])
    problems, _ = imported(tmp_path / "run", written(tmp_path / "t.csv", text.replace("piqa,acc,", "piqa,odd,") + "\n"))
    assert [line.partition("t.csv: ")[2] for line in problems] == [
        "line 6 is left out: higher_is_better is neither true nor false",
        "higher_is_better is true in some rows of piqa odd and false in others: the last counts",
    ]
    data = load([tmp_path / "run"])
    assert data.declared_lower("piqa", "odd") is True and data.declared_lower("piqa (5-shot)", "odd") is False


def test_a_direction_that_a_table_contradicts_is_said(tmp_path: Path) -> None:
    text = "model,step,task,metric,value,higher_is_better\nm,1,t,odd,1,true\nm,2,t,odd,2,false\nm,2,t,acc,2,\n"
    said, _ = imported(tmp_path / "run", written(tmp_path / "t.csv", text))
    assert [line.partition("t.csv: ")[2] for line in said] == [
        "higher_is_better is true in some rows of t odd and false in others: the last counts"
    ]
    data = load([tmp_path / "run"])
    assert data.declared_lower("t", "odd") is True


def test_importing_probes_is_told_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = changed(HARNESS_3, results={}, config={**HARNESS_3["config"], "lm_probe": ROWS})
    assert main(["import", str(written(tmp_path / "r.json", alone)), "--out", str(tmp_path / "run")]) == 0
    assert "2 values from 1 file" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["all of it", {"probe": "anisotropy"}], ids=["text", "mapping"])
def test_what_is_no_list_of_rows_is_said(tmp_path: Path, wrong: Any) -> None:
    said, _ = imported(tmp_path / "run", written(tmp_path / "r.json", with_rows(wrong)))
    assert [line.partition("r.json: ")[2] for line in said] == [
        "1 of 1 rows of config.lm_probe are no values and are left out"
    ]


def test_weights_that_the_run_measured_under_another_name_go_by_that_name(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_probe.sweeps.hf_probe import HFProbe
    from tests.counting import evaluate

    monkeypatch.chdir(series.parent.parent)
    local = f"{series.parent.name}/{series.name}"  # which looks like a name on the Hub
    run = tmp_path / "run"
    asked = ["--probes", "head_spectrum", "--tasks", "none", "--no-report"]
    assert main(["sweep", local, "--out", str(run), *asked]) == 0
    lm = HFProbe(local, revision="step8", probes="anisotropy", dtype="float32", device="cpu", batch_size=4)
    results = evaluate(lm, ["count_query_m5"], {"num_docs": 3})
    results.pop("samples")
    results["config"] |= {"model": "hf-probe", "model_args": f"pretrained={local},revision=step8"}
    path = written(tmp_path / "results_1.json", json.loads(json.dumps(results, default=str)))
    capsys.readouterr()
    assert main(["import", str(path), "--out", str(run)]) == 0
    assert f"; by the weights {local} step8 is {series.name} step8; lm-probe report" in capsys.readouterr().out
    with RunStore(run) as store:
        values = store.values()
    assert set(values.model) == {series.name}
    assert set(values[values.probe == "anisotropy"].revision) == {"step8"}


def test_of_copies_the_one_of_the_files_revision_is_meant_or_none(tmp_path: Path) -> None:
    identity = HARNESS_4["config"]["model_sha"]
    with RunStore.create(tmp_path) as store:
        for model, revision in (("a", "step1000"), ("a", "step2000"), ("b", "step2000")):
            key = CheckpointKey(model, revision, int(revision[4:]), identity, model)
            store.record(key, [Measurement("loss", {}, [Reading("loss", 3.0)])])
    for revision, model in (("step1000", "a"), ("step2000", "somebody/tiny"), ("step3000", "somebody/tiny")):
        config = {**HARNESS_4["config"], "model_args": {"pretrained": "somebody/tiny", "revision": revision}}
        _, values = imported(tmp_path, written(tmp_path / f"{revision}.json", changed(HARNESS_4, config=config)))
        assert set(values[(values.probe == "lm_eval") & (values.revision == revision)].model) == {model}
