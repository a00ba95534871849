"""The plan of a sweep of folders: what is left, about how long it takes, and what is refused before anything starts."""

import json
import math
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedTokenizerFast

from lm_probe.cli import main
from lm_probe.model_adapters import open_checkpoint, open_weights
from lm_probe.probes._anisotropy import AnisotropyProbe
from lm_probe.sweeps import RunStore, Spread, SweepConfig, dry_run, sample_tokens, sweep
from lm_probe.sweeps._dry_run import Fetch, Planned, outline
from lm_probe.sweeps._estimate import Estimate, Estimator
from lm_probe.sweeps._flops import pass_flops, shape_of
from lm_probe.sweeps._job import prepare
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._plan_words import duration, lines_of, summarised
from lm_probe.sweeps._task_tokens import size_of_task
from lm_probe.sweeps.lm_eval_bridge import run_tasks
from lm_probe.sweeps.text import read_text
from tests.conftest import make_model
from tests.loopback_hub import LoopbackHub

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def config(series: Path, text_file: Path, tmp_path: Path) -> SweepConfig:
    return SweepConfig(
        sources=(str(series),), out=tmp_path / "run", text=str(text_file), tokens=300, context=32, device="cpu",
        probes=("loss", "anisotropy", "head_spectrum"), tasks=("count_query_m5",), task_documents=2,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "opt-350m", "llama"])
def test_a_pass_takes_the_operations_that_torch_counts(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    model.save_pretrained(tmp_path)
    model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.ones(3, 48, dtype=torch.long))
    counted = pass_flops(shape_of(open_weights(str(tmp_path))), 3 * 48, 48, logits=True)
    # Beside them only the projections between OPT-350m's two widths, and products that make no number.
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_what_this_run_took_is_what_is_expected(config: SweepConfig) -> None:
    def estimates() -> list[Estimate]:
        return [one.estimate for one in dry_run(config)]

    for one in estimates():
        assert one.calculated > 0 and not one.recorded and not one.unknown
    sweep(replace(config, revisions="0,1"), silent=True)
    with RunStore(config.out) as store:
        made = store.measurements()
    took = {probe: rows.seconds.median() for probe, rows in made.groupby("probe")}
    shared = max(took["loss"], took["anisotropy"])  # one pass
    *finished, left = estimates()
    assert finished == [Estimate(), Estimate()]
    assert left.recorded == pytest.approx(shared + took["head_spectrum"] + took["lm_eval"]) and not left.calculated
    job = prepare(config)
    with RunStore(config.out) as store:
        assert [(one.finished, one.estimate.recorded) for one in outline(job, store).planned] == [
            *((4, 0.0), (4, 0.0)),
            (0, left.recorded),
        ]


def test_what_cannot_be_told_is_named(config: SweepConfig) -> None:
    asked = replace(config, probes=("condensation",), tasks=("count_query_m5", "count_query_m5_gen"))
    assert [one.estimate.unknown for one in dry_run(asked)] == [{"condensation", "count_query_m5_gen"}] * 3


def test_a_task_is_as_large_as_what_the_model_is_given(series: Path) -> None:
    """Tokens, rows and answers, of prompts whose answers are one token and of others."""
    opened = open_checkpoint(str(series), "step1")
    seen: list[int] = []
    for task in ("count_query_m5", "most_frequent_word_m5"):
        seen.clear()
        hook = opened.model.base_model.register_forward_pre_hook(
            lambda _, given, named: seen.append((given[0] if given else named["input_ids"]).numel()), with_kwargs=True
        )
        run = run_tasks(
            opened.model, opened.needed_tokenizer(), [task], batch_size=1, num_docs=12, seed=0, model_args={}
        )
        hook.remove()
        told = size_of_task(task, opened.needed_tokenizer(), 512, {"num_docs": 12, "seed": 0})
        assert told is not None and told.tokens == pytest.approx(sum(seen), rel=0.1)
        assert told.rows == pytest.approx(len(seen), rel=0.1)
        assert told.requests == sum(len(document["resps"]) for document in run.samples[task])


def test_a_task_costs_what_no_operation_counts(config: SweepConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """On however fast a machine: lm-eval's own work on answers and prompts, and a layer's on next to no numbers."""
    monkeypatch.setattr(Estimator, "_rate", lambda *_: math.inf)

    def seconds(task: str, documents: int) -> float:
        asked = replace(config, probes=(), tasks=(task,), task_documents=documents, revisions="1")
        return sum(one.estimate.calculated for one in dry_run(asked))

    few, many = seconds("count_query_m5", 4), seconds("count_query_m5", 400)
    assert few > 0.04 and many - few == pytest.approx(99 * (few - 0.04)) and many > 2
    # As many prompts, and answers that double from 2 x 5 a document.
    more_answers = seconds("most_frequent_word_m10", 400) - seconds("most_frequent_word_m5", 400)
    assert more_answers == pytest.approx(400 * 10 * 1e-4)


def test_a_lower_bound_is_said_as_one() -> None:
    def said(estimate: Estimate) -> str:
        return summarised([Planned(Visit("one", "one", None, None), 1, 0, None, None, estimate)])[-1]

    assert said(Estimate(calculated=300.0)).startswith("estimated time: at least 5 min of measuring (by operations, ")
    assert said(Estimate(recorded=300.0)) == "estimated time: 5 min of measuring (as this run has taken so far)"


@pytest.mark.parametrize("config_says", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_pass_is_timed_in_the_type_that_the_model_is_loaded_as(
    dtype: torch.dtype,
    config_says: bool,
    config: SweepConfig,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "typed"
    make_model("gpt_neox").to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if not config_says:
        said = json.loads((folder / "config.json").read_text())
        kept = {key: value for key, value in said.items() if key not in ("dtype", "torch_dtype")}
        (folder / "config.json").write_text(json.dumps(kept))
    timed: list[torch.dtype] = []
    monkeypatch.setattr(Estimator, "_rate", lambda _, of, device: timed.append(of) or 1.0)
    for asked in ("stored", "float16"):
        (one,) = dry_run(replace(config, sources=(str(folder),), dtype=asked, probes=("loss",), tasks=()))
        assert one.estimate.calculated > 0
    assert timed == [open_checkpoint(str(folder)).model.dtype, torch.float16] == [dtype, torch.float16]


def test_a_damaged_first_checkpoint_does_not_stand_for_the_others(config: SweepConfig, tmp_path: Path) -> None:
    source = Path(shutil.copytree(config.sources[0], tmp_path / "bad"))
    (source / "step0" / "config.json").write_text("[1, 2]")
    _, *others = dry_run(replace(config, sources=(str(source),), tasks=()))
    assert all(one.estimate.calculated > 0 and not one.estimate.unknown for one in others)


def test_a_hub_that_gives_no_listing_is_waited_for_once(
    config: SweepConfig, series: Path, hub: LoopbackHub, no_pauses: list[float], tmp_path: Path
) -> None:
    steps = ("step0", "step1", "step8")
    hub.add_model("user/tiny", {step: series / step for step in steps})
    job = prepare(replace(config, sources=("user/tiny",), revisions="all", probes=("head_spectrum",), tasks=()))
    known = len(hub.requests)
    hub.fail("/api/models/", "503", math.inf)  # releases of huggingface_hub list files at different addresses
    with RunStore.create(tmp_path / "other") as store:
        planned = outline(job, store).planned
    assert [one.problem is not None for one in planned] == [True] * 3
    assert "3 could not be looked at, the first: " in summarised(planned)[0]
    assert len({request.path for request in hub.requests[known:]}) == 1


def test_times_count_wherever_they_were_taken_when_nobody_knows_where_there_is_room(config: SweepConfig) -> None:
    sweep(replace(config, revisions="0,1", tasks=()), silent=True)
    with RunStore(config.out) as store, sqlite3.connect(config.out / "run.db") as database:
        database.execute("UPDATE measurements SET device = 'cuda:0', seconds = 3600 WHERE probe = 'loss'")
        database.commit()
        jobs = {device: prepare(replace(config, tasks=(), device=device)) for device in ("auto", "cpu")}
        told = [
            outline(jobs[device], store, spread).planned[-1].estimate.recorded > 3600
            for device, spread in (("auto", None), ("cpu", Spread()), ("cpu", None))
        ]
    assert told == [True, True, False]


def test_no_estimate_ends_a_sweep(config: SweepConfig, tmp_path: Path) -> None:
    """The first checkpoint, which stands for the others, is not what a header should be."""
    source = Path(shutil.copytree(config.sources[0], tmp_path / "bad"))
    save_file({"embed_out.weight": torch.ones(320, 16)}, source / "step0" / "model.safetensors")
    done = sweep(replace(config, sources=(str(source),), tasks=()))
    assert {failure.checkpoint for failure in done.failures} == {"bad step0"} and done.measured >= 6


def _arguments(config: SweepConfig, *more: str) -> list[str]:
    probes = ["--probes", "head_spectrum,loss", "--tasks", "none", "--text", str(config.text), "--tokens", "300"]
    return ["sweep", *config.sources, "--out", str(config.out), "--context", "32", "--no-report", *probes, *more]


def test_a_text_with_fewer_tokens_than_asked_for_is_told_once(
    config: SweepConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the time is that of the tokens there are."""
    monkeypatch.setattr(Estimator, "_rate", lambda *_: 1e6)

    def seconds(tokens: int) -> float:
        return sum(one.estimate.calculated for one in dry_run(replace(config, tokens=tokens, tasks=())))

    opened = open_checkpoint(str(config.sources[0]), "step1")
    text = read_text(config.text).documents
    there = sample_tokens(text, opened.tokenizer, tokens=10**6, context=32, seed=config.seed).n_tokens
    assert seconds(10**6) == seconds(there + 2) == seconds(there) > 1.5 * seconds(there // 2)
    capsys.readouterr()
    said = f"the text has {there:,} tokens, all are used: --tokens {there + 2} asks for more"
    for dry in (["--dry-run"], []):
        assert main(_arguments(config, "--tokens", str(there + 2), *dry)) == 0
        assert "".join(capsys.readouterr()).splitlines().count(said) == 1
        assert main(_arguments(config, "--tokens", str(there), *dry)) == 0
        assert "all are used" not in "".join(capsys.readouterr())


def test_of_folders_only_what_concerns_them_is_said(config: SweepConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(config, "--dry-run")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "probes: head_spectrum, loss; tasks: none",
        "settings: 300 tokens of text.jsonl in windows of at most 32, float32, seed 1234",
        "tiny step0 ... step8, 3 checkpoints: each 0 of 2 finished",
        "3 checkpoints, 0 of 6 measurements finished",
        "estimated time: at least a few seconds of measuring (by operations, requests and a timed matrix product; "
        "loading and what probes do with hidden states come on top); nothing was started",
    ]
    assert not config.out.exists()


def test_a_sweep_begins_with_its_plan(config: SweepConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(config, "--revisions", "0,1")) == 0
    assert "2 checkpoints, 0 of 4 measurements finished\nestimated time: " in _lines(capsys.readouterr().err)
    assert main(_arguments(config)) == 0
    said = _lines(capsys.readouterr().err)
    assert "3 checkpoints, at most 4 of 6 measurements finished (whether files have changed since is seen when " in said
    assert "they are read)\nestimated time: " in said
    assert "as this run has taken so far" in said
    assert main(_arguments(config, "--dry-run")) == 0
    assert capsys.readouterr().out.endswith("3 checkpoints, 6 of 6 measurements finished; nothing was started\n")


def test_of_weights_that_changed_nothing_is_called_finished(
    config: SweepConfig, series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a dry run, which reads them, and in the end; when a sweep begins it does not know."""
    copy = Path(shutil.copytree(series, tmp_path / "copy"))
    asked = replace(config, sources=(str(copy),))
    assert main(_arguments(asked)) == 0
    assert "3 checkpoints, 0 of 6 measurements finished\n" in capsys.readouterr().err
    make_model("gpt_neox", seed=7).save_pretrained(copy / "step1")
    assert main(_arguments(asked, "--dry-run")) == 0
    assert "3 checkpoints, 4 of 6 measurements finished\n" in capsys.readouterr().out
    main(_arguments(asked))
    out, err = capsys.readouterr()
    assert "3 checkpoints, at most 6 of 6 measurements finished (" in err
    assert ", 4 finished before, " in out


def test_checkpoints_of_which_the_same_is_said_are_one_line_and_no_figure_is_lost() -> None:
    def planned(model: str, step: int, finished: int, fetch: Fetch | None = None, why: str | None = None) -> Planned:
        return Planned(Visit(model, model, f"step{step}", step), 2, finished, fetch, why)

    some, other = Fetch(1, 3_000_000, 3_000_000, True), Fetch(1, 1_000_000, 3_000_000)
    steps = [
        *(planned("a", step, 2) for step in (0, 1, 2)),
        *(planned("a", step, 0) for step in (4, 8)),
        planned("a", 16, 2),
        *(planned("b", step, 2) for step in (0, 1)),
        *(planned("b", step, 0, fetch) for step, fetch in ((2, some), (4, some), (8, some), (16, other))),
        *(planned("b", step, 0, some, "is not there") for step in (32, 64)),
    ]
    assert list(lines_of(steps)) == [
        "a step0 ... step2, 3 checkpoints: each 2 of 2 finished",
        "a step4 and step8: each 0 of 2 finished",
        "a step16: 2 of 2 finished",
        "b step0 and step1: each 2 of 2 finished",
        "b step2 ... step8, 3 checkpoints: each 0 of 2 finished, to fetch 3.0 MB of 3.0 from 1 weight file (all)",
        "b step16: 0 of 2 finished, to fetch 1.0 MB of 3.0 from 1 weight file (single tensors)",
        "b step32 and step64: is not there",
    ]


def test_what_the_run_holds_under_other_settings_is_said(
    config: SweepConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ["--tasks", "count_query_m5,count_query_m10", "--task-documents", "2"]
    assert main(_arguments(config, "--revisions", "0", *tasks)) == 0

    def said(*more: str) -> list[str]:
        capsys.readouterr()
        assert main(_arguments(config, *tasks, *more, "--dry-run")) == 0
        out = capsys.readouterr().out.splitlines()
        assert out[0] == "probes: head_spectrum, loss; tasks: count_query_m5, count_query_m10"
        return [line for line in out if " holds " in line]

    with RunStore(config.out) as store:
        values = store.values(all_settings=True)
    of_tasks = set(values[values.probe == "lm_eval"].arguments)
    assert of_tasks == {"--task-documents 2 --seed 1234 --dtype float32"}
    end = "what is asked now is not compared with them; ask for the same, or choose another --out"
    assert said() == [] == said("--revisions", "8")
    held = f"{config.out} holds "
    tasks_named = "count_query_m10, count_query_m5"
    assert said("--tokens", "299", "--revisions", "1") == [
        f"{held}2 measurements made with --tokens 300 (head_spectrum, loss of tiny step0): {end}"
    ]
    assert said("--dtype", "bfloat16", "--revisions", "1") == [
        f"{held}3 measurements made with --dtype float32 ({tasks_named}, loss of tiny step0): {end}"
    ]
    assert said("--task-documents", "3", "--context", "16", "--revisions", "8") == [
        f"{held}4 measurements made with --context 32, other documents, --metadata or versions of a task "
        f"(head_spectrum, {tasks_named}, loss of tiny step0): {end}"
    ]


def test_what_is_set_aside_is_said_before_it_is(
    config: SweepConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the sweep too, and again where the earlier settings come back; nothing of it is lost."""

    def said(*more: str, of: SweepConfig = config) -> list[str]:
        assert main(_arguments(of, *more)) == 0
        out, err = capsys.readouterr()
        return [line for line in [*out.splitlines(), *_lines(err).splitlines()] if str(config.out) in line]

    def aside(number: int, tokens: int, which: str) -> str:
        return (
            f"{config.out}: what is asked now sets aside {number} finished measurements made with --tokens {tokens} "
            f"(head_spectrum, loss of {which}): report and export show what was asked for last; nothing is lost, "
            f"lm-probe export {config.out} --all-settings has both, and a sweep as before shows those again"
        )

    assert said() == []
    shorter = "--revisions", "1", "--tokens", "200"
    first, other = said(*shorter, "--dry-run")
    assert first == aside(2, 300, "tiny step1") and "holds 4 measurements made with --tokens 300" in other
    assert said(*shorter) == [first, other]
    assert said(*shorter) == [other]
    with RunStore(config.out) as store:
        shown, everything = store.values(), store.values(all_settings=True)
        assert store.not_shown() == 2
    assert said() == [aside(2, 200, "tiny step1")]
    alone = str(Path(shutil.copytree(Path(config.sources[0]) / "step1", tmp_path / "alone")))
    one = replace(config, sources=(alone,))
    assert said(of=one) == [] and "(head_spectrum, loss of alone)" in said("--tokens", "200", of=one)[0]
    with RunStore(config.out) as store:
        before = store.values()
    loss = everything[everything.metric == "loss"]
    assert [*zip(loss.step, loss.arguments.str.split(" --c").str[0], strict=True)] == [
        (0, "--tokens 300"), (1, "--tokens 300"), (1, "--tokens 200"), (8, "--tokens 300")
    ]  # fmt: skip
    assert not everything.duplicated([*shown.columns[:9], "settings"]).any()
    assert {*everything.value} == {*shown.value} | {*before.value} > {*shown.value}


def test_what_another_version_measured_is_set_aside_by_its_name(
    config: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a package, and of a probe; it is shown as before once more when that version asks."""
    config = replace(config, probes=("loss", "anisotropy"), tasks=())
    sweep(config, silent=True)
    said: list[str] = []

    def held() -> str:
        said.clear()
        list(dry_run(config, say=said.append))
        return "".join(line for line in said if str(config.out) in line)

    assert held() == ""
    with RunStore.create(config.out) as store, store._transaction() as db:
        older = "json_set(versions, '$.lm-probe', '0.0.1', '$.python', '2.7', '$.datasets', '')"
        db.execute(f"UPDATE measurements SET versions_hash = 'older', versions = {older} WHERE probe = 'loss'")
    made = f"{config.out}: what is asked now sets aside 3 finished measurements made with"
    assert held().startswith(f"{made} lm-probe 0.0.1, no datasets (loss of 3 checkpoints): report and export show")
    assert held().endswith("nothing is lost, a sweep as before with those versions shows those again")
    monkeypatch.setattr(AnisotropyProbe, "version", 9)
    assert "sets aside 6 finished measurements made with version 2 of anisotropy, lm-probe 0.0.1" in held()
    sweep(config, silent=True)
    assert held() == ""
    monkeypatch.undo()
    assert "sets aside 3 finished measurements made with version 9 of anisotropy" in held()
    with RunStore(config.out) as store:
        number = store._rows("SELECT max(id) FROM measurements")[0][0]
        sweep(config, silent=True)
        assert {
            *store.measurements()[store.measurements().probe == "anisotropy"].config.map(lambda one: one["version"])
        } == {2}
        assert store._rows("SELECT max(id) FROM measurements")[0][0] == number


def _lines(said: str) -> str:
    """Without the progress."""
    return "\n".join(line for line in said.splitlines() if " measurements in " not in line)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--tries", "0", "--ray"], "--tries 0"),
        (["--gpus-per-task", "nan", "--ray"], "--gpus-per-task nan cannot be given"),
        (["--gpus-per-task", "inf", "--ray"], "--gpus-per-task inf cannot be given"),
        (["--cache-gb", "1", "--ray"], "--cache-gb bounds the Hub cache of this machine alone"),
        (["--ray", "nowhere at all"], "--ray nowhere at all is no address"),
        (["--device", "abacus"], "device abacus cannot be used"),
        (["--device", "meta"], "device meta cannot be used"),
        (["--device", "xla"], "device xla cannot be used"),
        (["--device", "hpu"], "device hpu cannot be used"),
    ],
)
def test_a_dry_run_refuses_what_the_sweep_would(
    more: list[str], said: str, config: SweepConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    for dry in ([], ["--dry-run"]):
        assert main(_arguments(config, *more, *dry)) == 2
        out, err = capsys.readouterr()
        assert said in err and not out and not config.out.exists()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "less than a minute"), (90, "2 min"), (3599, "1 h 0 min"), (12_000, "3 h 20 min"), (200_000, "2 d 7 h")],
)
def test_a_time_is_said_in_two_units(seconds: float, said: Any) -> None:
    assert duration(seconds) == said
