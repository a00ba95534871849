"""lm-eval's model type `hf-probe`: the numbers of `hf`, fewer positions in the head, probes in the same passes."""

import argparse
import copy
import json
import logging
import re
import warnings
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import lm_eval.tasks
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import Collator
from lm_eval.tasks._index import TaskIndex
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lm_probe.cli import eval as eval_command
from lm_probe.eval_tasks import task_manager
from lm_probe.model_adapters import UserError, architecture_of
from lm_probe.probes import AnisotropyProbe, Batch, GeometryProbe, Sampled, run_forward, two_nn_dimension
from lm_probe.sweeps import _lm_eval_quiet
from lm_probe.sweeps._lm_eval_tokens import PairEncoder, cuts_between_words
from lm_probe.sweeps.hf_probe import HFProbe
from tests.conftest import make_model

FAMILIES = ("gpt2", "gpt_neox", "opt", "opt-350m", "llama")
# Prompts of different lengths; answers of one token, of several, and such that one holds the other.
PROMPTS = ("the cat sat on a mat and", "one red bird", "", "rain fell while the cat saw one red bird in 1984 ", "a")
ANSWERS = (" cat", " mat", " the cat sat", " 1984 while rain fell über den Fluß", "x")


def request(prompt: str, answer: str, document: int, task: str = "some_task") -> Instance:
    return Instance("loglikelihood", {}, (prompt, answer), 0, metadata=(task, document, 1))


REQUESTS = [request(prompt, answer, document) for document, prompt in enumerate(PROMPTS) for answer in ANSWERS]


def make(kind, model, tokenizer, **keywords):
    with warnings.catch_warnings(), _lm_eval_quiet.quiet():
        warnings.simplefilter("ignore")
        return kind(pretrained=model, tokenizer=tokenizer, **keywords)


def score(lm, requests=REQUESTS):
    with _lm_eval_quiet.quiet():
        return lm.loglikelihood(requests, disable_tqdm=True)


@contextmanager
def shapes_at(module):
    """The shapes of what the module is given."""
    seen: list[tuple[int, ...]] = []
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append(tuple(inputs[0].shape)))
    yield seen
    handle.remove()


# The same numbers


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keywords", [{"batch_size": 1}, {"batch_size": 3}, {"batch_size": 16, "logits_cache": False}])
def test_log_likelihoods_are_those_of_hf_to_the_last_bit(family, keywords, tokenizer) -> None:
    model = make_model(family)
    expected = score(make(HFLM, model, tokenizer, **keywords))
    assert score(make(HFProbe, model, tokenizer, **keywords)) == expected
    assert len(set(expected)) > 20  # prompts and answers that make a difference


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_so_are_they_with_a_wide_head_and_a_token_before_every_text(family, tokenizer, documents) -> None:
    model = make_model(family)
    model.resize_token_embeddings(5003)
    requests = [request(text[:length], " cat", 0) for text in documents[:9] for length in (40, 47, 200)]
    for batch_size in (2, 8):
        keywords = {"batch_size": batch_size, "add_bos_token": True}
        expected = score(make(HFLM, model, tokenizer, **keywords), requests)
        assert score(make(HFProbe, model, tokenizer, **keywords), requests) == expected


def test_so_are_they_where_every_row_needs_one_position(neox, tokenizer) -> None:
    requests = [request(f"the cat sat{mark}", "x", place) for place, mark in enumerate("!#$%&()*+,-./:;<")]
    neox.requires_grad_(False)  # as loaded by a sweep: torch multiplies strided slices by frozen weights row by row
    lm = make(HFProbe, neox, tokenizer, batch_size=16)
    with shapes_at(neox.get_output_embeddings()) as shapes:
        found = score(lm, requests)
    assert [shape[:2] for shape in shapes] == [(16, 1)]
    assert found == score(make(HFLM, neox, tokenizer, batch_size=16), requests)


@pytest.mark.parametrize("family", FAMILIES)
def test_rolling_log_likelihoods_and_generation_are_those_of_hf(family, tokenizer, documents) -> None:
    model = make_model(family)
    texts = [Instance("loglikelihood_rolling", {}, (text,), 0, metadata=("t", 0, 1)) for text in documents[:4]]
    asked = {"until": ["\n"], "max_gen_toks": 6}
    prompts = [Instance("generate_until", {}, (text[:50], asked), 0, metadata=("t", 0, 1)) for text in documents[:4]]
    found = []
    for kind in (HFLM, HFProbe):
        lm = make(kind, model, tokenizer, batch_size=3, max_length=64)
        with _lm_eval_quiet.quiet():
            found.append((lm.loglikelihood_rolling(texts, True), lm.generate_until(prompts, True)))
    assert found[0] == found[1]


def test_a_batch_size_that_is_searched_for_gives_the_same(neox, tokenizer, capsys) -> None:
    keywords = {"batch_size": "auto", "max_batch_size": 4}
    expected = score(make(HFLM, neox, tokenizer, **keywords))
    lm = make(HFProbe, neox, tokenizer, probes="anisotropy", **keywords)
    assert score(lm) == expected
    # the trial passes are not measured: the same tokens as with a batch size that is given
    fixed = make(HFProbe, neox, tokenizer, probes="anisotropy", batch_size=4)
    score(fixed)
    assert [value.n for value in lm.probe_values] == [value.n for value in fixed.probe_values]


def test_a_release_that_orders_its_batches_differently_is_refused(neox, tokenizer, monkeypatch) -> None:
    class ShortestFirst(Collator):
        def get_batched(self, n, batch_fn=None):
            return reversed(list(super().get_batched(n, batch_fn)))

    monkeypatch.setattr("lm_eval.models.huggingface.Collator", ShortestFirst)
    with pytest.raises(RuntimeError, match="another way"):
        score(make(HFProbe, neox, tokenizer, batch_size=2))


# Less work


def test_the_head_sees_the_last_positions_of_one_row_a_prompt(neox, tokenizer, documents) -> None:
    requests = [request(text[:121], mark, place) for place, text in enumerate(documents) for mark in ",.:;!"]
    lm = make(HFProbe, neox, tokenizer, batch_size=15)
    with shapes_at(neox.get_output_embeddings()) as shapes, shapes_at(neox.gpt_neox.layers[0]) as body:
        score(lm, requests)
    assert sum(rows for rows, *_ in shapes) == len(documents)  # answers of one token share a row
    for (rows, positions, _), (_, read, _) in zip(shapes, body, strict=True):
        assert rows == 15
        assert positions < read / 2


def test_a_model_without_a_head_of_its_own_is_scored_in_full_and_that_is_said_once(
    neox, tokenizer, monkeypatch, caplog
) -> None:
    expected = score(make(HFLM, neox, tokenizer, batch_size=3))
    monkeypatch.setattr(neox, "get_output_embeddings", lambda: None)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert score(make(HFProbe, neox, tokenizer, batch_size=3)) == expected
    assert [record.message for record in caplog.records if "as slow as" in record.message] == [
        "GPTNeoXForCausalLM has no head that could be left out: as slow as --model hf"
    ]


def test_a_prompt_is_encoded_once(neox, tokenizer, monkeypatch) -> None:
    prompt = " ".join(["rain fell"] * 40)
    encoded: list[str] = []
    original = HFLM.tok_encode
    monkeypatch.setattr(
        HFLM, "tok_encode", lambda self, text, *a, **k: encoded.append(text) or original(self, text, **k)
    )
    score(make(HFProbe, neox, tokenizer), [request(prompt, f" {number}", 0) for number in range(30)])
    assert sum(map(len, encoded)) < 3 * len(prompt)


@given(
    st.text("ab.,'s\n \t é猫\u0301\u00a0", min_size=1, max_size=16).filter(str.strip),
    st.text("ab.,'s\n \té\u0301", max_size=5),
)
def test_encoding_the_end_again_gives_lm_evals_own_tokens(tokenizer, prompt, answer) -> None:
    prompt = prompt.rstrip()
    found = PairEncoder(tokenizer.encode).encode(prompt, answer)
    cut = re.search(r"\S \S", prompt)
    assert (found is None) == (cut is None)
    alone = tokenizer.encode(prompt)
    assert found is None or found == (alone, tokenizer.encode(prompt + answer)[len(alone) :])


def test_other_tokenizers_encode_every_pair(tokenizer) -> None:
    assert cuts_between_words(tokenizer)
    inner = Tokenizer(models.WordLevel({"[unk]": 0}, unk_token="[unk]"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    assert not cuts_between_words(PreTrainedTokenizerFast(tokenizer_object=inner))
    # an added token that takes the space behind it: the space no longer begins the next word
    greedy = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
    greedy.add_tokens([AddedToken("cat", rstrip=True)])
    assert PairEncoder(greedy.encode).encode("the cat sat", " on") is None
    assert PairEncoder(greedy.encode).encode("cat the sat", " on") is not None


# Refusals


def test_a_text_whose_score_is_nan_is_refused_by_name(neox, tokenizer) -> None:
    neox.get_output_embeddings().weight.data[3, 3] = float("nan")
    lm = make(HFProbe, neox, tokenizer)
    with pytest.raises(UserError, match=r"some_task: .*NaN"):
        score(lm)
    with pytest.raises(UserError, match=r"rolled: .*NaN"), _lm_eval_quiet.quiet():
        lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("a cat",), 0, metadata=("rolled", 0, 1))])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss", "probes=loss: it needs logits.*--probes loss"),
        ("anisotropy+head_spectrum", "probes=head_spectrum: it needs first and head and token_counts"),
        ("anisotropie", "probes=anisotropie: no such probe"),
    ],
)
def test_probes_that_cannot_be_used_are_refused(name, message, neox, tokenizer) -> None:
    with pytest.raises(UserError, match=message) as error:
        make(HFProbe, neox, tokenizer, probes=name)
    assert "\n" not in str(error.value)


# Probes


@pytest.mark.parametrize("family", FAMILIES)
def test_probes_see_the_tokens_of_the_task_and_no_pads(family, tokenizer) -> None:
    model = make_model(family)
    # answers of one token: a row is a prompt; the first holds token 0, with which lm-eval pads
    texts = ["<|endoftext|> the cat", "one red bird in 1984 while rain fell", "a mat and rain fell", "saw"]
    requests = [request(text, answer, place) for place, text in enumerate(texts) for answer in (" a", "b")]
    lm = make(HFProbe, model, tokenizer, batch_size=3, probes="anisotropy")
    assert score(lm, requests) == score(make(HFLM, model, tokenizer, batch_size=3), requests)

    probe, architecture = AnisotropyProbe(), architecture_of(model)
    state = probe.start(architecture, Sampled(len(texts), "cpu", has_bytes=False))
    rows = [tokenizer.encode(text + " a")[:-1] for text in texts]
    batches = [Batch(torch.tensor([row]), None, torch.tensor([place]), None) for place, row in enumerate(rows)]
    (*_,) = run_forward(architecture, batches, {probe: state})
    expected = state.result()
    assert [(v.metric, v.layer, v.site, v.n) for v in lm.probe_values] == [
        (v.metric, v.layer, v.site, v.n) for v in expected
    ]
    for found, alone in zip(lm.probe_values, expected, strict=True):
        assert found.n == sum(map(len, rows))
        assert (found.value, found.stderr) == pytest.approx((alone.value, alone.stderr), rel=1e-5, abs=1e-6)


def test_a_prompt_that_comes_again_with_each_answer_has_one_state_for_the_dimension(neox, tokenizer) -> None:
    prompts = ["the cat sat on a mat and saw", "one red bird in 1984 while rain fell", "a mat and rain fell on a bird"]
    answers = (" the cat sat", " one red bird", " rain and a cat", " a mat fell")
    asked = [request(text, answer, place) for place, text in enumerate(prompts) for answer in answers]
    lm = make(HFProbe, neox, tokenizer, batch_size=5, probes="geometry")
    score(lm, asked)
    found = {value.layer: value.value for value in lm.probe_values if value.metric == "intrinsic_dimension"}
    once: dict[tuple[int, ...], torch.Tensor] = {}
    for text, answer in ((text, answer) for text in prompts for answer in answers):
        row = tokenizer.encode(text + answer)[:-1]
        with torch.no_grad():
            states = neox(torch.tensor([row]), output_hidden_states=True).hidden_states
        for place in range(len(row)):
            once.setdefault(tuple(row[: place + 1]), torch.stack([state[0, place] for state in states[:3]]))
    for layer, states in enumerate(torch.stack(list(once.values()), 1)):
        assert found[layer] == pytest.approx(two_nn_dimension(states), rel=1e-3)


def test_documents_are_the_clusters(neox, tokenizer) -> None:
    # Two answers of several tokens make two rows of a document; a task's document 0 is not another's.
    answers = (" the cat sat", " one red bird")
    asked = [request(f"{task} fell", answer, 0, task) for task in ("rain", "bird") for answer in answers]
    lm = make(HFProbe, neox, tokenizer, probes=[recorder := Recorder()])
    score(lm, asked)
    score(lm, [request("a mat", " and", 0, "z")])
    assert sorted(recorder.clusters) == [0, 0, 1, 1, 2]
    with _lm_eval_quiet.quiet():
        lm.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("a cat",), 0, metadata=("rolled", 0, 1))])
    assert sorted(recorder.clusters)[5:] == [3]


class Recorder(AnisotropyProbe):
    """Notes the clusters of every row."""

    name = "recorder"

    def __init__(self) -> None:
        self.clusters: list[int] = []

    def start(self, architecture, sampled):
        state = super().start(architecture, sampled)
        see = state.see_hidden

        def noted(site, vectors, batch):
            if site.site == "embedding":
                self.clusters += batch.clusters.tolist()
            see(site, vectors, batch)

        state.see_hidden = noted
        return state


def test_values_carry_the_checkpoint_and_land_in_lm_evals_results(neox, tokenizer) -> None:
    checkpoint = {"pretrained": "somebody/tiny", "revision": "step64", "sha": "0123abcd"}
    lm = make(HFProbe, neox, tokenizer, batch_size=16, probes="anisotropy", checkpoint=checkpoint)
    assert lm.probe_values == []
    assert lm.get_model_info()["lm_probe"] == []
    bare = make(HFLM, neox, tokenizer, batch_size=16)
    found, expected = (evaluate(which) for which in (lm, bare))
    assert found["samples"] == expected["samples"]
    assert found["results"] == expected["results"]
    rows = found["config"]["lm_probe"]
    assert set(rows[0]) == {"probe", "metric", "layer", "site", "component", "value", "stderr", "n"}
    assert {row["layer"] for row in rows} == {0, 1, 2, 3}
    assert len(rows) == len(lm.probe_values) == 5
    value = lm.probe_values[0]
    assert (value.model, value.revision, value.step, value.probe) == ("somebody/tiny", "step64", 64, "anisotropy")
    assert "lm_probe" not in expected["config"]
    assert "lm_probe" not in make(HFProbe, neox, tokenizer).get_model_info()


def test_a_probe_that_has_no_value_costs_no_score(neox, tokenizer, capsys) -> None:
    neox.gpt_neox.embed_in.weight.data.zero_()
    lm = make(HFProbe, neox, tokenizer, probes=[AnisotropyProbe(), GeometryProbe(), Broken()])
    found = evaluate(lm)
    assert found["results"] == evaluate(make(HFLM, neox, tokenizer))["results"]
    config = found["config"]
    rows = [row for row in config["lm_probe"] if row["probe"] == "anisotropy"]
    embedding = [(row["metric"], row["value"] == row["n"] > 0) for row in rows if row["site"] == "embedding"]
    assert embedding == [("zero_vectors", True)]
    assert {row["layer"] for row in rows if row["metric"] == "mean_cosine"} == {1, 2, 3}
    assert config["lm_probe_errors"]["broken"] == lm.probe_errors["broken"] == "broken: too little was seen"
    assert lm.get_model_info()["lm_probe"] == config["lm_probe"]  # `evaluate` lets nothing through to stderr
    assert "broken: too little was seen; the tasks' scores are complete" in capsys.readouterr().err
    assert {value.probe for value in lm.probe_values} >= {"anisotropy"}


class Broken(AnisotropyProbe):
    """Sees everything, and has nothing to say."""

    name = "broken"

    def start(self, architecture, sampled):
        state = super().start(architecture, sampled)

        def result():
            raise ValueError("too little was seen")

        state.result = result
        return state


def test_probes_that_see_no_task_say_so(neox, tokenizer, capsys) -> None:
    lm = make(HFProbe, neox, tokenizer, probes="anisotropy")
    with _lm_eval_quiet.quiet():
        lm.generate_until(
            [Instance("generate_until", {}, ("a cat", {"max_gen_toks": 2}), 0, metadata=("t", 0, 1))], True
        )
    assert lm.get_model_info()["lm_probe"] == []
    assert capsys.readouterr().err.startswith("probes= has measured nothing: no task asked for log-likelihoods")


def evaluate(lm):
    with _lm_eval_quiet.quiet(), _lm_eval_quiet.same_random_state(), _lm_eval_quiet.system_report_once():
        manager = task_manager({"num_docs": 3})
        return simple_evaluate(model=lm, tasks=["count_query_m5"], task_manager=manager, bootstrap_iters=0)


# By name


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


def command(*arguments: str) -> int:
    with warnings.catch_warnings(), _lm_eval_quiet.same_random_state(), _lm_eval_quiet.system_report_once():
        warnings.simplefilter("ignore")  # it is lm-eval's command from here on
        common = ["--tasks", "count_query_m5", "--limit", "2", "--device", "cpu", "--batch_size", "4"]
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


def test_mistakes_in_the_arguments_are_the_users(series, logging_as_before, without_lm_evals_tasks) -> None:
    with pytest.raises(UserError, match=r"no such probe; beside a task there are anisotropy, geometry$"):
        command("--model", "hf-probe", "--model_args", f"pretrained={series},revision=step8,probes=isotropy")
    with pytest.raises(UserError, match=r"--num_fewshot asks for more .* 0 to 16 for ours"):
        command("--model", "hf", "--model_args", f"pretrained={series}/step8", "--num_fewshot", "17")
    with pytest.raises(UserError, match="Attempted to load model 'hf-prob'") as error:
        command("--model", "hf-prob", "--model_args", "pretrained=x")
    assert "\n" not in str(error.value)


def test_the_help_is_lm_evals_and_then_ours(capsys) -> None:
    assert eval_command.run(argparse.Namespace(arguments=["--help"])) == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: lm-eval run") and "probes=anisotropy+geometry" in said.split("lm-probe's own:")[1]
    assert eval_command.run(argparse.Namespace(arguments=["ls", "--help"])) == 0
    assert "lm-probe's own:" not in capsys.readouterr().out
