"""Tasks that a tokenizer or a context cannot have: known before anything is measured, and told once."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lm_probe.cli import main
from lm_probe.reports import write_report
from lm_probe.sweeps import RunStore, SweepConfig, UserError, dry_run, sweep
from lm_probe.sweeps._job import prepare
from tests.conftest import make_model
from tests.loopback_hub import LoopbackHub
from tests.word_level import tiny_model, word_level_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LEFT_OUT = (  # of the series, whose tokenizer has fifteen of the words
    "tiny: left out: count_query_m20, most_frequent_word_m20, most_frequent_count_m20: 20 words are needed, 15 of 214 "
    'are 1 token in this tokenizer; take a task with a smaller m, or other words with --metadata \'{"arm": "rare"}\''
)
FIT = {f"{kind}_m{m}" for kind in ("count_query", "most_frequent_word", "most_frequent_count") for m in (5, 10)}


def config(source: Path | str, run: Path, **changed: Any) -> SweepConfig:
    asked: dict[str, Any] = dict(sources=(str(source),), out=run, probes=(), task_documents=1, device="cpu")
    return SweepConfig(**{**asked, **changed})


def test_default_tasks_that_cannot_be_asked_are_left_out_and_told_once(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["sweep", str(series), "--out", str(tmp_path / "run"), "--probes", "none", "--task-documents", "1"]
    assert main([*asked, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    kinds = ("count_query", "most_frequent_word", "most_frequent_count")
    first = f"probes: none; tasks: {', '.join(f'{kind}_m{m}' for kind in kinds for m in (5, 10, 20))}"
    assert said[:3] == [first, "settings: 1 document a task, float32, seed 1234", LEFT_OUT]
    assert said[3] == "tiny step0 ... step8, 3 checkpoints: each 0 of 6 finished"
    assert main([*asked, "--revisions", "0,1", "--no-report"]) == 0
    out, err = capsys.readouterr()
    assert err.count("words are needed") == 1 and LEFT_OUT in err
    assert out == "2 checkpoints: 12 measurements made, 0 finished before, 0 failed\n"
    with RunStore(tmp_path / "run") as store:
        assert {name for name in store.values().component if name} == FIT and store.failures().empty
    report = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    unfit = "count_query_m20, most_frequent_count_m20 and most_frequent_word_m20"
    said = f"Not asked of tiny, whose tokenizer or context cannot have it: {unfit} (20 words are needed, 15 of 214"
    assert said in report.split("## Counting")[1]
    assert "can count was not asked" not in report


def test_tasks_that_are_named_are_refused(series: Path, tmp_path: Path) -> None:
    for named, said in (
        (
            ("count_query_m20", "count_query_m5"),
            r"--tasks: count_query_m20 cannot be .*20 words.*--tasks count_query_m5",
        ),
        (("count_query_m20_gen_cot",), r"--tasks: count_query_m20_gen_cot cannot be .* give --tasks none"),
        (("word_counting",), r"--tasks: count_query_m20 and 20 more of the tasks cannot be asked .* 20 words .*rare"),
    ):
        for refuses in (sweep, lambda asked: list(dry_run(asked))):
            with pytest.raises(UserError, match=said):
                refuses(config(series, tmp_path / "run", tasks=named, probes=("loss",)))
    assert not (tmp_path / "run").exists()


def test_where_nothing_else_is_to_be_measured_that_is_said(series: Path, text_file: Path, tmp_path: Path) -> None:
    short = tmp_path / "short"
    shutil.copytree(series / "step1", short)
    settings = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 32}))
    with pytest.raises(UserError, match=r"short: left out: all 9 tasks: .* context holds 32; .*: name --probes"):
        prepare(config(short, tmp_path / "run"))
    job = prepare(config(short, tmp_path / "run", probes=("head_spectrum",)))
    assert job.names(job.visits[0]) == ["head_spectrum"] and not job.notices()
    job = prepare(config(short, tmp_path / "run", probes=None, text=str(text_file), tokens=100))
    assert job.names(job.visits[0]) == ["loss", "anisotropy", "head_spectrum"] and len(job.notices()) == 1
    sweep(job.config, silent=True)
    report = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert "Not asked of short, whose" in report.split("## Counting")[1]
    assert "Whether short can count was not asked, see [Counting](#counting)." in report
    sweep(config(short, tmp_path / "run", probes=("head_spectrum",), tasks=()), silent=True)
    assert "Not asked" not in write_report([tmp_path / "run"]).read_text(encoding="utf-8")


def test_each_tokenizer_is_asked_what_it_can_be(series: Path, tmp_path: Path) -> None:
    """One series goes on with a tokenizer that knows all words, and another model has it throughout."""
    mixed, words = Path(shutil.copytree(series, tmp_path / "mixed")), word_level_tokenizer()
    for folder in (mixed / "step8", tmp_path / "able"):
        tiny_model("pythia", len(words)).save_pretrained(folder)
        words.save_pretrained(folder)
    named = ("count_query_m20", "count_query_m5")
    job = prepare(config("", tmp_path, sources=(str(mixed), str(tmp_path / "able"), str(series)), tasks=named))
    assert [len(job.names(visit)) for visit in job.visits] == [1, 1, 2, 2, 1, 1, 1]
    (line,) = job.notices()
    assert line.startswith("mixed (2 of 3 checkpoints), tiny: left out: count_query_m20: 20 words are needed, 15 of")
    done = sweep(config(mixed, tmp_path / "run", tasks=named), silent=True)
    assert (done.measured, done.failures) == (4, [])


def test_a_checkpoint_without_a_tokenizer_is_told_at_its_turn(tmp_path: Path) -> None:
    make_model("gpt_neox").save_pretrained(tmp_path / "bare")
    done = sweep(config(tmp_path / "bare", tmp_path / "run"), silent=True)
    assert done.failures and all("has no tokenizer" in failure.error for failure in done.failures)


def test_on_the_hub_the_first_and_the_last_checkpoint_stand_for_their_repository(
    series: Path, hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.add_model("user/tiny", {step: series / step for step in ("step0", "step1", "step8")})
    said: list[str] = []
    asked = config("user/tiny", tmp_path / "run", revisions="all", audit=False)
    assert [one.measurements for one in dry_run(asked, say=said.append)] == [6] * 3
    assert said[2:] == [LEFT_OUT.replace("tiny:", "user/tiny:")]
    assert len({request.path for request in hub.requests if "tokenizer.json" in request.path}) == 2


def test_on_the_hub_a_later_tokenizer_may_have_the_words(series: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    words, able = word_level_tokenizer(), tmp_path / "able"
    tiny_model("pythia", len(words)).save_pretrained(able)
    words.save_pretrained(able)
    hub.add_model("user/tiny", {"step0": series / "step0", "step8": able})
    job = prepare(config("user/tiny", tmp_path / "run", revisions="all", audit=False, tasks=("count_query_m20",)))
    assert [job.names(visit) for visit in job.visits] == [["count_query_m20"]] * 2


def test_a_task_that_is_no_longer_asked_does_not_stay_failed(series: Path, tmp_path: Path) -> None:
    asked = config(series, tmp_path / "run", tasks=None, revisions="0")
    sweep(asked, silent=True)
    with RunStore.create(tmp_path / "run") as store:
        store.record_failure("tiny", "step0", 0, "count_query_m20", "20 words are needed")
    sweep(asked, silent=True)
    with RunStore(tmp_path / "run") as store:
        assert not len(store.failures())
