"""Loss and anisotropy from one streamed pass, against what transformers gives when everything is kept."""

import math

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from lm_probe.model_adapters import UserError, architecture_of
from lm_probe.probes import AnisotropyProbe, LossProbe, Reading, mean_cosine, singular_entropy, singular_values
from lm_probe.sweeps import TokenSample, measure, sample_tokens
from lm_probe.sweeps._measure import read_forward
from lm_probe.sweeps._memory import Passes
from tests.conftest import make_model

ROWS = [[5, 17, 80, 301, 9, 44, 2, 7], [7, 7, 12, 250], [3, 1, 4, 1, 5, 9, 2, 6], [2, 71, 82], [8, 8]]
SAMPLE = TokenSample(ROWS, [0, 0, 1, 2, 3], [[2] * len(row) for row in ROWS], "document", 8, False)


def _values(
    model: PreTrainedModel, batch_size: int, probe: object
) -> dict[tuple[str, int | None, str | None], Reading]:
    (outcome,) = read_forward([probe], architecture_of(model), SAMPLE, Passes(batch_size))
    assert outcome.error is None
    return {(r.metric, r.layer, r.site): r for r in outcome.readings if isinstance(r, Reading)}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_anisotropy_is_that_of_output_hidden_states(any_model: PreTrainedModel, batch_size: int) -> None:
    found = _values(any_model, batch_size, AnisotropyProbe())
    kept: list[list[torch.Tensor]] = []
    with torch.no_grad():
        for row in ROWS:
            output = any_model(torch.tensor([row]), output_hidden_states=True, use_cache=False)
            kept.append([state[0] for state in output.hidden_states])
    layers = len(kept[0]) - 1
    sites = architecture_of(any_model).sites
    assert {key[1:] for key in found} == set(sites)
    for index in range(layers + 1):
        site = sites[-1] if index == layers else sites[index]
        expected = mean_cosine(torch.cat([states[index] for states in kept]))
        reading = found["mean_cosine", site.layer, site.site]
        assert abs(reading.value - expected) < 1e-6
        assert reading.n == sum(map(len, ROWS))
        assert reading.stderr is not None and reading.stderr > 0


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_loss_is_the_models_own(any_model: PreTrainedModel, batch_size: int) -> None:
    found = _values(any_model, batch_size, LossProbe())
    nats, tokens = np.zeros(4), np.zeros(4)
    with torch.no_grad():
        for row, cluster in zip(ROWS, SAMPLE.clusters, strict=True):
            ids = torch.tensor([row])
            nats[cluster] += float(any_model(ids, labels=ids, use_cache=False).loss) * (len(row) - 1)
            tokens[cluster] += len(row) - 1
    loss = found["loss", None, None]
    assert loss.value == pytest.approx(nats.sum() / tokens.sum(), abs=1e-5)
    assert loss.n == tokens.sum()
    residuals = nats - nats.sum() / tokens.sum() * tokens
    assert loss.stderr == pytest.approx(math.sqrt(4 / 3 * (residuals**2).sum()) / tokens.sum(), rel=1e-3)
    assert found["bits_per_byte", None, None].value == pytest.approx(loss.value / math.log(2) / 2, rel=1e-9)


def test_states_merge(neox: PreTrainedModel) -> None:
    from lm_probe.probes import run_forward

    architecture = architecture_of(neox)
    for probe in (LossProbe(), AnisotropyProbe()):
        whole, first, second = (probe.start(architecture, SAMPLE.sampled("cpu")) for _ in range(3))
        batches = list(SAMPLE.batches(2, "cpu"))
        list(run_forward(architecture, batches, {probe: whole}))
        list(run_forward(architecture, batches[:1], {probe: first}))
        list(run_forward(architecture, batches[1:], {probe: second}))
        first.merge(second)
        for left, right in zip(first.result(), whole.result(), strict=True):
            if isinstance(left, Reading):
                assert left.value == pytest.approx(right.value, abs=1e-12)
                assert left.stderr == pytest.approx(right.stderr, abs=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("as_drawn", [False, True])
def test_on_a_cpu_long_rows_go_by_few(batch_size: int, as_drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [600, 20, 700, 3000, 30, 40, 600, 600, 10]
    sample = TokenSample([[1] * n for n in lengths], list(range(9)), None, "document", 3000, False)
    shapes = {}
    for number, device in ((1, "cpu"), (4, "cpu"), (1, "meta")):
        monkeypatch.setattr(torch, "get_num_threads", lambda number=number: number)
        batches = list(sample.batches(batch_size, device, order=range(9) if as_drawn else None))
        shapes[number, device] = [tuple(batch.token_ids.shape) for batch in batches]
        if device == "cpu":
            seen = [cluster for batch in batches for cluster in batch.clusters.tolist()]
            assert seen == list(range(9)) if as_drawn else sorted(seen) == list(range(9))
    for (number, device), found in shapes.items():
        most = max(1024, 512 * number) if device == "cpu" else math.inf
        assert all(rows == 1 or (rows <= batch_size and rows * length <= most) for rows, length in found)
    assert [rows for rows, _ in shapes[1, "meta"]] == {1: [1] * 9, 3: [3, 3, 3], 8: [8, 1]}[batch_size]
    if batch_size == 8:
        assert len(shapes[1, "cpu"]) > len(shapes[4, "cpu"]) > 2


def test_mixed_precision_of_the_model_rounds_no_statistic(neox: PreTrainedModel) -> None:
    ids = torch.randint(0, 300, (6, 20), generator=torch.Generator().manual_seed(0))

    def of_the_embedding() -> list[tuple[float, float | None]]:
        return [(r.value, r.stderr) for r in measure(neox, ["geometry"], token_ids=ids) if r.layer == 0]

    plain = of_the_embedding()  # which mixed precision does not touch
    with torch.autocast("cpu", torch.bfloat16):
        assert of_the_embedding() == plain


def test_the_head_is_not_computed_for_geometry_alone(neox: PreTrainedModel) -> None:
    calls: list[int] = []
    neox.get_output_embeddings().register_forward_hook(lambda *_: calls.append(1))
    read_forward([AnisotropyProbe()], architecture_of(neox), SAMPLE, Passes(2))
    assert not calls
    read_forward([AnisotropyProbe(), LossProbe()], architecture_of(neox), SAMPLE, Passes(2))
    assert calls


def test_measure_in_memory(neox: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, documents: list[str]) -> None:
    neox.train()
    values = measure(neox, ["loss", "anisotropy", "head_spectrum"], text=documents, tokenizer=tokenizer)
    assert neox.training
    by_metric = {(v.metric, v.layer, v.site, v.component): v for v in values}
    head = neox.get_output_embeddings().weight
    for component, rows in (("all_rows", len(head)), ("token_rows", len(tokenizer))):
        value = by_metric["singular_entropy", None, None, component]
        assert value.value == pytest.approx(singular_entropy(singular_values(head[:rows])), rel=1e-9)
        assert value.n == rows
    assert by_metric["loss", None, None, None].value == pytest.approx(math.log(320), rel=0.5)
    assert by_metric["mean_cosine", 3, "final_norm", None].n == sum(
        len(tokenizer(text).input_ids) for text in documents
    )
    again = measure(neox, ["anisotropy"], token_ids=torch.tensor(ROWS[0]))
    assert again[0].n == 8


def test_measure_says_what_is_missing(neox: PreTrainedModel) -> None:
    with pytest.raises(UserError, match="either token_ids or text"):
        measure(neox, ["loss"])
    with pytest.raises(UserError, match="needs a tokenizer"):
        measure(neox, ["loss"], text="abc")
    with pytest.raises(UserError, match=r"no probe lossy \(near it: loss\): known are loss, anisotropy"):
        measure(neox, ["lossy"])
    with pytest.raises(UserError, match="token 320 and the embedding has 320 rows"):
        measure(neox, ["loss"], token_ids=torch.tensor([[1, 320]]))
    with pytest.raises(UserError, match="context of 1100 tokens is longer than the model's 1024: give --context 1024"):
        measure(neox, ["loss"], token_ids=torch.ones(1, 1100, dtype=torch.int64))


def test_rows_that_give_no_number_are_named(neox: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = torch.tensor
    for wrong, said in (
        (torch.rand(2, 3), "token_ids are float32 of shape"),
        (torch.ones(2, 3, 4, dtype=torch.int64), r"shape \(2, 3, 4\): give rows of token ids"),
        (torch.ones(1, 0, dtype=torch.int64), r"shape \(1, 0\)"),
        (ids([[5, -100]]), "token_ids hold -100: leave padding out"),
        (ids([[5], [6], [7]]), "loss: no token has one before it"),
    ):
        with pytest.raises(UserError, match=said):
            measure(neox, ["loss"], token_ids=wrong)
    assert measure(neox, ["anisotropy"], token_ids=ids([[5], [6], [7]]))[0].n == 3
    with pytest.raises(UserError, match="token_ids are no rows of one length"):
        measure(neox, ["loss"], token_ids=[[1, 2], [3]])
    with pytest.raises(UserError, match=r"probes is one text: give a list, e.g. probes=\['loss'\]"):
        measure(neox, "loss", token_ids=ids([[5, 6]]))
    with pytest.raises(UserError, match="text is empty or blank"):
        measure(neox, ["loss"], text=["  ", ""], tokenizer=tokenizer)
    with pytest.raises(UserError, match="batch_size=0 is no batch"):
        measure(neox, ["loss"], token_ids=ids([[5, 6]]), batch_size=0)
    with pytest.raises(UserError, match="too short to measure on: 2 documents, and none has two tokens; give a longer"):
        measure(neox, ["loss"], text=["a", "b"], tokenizer=tokenizer)
    with pytest.raises(UserError, match="context of 2000 tokens is longer than the model's 1024"):
        measure(neox, ["loss"], text="a short text", tokenizer=tokenizer, context=2000)
    neox.get_output_embeddings().weight.data[3] = float("nan")
    with pytest.raises(UserError, match="loss: loss is not finite"):
        measure(neox, ["loss"], token_ids=ids([[5, 6]]))


def test_probes_of_weights_count_the_tokens_that_are_given(neox: PreTrainedModel) -> None:
    ids = torch.tensor(ROWS[0] * 4 + list(range(40))).reshape(4, -1)
    alone = measure(neox, ["head_spectrum"], token_ids=ids)
    beside = measure(neox, ["head_spectrum", "loss"], token_ids=ids)
    assert alone == [value for value in beside if value.probe == "head_spectrum"]
    assert "log_frequency_r2" in {value.metric for value in alone}
    assert len(measure(neox, ["head_spectrum"])) < len(alone)
    with pytest.raises(UserError, match="token_ids hold -5"):
        measure(neox, ["head_spectrum"], token_ids=torch.tensor([[-5]]))
    with pytest.raises(UserError, match="token 320 and the embedding has 320 rows"):
        measure(neox, ["head_spectrum"], token_ids=torch.tensor([[320]]))
    measure(neox, ["head_spectrum"], token_ids=torch.ones(1, 1100, dtype=torch.int64))  # nothing reads its context


def test_a_site_without_directions_costs_the_others_nothing(neox: PreTrainedModel) -> None:
    ids = torch.tensor(ROWS[0] * 2).reshape(2, -1)
    whole = {(v.layer, v.site): v for v in measure(neox, ["anisotropy"], token_ids=ids)}
    neox.gpt_neox.final_layer_norm.weight.data.zero_()
    neox.gpt_neox.final_layer_norm.bias.data.zero_()
    found = {(v.layer, v.site): v for v in measure(neox, ["anisotropy"], token_ids=ids)}
    silent = found.pop((3, "final_norm"))
    assert (silent.metric, silent.value, silent.n) == ("zero_vectors", ids.numel(), ids.numel())
    assert found == {at: value for at, value in whole.items() if at in found} and len(found) == 4
    with pytest.raises(UserError, match=r"anisotropy: layer 0 \(embedding\): a mean cosine needs two vectors"):
        measure(neox, ["anisotropy"], token_ids=torch.tensor([[5]]))


def test_measuring_leaves_every_module_in_its_mode(neox: PreTrainedModel) -> None:
    neox.train()
    neox.gpt_neox.layers[1].eval()
    measure(neox, ["loss"], token_ids=torch.tensor([[5, 6]]))
    assert neox.training and neox.gpt_neox.layers[0].mlp.training and not neox.gpt_neox.layers[1].mlp.training


def _sample(documents: list[str], tokenizer: PreTrainedTokenizerFast, tokens: int, **more: int) -> TokenSample:
    return sample_tokens(documents, tokenizer, tokens=tokens, context=more.get("context", 16), seed=more.get("seed", 1))


def test_a_sample_is_fixed_by_its_seed(documents: list[str], tokenizer: PreTrainedTokenizerFast) -> None:
    sample = _sample(documents, tokenizer, 400)
    assert 399 <= sample.n_tokens <= 400
    assert sample.digest() == _sample(documents, tokenizer, 400).digest()
    assert sample.digest() != _sample(documents, tokenizer, 400, seed=2).digest()
    assert max(map(len, sample.windows)) == 16
    assert sample.cluster_unit == "document" and sample.n_clusters >= 8


def test_every_byte_of_the_text_counts_once(documents: list[str], tokenizer: PreTrainedTokenizerFast) -> None:
    sample = sample_tokens(documents, tokenizer, tokens=10**9, context=10**6, seed=1, allow_short=True)
    assert sample.sizes is not None
    assert sum(map(sum, sample.sizes)) == sum(len(text.encode()) for text in documents)
    assert sample.n_tokens == sum(len(tokenizer(text).input_ids) for text in documents)


def test_few_documents_make_windows_the_clusters(tokenizer: PreTrainedTokenizerFast, documents: list[str]) -> None:
    sample = _sample(documents[:2], tokenizer, 200)
    assert sample.cluster_unit == "window" and sample.n_clusters == len(sample.windows)


def test_text_that_gives_no_sample_is_named(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match="one context is 64: give a longer --text, or --context"):
        _sample(["only a few words"], tokenizer, 400, context=64)
    with pytest.raises(UserError, match="--tokens 0 leaves nothing"):
        _sample(["only a few words"], tokenizer, 0)


def test_bos_is_put_first_where_the_tokenizer_would(documents: list[str], tokenizer: PreTrainedTokenizerFast) -> None:
    import copy

    from tokenizers.processors import TemplateProcessing

    with_bos = copy.deepcopy(tokenizer)
    with_bos.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    sample = _sample(documents, with_bos, 400)
    assert sample.starts_with_bos and all(window[0] == 0 for window in sample.windows)
    assert not _sample(documents, tokenizer, 400).starts_with_bos


def test_nan_in_hidden_states_reaches_the_result_and_is_not_dropped() -> None:
    model = make_model("gpt2")
    model.transformer.h[1].mlp.c_proj.bias.data[0] = float("nan")
    found = _values(model, 2, AnisotropyProbe())
    assert math.isnan(found["mean_cosine", 2, "block"].value)
    assert not math.isnan(found["mean_cosine", 1, "block"].value)
