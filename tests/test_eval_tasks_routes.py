"""Every cell on three families of models, by lm-eval's command, by ours and by the sweep's bridge: the same scores."""

import argparse
import functools
import json
import logging
import sys
import warnings
from pathlib import Path

import lm_eval.tasks
import pytest
from lm_eval.__main__ import cli_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._index import TaskIndex

from lm_probe.cli import eval as eval_command
from lm_probe.eval_tasks import tasks_path
from lm_probe.eval_tasks._cells import GROUPS
from lm_probe.model_adapters import UserError
from lm_probe.sweeps import _lm_eval_quiet
from lm_probe.sweeps._task_values import clustered_stderr
from lm_probe.sweeps.lm_eval_bridge import run_tasks, task_config_hash
from tests.word_level import tiny_model, word_level_tokenizer

ARGS = {"pretrained": "somebody/tiny", "revision": "step64", "sha": "0123abcd"}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SWEEP_ONLY = ("vocabulary_", "different_words", "list_words", "answers_one_token")  # come with the sweep alone


@pytest.fixture(autouse=True)
def quick_and_quiet(monkeypatch):
    """Without the index of lm-eval's own tasks, whose reading takes seconds; its command sets logging for good."""
    build = TaskIndex.build
    theirs = Path(lm_eval.tasks.__file__).parent
    monkeypatch.setattr(TaskIndex, "build", lambda self, paths: build([path for path in paths if path != theirs]))
    # It encodes a prompt again for each of its answers.
    monkeypatch.setattr(HFLM, "tok_encode", functools.lru_cache(maxsize=2)(HFLM.tok_encode))
    logger = logging.getLogger("lm_eval")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], before[2]


@pytest.fixture(scope="module")
def tokenizer():
    return word_level_tokenizer()


def by_command(run, folder: Path, out: Path, tasks: str, metadata: str) -> dict:
    """The results that a command line writes."""
    model = ["--model", "hf", "--model_args", f"pretrained={folder},dtype=float32", "--device", "cpu"]
    more = ["--tasks", tasks, "--metadata", metadata, "--batch_size", "8", "--output_path", str(out)]
    with warnings.catch_warnings(), _lm_eval_quiet.same_random_state(), _lm_eval_quiet.system_report_once():
        warnings.simplefilter("ignore")
        run([*model, *more])
    (path,) = out.rglob("results_*.json")
    return json.loads(path.read_text())["results"]


def lm_evals(arguments: list[str]) -> None:
    before = sys.argv
    sys.argv = ["lm-eval", "run", "--include_path", str(tasks_path()), *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = before


def ours(arguments: list[str]) -> None:
    assert eval_command.run(argparse.Namespace(arguments=arguments)) == 0


@pytest.mark.parametrize("family", ["gpt2", "pythia", "opt"])
def test_three_ways_to_the_same_scores_of_every_cell(family: str, tokenizer, tmp_path: Path) -> None:
    model = tiny_model(family, len(tokenizer))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    bridge = run_tasks(model, tokenizer, ["word_counting"], num_docs=1, batch_size=8, model_args=ARGS)
    theirs = by_command(lm_evals, tmp_path / "model", tmp_path / "theirs", "word_counting", '{"num_docs": 1}')
    same = by_command(ours, tmp_path / "model", tmp_path / "ours", "word_counting", '{"num_docs": 1}')
    names = {cell.name for cell in GROUPS["word_counting"]}
    assert {score.task for score in bridge.scores} == names < set(theirs)
    compared = [score for score in bridge.scores if not score.metric.startswith(SWEEP_ONLY)]
    assert len(compared) > 15 * len(names)
    for score in compared:
        for results in (theirs, same):
            assert results[score.task][f"{score.metric},none"] == pytest.approx(score.value, abs=1e-3), score
    assert {score.metric for score in bridge.scores} > {"vocabulary_mean_cos", "vocabulary_effective_rank"}


def test_generated_answers_are_the_same_three_ways(tokenizer, tmp_path: Path) -> None:
    model = tiny_model("pythia", len(tokenizer))
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    names = ["count_query_m5_gen", "most_frequent_word_m5_gen_cot"]
    bridge = run_tasks(model, tokenizer, names, num_docs=2, model_args=ARGS)
    scores = {(score.task, score.metric): score.value for score in bridge.scores}
    assert scores[names[0], "truncated"] == 1  # a random model never ends its line
    for turn, run in enumerate((lm_evals, ours)):
        results = by_command(run, tmp_path / "model", tmp_path / str(turn), ",".join(names), '{"num_docs": 2}')
        for (task, metric), value in scores.items():
            if not metric.startswith(SWEEP_ONLY):
                assert results[task][f"{metric},none"] == pytest.approx(value)


def test_lm_evals_command_refuses_a_prompt_that_does_not_fit(tokenizer, tmp_path: Path) -> None:
    """lm-eval alone would cut the list's beginning off and go on."""
    tiny_model("gpt2", len(tokenizer), context=100).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"count_query_m10: .* the model's context holds 100; leave the task out"):
        by_command(lm_evals, tmp_path, tmp_path / "out", "count_query_m5,count_query_m10", '{"num_docs": 1}')


# What the bridge adds


def test_options_reach_the_bridge_and_its_hash(tokenizer) -> None:
    model = tiny_model("pythia", len(tokenizer), 256)
    options = {"questions_per_list": 3, "separator": "comma"}
    run = run_tasks(model, tokenizer, ["count_query_m5"], num_docs=9, metadata=options, model_args=ARGS)
    rows = run.samples["count_query_m5"]
    assert [row["doc"]["list_id"] for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert task_config_hash("count_query_m5", 9, 1, options) != task_config_hash("count_query_m5", 9, 1)
    scores = {score.metric: score for score in run.scores}
    for metric in ("mae", "expected_mae", "floor_chance_mae"):
        expected = clustered_stderr([row[metric] for row in rows], [0, 0, 0, 1, 1, 1, 2, 2, 2])
        assert scores[metric].stderr == pytest.approx(expected)
    plain = run.results["results"]["count_query_m5"]["floor_chance_mae_stderr,none"]
    assert scores["floor_chance_mae"].stderr != pytest.approx(plain)
    assert scores["slope"].stderr is None
    with pytest.raises(UserError, match="separator='tab' cannot be used"):
        run_tasks(model, tokenizer, ["count_query_m5"], metadata={"separator": "tab"}, model_args=ARGS)


def test_too_few_words_are_the_users_error() -> None:
    tokenizer = word_level_tokenizer(leave_out=210)
    with pytest.raises(UserError, match="count_query_m5: 5 words are needed, 4 of 214"):
        run_tasks(tiny_model("pythia", len(tokenizer), 256), tokenizer, ["count_query_m5"], model_args=ARGS)


def test_the_vocabularys_geometry_is_that_of_the_models_embeddings(tokenizer) -> None:
    model = tiny_model("gpt2", len(tokenizer), 256)
    words = run_tasks(model, tokenizer, ["most_frequent_word_m5"], num_docs=3, model_args=ARGS)
    scores = {score.metric: score for score in words.scores}
    expected = []
    for row in words.samples["most_frequent_word_m5"]:
        table = model.transformer.wte.weight[tokenizer.convert_tokens_to_ids(row["doc"]["vocabulary"])].detach()
        cosines = (table / table.norm(dim=1, keepdim=True)) @ (table / table.norm(dim=1, keepdim=True)).T
        expected.append(float(cosines.fill_diagonal_(0).abs().max()))
    assert scores["vocabulary_max_cos"].value == pytest.approx(sum(expected) / 3, abs=1e-6)
    assert scores["vocabulary_max_cos"].n == 3
    assert 1 < scores["vocabulary_effective_rank"].value < 5


def test_clustered_errors() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    alone = clustered_stderr(values, range(4))
    mean = sum(values) / 4
    assert alone == pytest.approx((sum((value - mean) ** 2 for value in values) / 3 / 4) ** 0.5)  # s / sqrt(n)
    repeated = clustered_stderr([value for value in values for _ in range(5)], [k for k in range(4) for _ in range(5)])
    assert repeated == pytest.approx(alone)  # saying the same five times is no more evidence
    assert clustered_stderr([1.0, 2.0], ["a", "a"]) is None
