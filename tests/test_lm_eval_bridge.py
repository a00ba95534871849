"""Running lm-eval on a loaded model, its result files, and the three ways to our tasks."""

import argparse
import json
import logging
import os
import pickle
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path

import lm_eval.tasks
import numpy as np
import pytest
import torch
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import TaskIndex
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from lm_probe.cli import eval as eval_command
from lm_probe.cli import tasks as tasks_command
from lm_probe.eval_tasks import listing, task_manager, tasks_path
from lm_probe.eval_tasks._cells import GROUPS, cell_of
from lm_probe.eval_tasks._documents import build
from lm_probe.eval_tasks._yaml_files import metrics_of
from lm_probe.model_adapters import UserError
from lm_probe.sweeps import _lm_eval_names, _lm_eval_quiet
from lm_probe.sweeps._lm_eval_names import _KEPT, _managers, our_tasks
from lm_probe.sweeps.lm_eval_bridge import expand_tasks, run_tasks, save_results, task_config_hash
from tests.word_level import word_level_tokenizer

GEOMETRY = [
    *("vocabulary_max_cos", "vocabulary_mean_cos", "vocabulary_effective_rank"),
    *("different_words", "list_words", "answers_one_token"),
]
ARGS = {"pretrained": "somebody/tiny", "revision": "step64", "sha": "0123abcd"}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_level_tokenizer()


def tiny(tokenizer: PreTrainedTokenizerFast, context: int = 256) -> GPTNeoXForCausalLM:
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=len(tokenizer) + 5,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=context,
            bos_token_id=1,
            eos_token_id=1,
        )
    )


@pytest.fixture(scope="module")
def model(tokenizer) -> GPTNeoXForCausalLM:
    return tiny(tokenizer)


@pytest.fixture(scope="module")
def task_run(model, tokenizer):
    return run_tasks(model, tokenizer, ["count_query_m5", "most_frequent_word_m5"], num_docs=6, model_args=ARGS)


# Names


@pytest.fixture(scope="module", autouse=True)
def some_of_lm_evals_tasks(tmp_path_factory):
    """Four folders in the place of lm-eval's fourteen thousand files, whose reading takes seconds."""
    folder = tmp_path_factory.mktemp("theirs")
    cell = tasks_path() / "word_counting" / "count_query_m5.yaml"
    (folder / "theirs.yaml").write_text(f"include: {cell}\ntask: theirs\n")
    (folder / "changed.yaml").write_text("group: changed\ntask:\n  - task: theirs\n    target_delimiter: ''\n")
    theirs = Path(lm_eval.tasks.__file__).parent
    manager = task_manager(include_path=[theirs / "arc", theirs / "mmlu", theirs / "hellaswag", folder])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lm_eval_names, "every_task", lambda: manager)
        yield


def test_groups_patterns_of_names_and_repeats_become_tasks() -> None:
    assert expand_tasks(["word_counting_small"]) == [cell.name for cell in GROUPS["word_counting_small"]]
    assert expand_tasks(["count_query_m10", "word_counting_small"])[:2] == ["count_query_m10", "count_query_m5"]
    assert expand_tasks([]) == []


def test_an_unknown_name_gets_near_ones() -> None:
    with pytest.raises(UserError, match=r"'count_query_m6' \(near it: count_query_m\d.*lm-probe tasks") as error:
        expand_tasks(["count_query_m5", "count_query_m6"])
    assert "\n" not in str(error.value)


def test_tasks_groups_and_tags_of_lm_eval_are_known() -> None:
    assert expand_tasks(["arc_easy", "count_query_m5"]) == ["arc_easy", "count_query_m5"]
    assert expand_tasks(["ai2_arc"]) == ["arc_challenge", "arc_easy"]  # a tag
    assert "mmlu_anatomy" in expand_tasks(["mmlu"])  # a group of groups
    assert [folder.name for folder in _lm_eval_names.folders_of(["arc_easy"])] == ["arc"]


def test_hashes_follow_what_is_asked() -> None:
    names = ["count_query_m5", "count_query_m10", "arc_easy", "arc_challenge"]
    hashes = {task_config_hash(name, n, seed) for name in names for n in (None, 20) for seed in (1, 2)}
    assert len(hashes) == 16
    assert task_config_hash("count_query_m5", None, 1234) == task_config_hash("count_query_m5", 200, 1234)
    task = _lm_eval_names.every_task().task_index["hellaswag"]
    assert "site-packages" in str(task.cfg)  # where its Python functions are
    asked = str(_lm_eval_names.portable(task.cfg))
    assert "site-packages" not in asked
    assert re.search(r"'utils\.\w+', '[0-9a-f]{64}'", asked)
    with pytest.raises(UserError, match="nothing_such"):
        task_config_hash("nothing_such", None, 1)


# Running


def test_scores_are_plain_numbers_with_paired_errors(task_run) -> None:
    scores = {(score.task, score.metric): score for score in task_run.scores}
    for task in ("count_query_m5", "most_frequent_word_m5"):
        declared = {metric.name: metric for metric in metrics_of(cell_of(task))}
        assert {metric for name, metric in scores if name == task} == {*declared, *GEOMETRY}
        for score in (score for score in task_run.scores if score.task == task):
            assert type(score.value) is float
            facts = ("different_words", "list_words", "answers_one_token")  # of the documents, not a sample's mean
            without = score.metric in facts or (
                score.metric in declared and declared[score.metric].aggregation != "mean"
            )
            assert type(score.stderr) is (type(None) if without else float)
            assert score.n == 6
    errors = [row["mae_gap"] for row in task_run.samples["count_query_m5"]]
    gap = scores["count_query_m5", "mae_gap"]
    assert gap.value == pytest.approx(np.mean(errors))
    assert gap.stderr == pytest.approx(np.std(errors, ddof=1) / 6**0.5)
    assert gap.value == pytest.approx(
        scores["count_query_m5", "mae"].value - scores["count_query_m5", "mae_binary"].value
    )
    assert pickle.loads(pickle.dumps(task_run)) == task_run  # it comes back from another process


def test_what_all_documents_share_has_no_error_and_no_rounding(task_run) -> None:
    """lm-eval adds up the 0.2 of six documents to a mean of 0.19999999999999998 with an error of 1.2e-17."""
    constant = 0
    for score in task_run.scores:
        own = [row[score.metric] for row in task_run.samples[score.task] if score.metric in row]
        if score.stderr is not None and own and len(set(own)) == 1:
            constant += 1
            assert (score.value, score.stderr) == (own[0], 0.0), score
        elif own and score.stderr is not None:
            assert score.stderr > 1e-9, score
    assert constant >= 6


def test_log_likelihoods_are_the_models_own(task_run, model, tokenizer) -> None:
    row = task_run.samples["count_query_m5"][3]
    size = len(row["doc"]["choices"])
    for place in (0, 7, size + 9):
        prompt, answer = row["arguments"][place]
        ids = tokenizer(prompt + answer, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model.eval()(ids).logits.log_softmax(-1)
        assert row["filtered_resps"][place][0] == pytest.approx(logits[0, -2, ids[0, -1]].item(), abs=1e-4)


def test_the_caller_gets_everything_back_as_it_was(model, tokenizer) -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    logger, level = logging.getLogger("lm_eval"), logging.getLogger("lm_eval").level
    model.train()
    run_tasks(model, tokenizer, ["count_query_m5"], num_docs=2, model_args=ARGS)
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected
    assert tokenizer.pad_token is None
    assert model.training
    assert logger.level == level


def test_nothing_is_printed(model, tokenizer, capfd) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_tasks(model, tokenizer, ["count_query_m5"], num_docs=2, model_args=ARGS)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in caught] == []


def test_the_machine_is_described_once(model, tokenizer, monkeypatch, task_run) -> None:
    from lm_eval import evaluator

    before = evaluator.add_env_info
    monkeypatch.setattr("torch.utils.collect_env.get_pretty_env_info", lambda: pytest.fail("described again"))
    again = run_tasks(model, tokenizer, ["count_query_m5"], num_docs=2, model_args=ARGS)
    assert again.results["pretty_env_info"] == task_run.results["pretty_env_info"]
    assert "PyTorch version" in again.results["pretty_env_info"]
    assert evaluator.add_env_info is before


def test_seed_and_number_choose_the_documents(model, tokenizer, task_run) -> None:
    other = run_tasks(model, tokenizer, ["count_query_m5"], num_docs=2, seed=9, model_args=ARGS)
    ours = [row["doc"]["hash"] for row in task_run.samples["count_query_m5"][:2]]
    assert ours != [row["doc"]["hash"] for row in other.samples["count_query_m5"]]
    assert {score.n for score in other.scores} == {2}


def test_lm_evals_tasks_run_beside_ours_and_stop_at_the_number(model, tokenizer, task_run) -> None:
    both = run_tasks(model, tokenizer, ["theirs", "count_query_m5"], num_docs=6, seed=9, model_args=ARGS)
    assert {(score.task, score.n) for score in both.scores} == {("theirs", 6), ("count_query_m5", 6)}
    hashes = {task: [row["doc"]["hash"] for row in rows] for task, rows in both.samples.items()}
    # the seed is for our generators only
    assert hashes["theirs"] == [row["doc"]["hash"] for row in task_run.samples["count_query_m5"]]
    assert hashes["theirs"] != hashes["count_query_m5"]
    assert both.results["configs"]["theirs"]["metadata"]["pretrained"] == "somebody/tiny"


def test_a_group_that_changes_its_tasks_is_refused() -> None:
    with pytest.raises(UserError, match=r"'changed' changes the settings.*lm-probe eval --tasks changed"):
        expand_tasks(["changed"])


def test_a_prompt_that_does_not_fit_is_refused_by_name(tokenizer) -> None:
    with pytest.raises(UserError, match=r"count_query_m10: .*\d+ tokens.* holds 96; leave the task out") as error:
        run_tasks(tiny(tokenizer, 96), tokenizer, ["count_query_m5", "count_query_m10"], num_docs=2, model_args=ARGS)
    assert "\n" not in str(error.value)


def test_a_prompt_that_just_fits_is_scored(tokenizer) -> None:
    prompt = build("count_query_m5", num_docs=1)["test"][0]["full_prompt"]
    longest = len(tokenizer(prompt).input_ids)  # the answer's one token is predicted and not read
    run_tasks(tiny(tokenizer, longest), tokenizer, ["count_query_m5"], num_docs=2, model_args=ARGS)
    with pytest.raises(UserError, match="count_query_m5"):
        run_tasks(tiny(tokenizer, longest - 1), tokenizer, ["count_query_m5"], num_docs=2, model_args=ARGS)


def test_a_model_of_nan_has_no_score(tokenizer) -> None:
    broken = tiny(tokenizer)
    broken.get_output_embeddings().weight.data[3, 3] = float("nan")
    with pytest.raises(UserError, match=r"count_query_m5: .*NaN"):
        run_tasks(broken, tokenizer, ["count_query_m5"], num_docs=2, model_args=ARGS)


def test_no_tasks_is_a_mistake(model, tokenizer) -> None:
    with pytest.raises(UserError, match="no tasks to run"):
        run_tasks(model, tokenizer, [], model_args=ARGS)


# Result files


def test_the_result_file_is_lm_evals_and_says_which_checkpoint(task_run, tmp_path) -> None:
    path = save_results(task_run, tmp_path / "a" / "step64")
    stored = json.loads(path.read_text())
    assert path.parent == tmp_path / "a" / "step64"
    assert path.name.startswith("results_")
    assert stored["results"]["count_query_m5"]["mae,none"] == task_run.results["results"]["count_query_m5"]["mae,none"]
    config = stored["config"]
    assert (config["model"], config["model_revision"], config["model_sha"]) == ("hf-probe", "step64", "0123abcd")
    assert config["model_args"] == ARGS
    assert config["batch_size"] == 16
    assert stored["model_name"] == "somebody/tiny"
    assert set(stored["task_hashes"]) == {"count_query_m5", "most_frequent_word_m5"}
    assert float(stored["total_evaluation_time_seconds"]) >= task_run.seconds
    assert list(path.parent.iterdir()) == [path]
    path = save_results(task_run, tmp_path / "with", samples=True)
    (samples,) = path.parent.glob("samples_count_query_m5_*.jsonl")
    assert len(samples.read_text().splitlines()) == 6
    assert isinstance(task_run.samples["count_query_m5"][0]["arguments"], list)  # the run itself is as it was


def test_a_folder_that_cannot_be_written_is_said(task_run, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        save_results(task_run, tmp_path / "file")


# Commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer, model):
    folder = tmp_path_factory.mktemp("tiny")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def common(folder: Path, out: Path) -> list[str]:
    model = ["--model", "hf", "--model_args", f"pretrained={folder},dtype=float32", "--device", "cpu"]
    return [*model, "--metadata", '{"num_docs": 2}', "--output_path", str(out)]


def check_results(out: Path, tasks: set[str], model, tokenizer) -> None:
    (path,) = out.rglob("results_*.json")
    results = json.loads(path.read_text())["results"]
    assert set(results) == tasks
    for score in run_tasks(model, tokenizer, ["count_query_m5"], num_docs=2, model_args=ARGS).scores:
        if score.metric in GEOMETRY:
            continue  # comes with the sweep only
        assert results["count_query_m5"][f"{score.metric},none"] == pytest.approx(score.value)


def test_lm_evals_own_command_runs_our_tasks(folder, tmp_path, model, tokenizer) -> None:
    command = ["-m", "lm_eval", "run", "--include_path", str(tasks_path()), "--tasks", "count_query_m5"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, *command, *common(folder, tmp_path)], env=os.environ | offline, check=True)
    check_results(tmp_path, {"count_query_m5"}, model, tokenizer)


@pytest.fixture
def without_lm_evals_tasks(monkeypatch):
    """An index of all folders but lm-eval's own, whose reading takes seconds."""
    build = TaskIndex.build
    theirs = Path(lm_eval.tasks.__file__).parent
    monkeypatch.setattr(TaskIndex, "build", lambda self, paths: build([path for path in paths if path != theirs]))


def test_our_command_knows_our_tasks_and_the_users(
    folder, tmp_path, model, tokenizer, capfd, logging_as_before, without_lm_evals_tasks
) -> None:
    cell = tasks_path() / "word_counting" / "count_query_m5.yaml"
    (tmp_path / "theirs.yaml").write_text(f"include: {cell}\ntask: theirs\n")
    asked = ["--include_path", str(tmp_path), "--tasks", "count_query_m5,theirs"]
    with warnings.catch_warnings(), _lm_eval_quiet.same_random_state():
        warnings.simplefilter("ignore")  # it is lm-eval's command from here on
        assert command(*asked, *common(folder, tmp_path / "out")) == 0
    assert "mae_gap" in capfd.readouterr().out
    check_results(tmp_path / "out", {"count_query_m5", "theirs"}, model, tokenizer)


def command(*arguments: str) -> int:
    return eval_command.run(argparse.Namespace(arguments=list(arguments)))


@pytest.fixture
def logging_as_before():
    """lm-eval's command line configures logging for good."""
    logger = logging.getLogger("lm_eval")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], before[2]


def test_help_is_lm_evals(capsys, logging_as_before) -> None:
    before = list(sys.argv)
    assert command("--help") == 0
    assert "--include_path" in capsys.readouterr().out
    assert command() == 0
    assert "--include_path" in capsys.readouterr().out
    assert command("--no-such-flag") == 2
    assert sys.argv == before


def test_an_unknown_task_is_the_users_mistake(logging_as_before, without_lm_evals_tasks) -> None:
    before = TaskManager.__init__
    with pytest.raises(
        UserError, match=r"found: count_query_m6 \(near it: count_query_m\d+.*\), xyz; `lm-probe tasks`"
    ):
        command("--model", "hf", "--model_args", "pretrained=x", "--tasks", "count_query_m6,xyz")
    assert TaskManager.__init__ is before


def test_a_manager_is_made_once_for_equal_options_and_its_tasks_each_time() -> None:
    few, more = our_tasks({"num_docs": 2, "seed": 1}), our_tasks({"num_docs": 3, "seed": 1})
    assert our_tasks({"seed": 1, "num_docs": 2}) is few and more is not few
    first, second = (few.load(["count_query_m5"])["tasks"]["count_query_m5"] for _ in range(2))
    assert first is not second and list(first.eval_docs) == list(second.eval_docs) and len(first.eval_docs) == 2
    assert len(more.load(["count_query_m5"])["tasks"]["count_query_m5"].eval_docs) == 3
    for seed in range(2 * _KEPT):
        our_tasks({"seed": seed})
    assert len(_managers) <= _KEPT


def test_listing_tasks(capsys) -> None:
    assert tasks_command.run(argparse.Namespace(path=False)) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [name for rows in listing().values() for name, _ in rows]
    assert [line.split()[0] for line in lines if line.startswith("  ")] == shown and len(lines) < 20
    assert tasks_command.run(argparse.Namespace(path=True)) == 0
    assert capsys.readouterr().out == f"{tasks_path()}\n"


def test_commands_say_what_the_dispatcher_needs() -> None:
    for module in (eval_command, tasks_command):
        assert module.NAME and module.HELP and module.EXAMPLE
        module.add_arguments(argparse.ArgumentParser())
    assert eval_command.PASS_THROUGH


def test_the_quiet_block_ends_with_its_failure() -> None:
    level = logging.getLogger("lm_eval").level
    with pytest.raises(ZeroDivisionError), _lm_eval_quiet.quiet():
        raise ZeroDivisionError
    assert logging.getLogger("lm_eval").level == level
