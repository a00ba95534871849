"""`hf-probe` by its name: entry point, arguments, the checkpoint that was loaded, and our command."""

import argparse
import copy
import json
import logging
import warnings
from importlib.metadata import entry_points
from pathlib import Path

import lm_eval.tasks
import pytest
import torch
from lm_eval.tasks._index import TaskIndex
from peft import LoraConfig, get_peft_model

from lm_probe.cli import eval as eval_command
from lm_probe.model_adapters import UserError
from lm_probe.sweeps import _lm_eval_quiet
from lm_probe.sweeps.hf_probe import HFProbe
from tests.conftest import make_model
from tests.scoring import make, score


def test_the_entry_point_is_the_class() -> None:
    (point,) = entry_points(group="lm_eval.models", name="hf-probe")
    assert point.load() is HFProbe


def test_what_was_loaded_is_named(series) -> None:
    infos = []
    for keywords in ({"revision": "step8"}, {"subfolder": "step8"}, {"revision": "step1"}):
        lm = from_folder(series, **keywords)
        infos.append(lm.get_model_info())
    assert [info["model_revision"] for info in infos] == ["step8", "step8", "step1"]
    assert infos[0]["model_sha"] == infos[1]["model_sha"] != infos[2]["model_sha"]
    assert infos[0]["model_sha"].startswith("sha256:")
    # the weights are those of the sub-folder, which `hf` would not have looked into
    assert torch.equal(
        lm.model.get_output_embeddings().weight, make_model("gpt_neox", seed=1).get_output_embeddings().weight
    )
    with pytest.raises(UserError, match="has no checkpoint step9: found step0, step1, step8"):
        from_folder(series, revision="step9")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_an_adapter_is_named_and_takes_part(family, tmp_path, tokenizer) -> None:
    base, target = make_model(family), {"gpt_neox": "query_key_value", "llama": "q_proj"}[family]
    base.resize_token_embeddings(len(tokenizer))
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    merged, infos = None, []
    for seed in (0, 1):
        torch.manual_seed(seed)
        settings = LoraConfig(target_modules=[target], r=2, init_lora_weights=False, task_type="CAUSAL_LM")
        adapted = get_peft_model(copy.deepcopy(base), settings)
        adapted.save_pretrained(tmp_path / f"lora{seed}")
        merged = adapted.merge_and_unload()
        lm = from_folder(tmp_path / "base", peft=str(tmp_path / f"lora{seed}"), probes="anisotropy", dtype="float32")
        score(lm)
        infos.append(lm.get_model_info())
    assert infos[0]["model_sha"] == infos[1]["model_sha"]
    assert infos[0]["peft_sha"] != infos[1]["peft_sha"] and infos[0]["peft_sha"].startswith("sha256:")
    whole = make(HFProbe, merged, tokenizer, probes="anisotropy")
    score(whole)
    assert [value.value for value in lm.probe_values] == pytest.approx([v.value for v in whole.probe_values], rel=1e-4)
    with pytest.raises(UserError, match="base holds no adapter"):
        from_folder(tmp_path / "base", peft=str(tmp_path / "base"))


def from_folder(folder, **keywords):
    with warnings.catch_warnings(), _lm_eval_quiet.quiet():
        warnings.simplefilter("ignore")
        return HFProbe(str(folder), device="cpu", **keywords)


@pytest.fixture
def without_lm_evals_tasks(monkeypatch):
    """An index of all folders but lm-eval's own, whose reading takes seconds."""
    build = TaskIndex.build
    theirs = Path(lm_eval.tasks.__file__).parent
    monkeypatch.setattr(TaskIndex, "build", lambda self, paths: build([path for path in paths if path != theirs]))


@pytest.fixture
def logging_as_before():
    """lm-eval's command line configures logging for good."""
    logger = logging.getLogger("lm_eval")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1], before[2]


OTHER_TASK = """
task: other
custom_dataset: !function lm_probe.eval_tasks._documents.build
dataset_kwargs: {cell: count_query_m5}
test_split: test
output_type: multiple_choice
doc_to_text: full_prompt
doc_to_choice: choices
doc_to_target: gold
"""


def command(*arguments: str, tasks: str = "count_query_m5") -> int:
    with warnings.catch_warnings(), _lm_eval_quiet.same_random_state(), _lm_eval_quiet.system_report_once():
        warnings.simplefilter("ignore")  # it is lm-eval's command from here on
        common = ["--tasks", tasks, "--limit", "2", "--device", "cpu", "--batch_size", "4"]
        return eval_command.run(argparse.Namespace(arguments=[*arguments, *common]))


def test_our_command_knows_the_model_type(series, tmp_path, capfd, logging_as_before, without_lm_evals_tasks) -> None:
    results = {}
    for name, model, more in (
        ("hf", "hf", f"pretrained={series}/step8"),
        ("ours", "hf-probe", f"pretrained={series},revision=step8,probes=anisotropy"),
    ):
        out = ["--output_path", str(tmp_path / name)]
        assert command("--model", model, "--model_args", f"{more},dtype=float32", *out) == 0
        (path,) = (tmp_path / name).rglob("results_*.json")
        results[name] = json.loads(path.read_text())
    assert results["ours"]["results"] == results["hf"]["results"]
    config = results["ours"]["config"]
    assert (config["model"], config["model_revision"]) == ("hf-probe", "step8")
    assert {row["probe"] for row in config["lm_probe"]} == {"anisotropy"}
    lines = capfd.readouterr().err
    assert "\r" not in lines and "Running loglikelihood requests: 128 of 128 in " in lines, "a log gets no bars"


def test_mistakes_in_the_arguments_are_the_users(series, logging_as_before, without_lm_evals_tasks) -> None:
    with pytest.raises(UserError, match=r"no such probe; beside a task there are anisotropy, geometry$"):
        command("--model", "hf-probe", "--model_args", f"pretrained={series},revision=step8,probes=isotropy")
    with pytest.raises(UserError, match=r"--num_fewshot asks for more .* 0 to 16 for ours"):
        command("--model", "hf", "--model_args", f"pretrained={series}/step8", "--num_fewshot", "17")
    with pytest.raises(UserError, match=r"no model type is called hf-prob \(near it: hf-probe\): --model tak") as error:
        command("--model", "hf-prob", "--model_args", "pretrained=x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("metadata", "more", "said"),
    [
        ('{"num_doc": 3}', (), "no option num_doc, num_docs is one; known are m, n, num_docs, seed, sep"),
        ('{"docs": 3, "num_docs": 3}', (), "no option docs, num_docs is one; known are m"),
        ('{"max_seq_lengths": [64]}', (), "no option max_seq_lengths; known are m, n, num_docs"),
        ('{"seperator": "comma"}', ("other",), "no option seperator, separator is one"),
        ('{"max_seq_lengths": [64]}', ("other",), None),
        ('{"num_docs": 3, "tokenizer": "SERIES/step8"}', (), None),
        ('{"num_doc": 3}', ("other", "alone"), None),
    ],
)
def test_metadata_that_no_task_reads_is_refused(
    metadata, more, said, series, tmp_path, logging_as_before, without_lm_evals_tasks
) -> None:
    """Another task may read what ours do not, and what the model is given is no option of a task."""
    (tmp_path / "other.yaml").write_text(OTHER_TASK)
    tasks = "other" if "alone" in more else ",".join(("count_query_m5", *more))
    model = ["--model", "hf-probe", "--model_args", f"pretrained={series}/step8,dtype=float32"]
    asked = [*model, "--metadata", metadata.replace("SERIES", str(series)), "--include_path", str(tmp_path)]
    if said is None:
        assert command(*asked, tasks=tasks) == 0
    else:
        with pytest.raises(UserError, match=f"^--metadata: {said}"):
            command(*asked, tasks=tasks)


def test_the_help_is_ours_and_then_lm_evals(capsys) -> None:
    for asked in (["--help"], ["run", "-h"], []):
        assert eval_command.run(argparse.Namespace(arguments=asked)) == 0
        ours, theirs = capsys.readouterr().out.split("\nusage: lm-eval run")
        assert ours.startswith("usage: lm-probe eval ") and "probes=anisotropy+geometry" in ours
        assert "--model_args" in theirs and "lm-probe" not in theirs
    assert eval_command.run(argparse.Namespace(arguments=["ls", "--help"])) == 0
    assert "lm-probe's own:" not in capsys.readouterr().out
