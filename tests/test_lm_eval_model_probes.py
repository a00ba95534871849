"""Probes in the passes that lm-eval's tasks make anyway: `hf-probe` with `probes=`."""

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from lm_probe.eval_tasks import task_manager
from lm_probe.model_adapters import UserError, architecture_of
from lm_probe.probes import AnisotropyProbe, Batch, GeometryProbe, Sampled, run_forward, two_nn_dimension
from lm_probe.sweeps import _lm_eval_quiet
from lm_probe.sweeps.hf_probe import HFProbe
from tests.conftest import make_model
from tests.scoring import FAMILIES, make, request, score


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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loss", "probes=loss: it needs surprisals.*--probes loss"),
        ("anisotropy+head_spectrum", "probes=head_spectrum: it needs first and head and token_counts"),
        ("anisotropie", "probes=anisotropie: no such probe"),
    ],
)
def test_probes_that_cannot_be_used_are_refused(name, message, neox, tokenizer) -> None:
    with pytest.raises(UserError, match=message) as error:
        make(HFProbe, neox, tokenizer, probes=name)
    assert "\n" not in str(error.value)
