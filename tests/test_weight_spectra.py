"""Projections by role from files, and what the probe makes of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import rankdata
from transformers import PreTrainedModel

from lm_probe.model_adapters import UserError, architecture_of, open_weights
from lm_probe.probes import (
    EmbeddingSpectrumProbe,
    Gram,
    HeadSpectrumProbe,
    Reading,
    VectorReading,
    WeightContext,
    WeightProbe,
    WeightsByRole,
    WeightSpectraProbe,
    alignment,
    find_probes,
    log_frequency_alignment,
    movement,
    subspace_overlap,
    top_directions,
)
from lm_probe.sweeps import measure
from lm_probe.sweeps._in_memory import WeightsInMemory
from tests.conftest import CONFIGS, make_model


def _as_bin(source: Path, target: Path) -> None:
    target.mkdir()
    shutil.copy(source / "config.json", target)
    torch.save(load_file(source / "model.safetensors"), target / "pytorch_model.bin")


def _equal(left: torch.Tensor, right: torch.Tensor) -> None:
    assert left.dtype == right.dtype
    torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_files_give_what_the_model_has_for_every_role_and_block(name: str, tmp_path: Path) -> None:
    model = make_model(name).to(torch.bfloat16)
    architecture = architecture_of(model)
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    _as_bin(tmp_path / "one", tmp_path / "bin")
    for kind in ("one", "sharded", "bin"):
        weights = open_weights(str(tmp_path / kind))
        assert isinstance(weights, WeightsByRole)
        assert weights.roles == architecture.roles
        assert weights.layers == len(architecture.blocks) == 3
        assert weights.head_size == architecture.head_size
        assert weights.tied == (architecture.head_weight is architecture.embedding_weight)
        for block in range(weights.layers):
            for role in weights.roles:
                _equal(weights.projection(role, block), architecture.projection(role, block))
        _equal(weights.embedding(), architecture.embedding_weight)
        _equal(weights.head(), architecture.head_weight)


def test_only_what_a_projection_needs_is_read_and_a_fused_tensor_once(tmp_path: Path) -> None:
    model = make_model("gpt_neox")
    model.save_pretrained(tmp_path)
    block = architecture_of(model).blocks[1]
    weights = open_weights(str(tmp_path))
    weights.projection("mlp_in", 1)
    expected = block.get_parameter("mlp.dense_h_to_4h.weight").nbytes
    assert weights.bytes_read == expected
    for role in ("query", "key", "value"):
        weights.projection(role, 1)
    assert weights.bytes_read == expected + block.get_parameter("attention.query_key_value.weight").nbytes


def test_a_trunk_saved_alone_is_read_too(tmp_path: Path) -> None:
    """The Hub's GPT-2 files name `h.0...`, without the `transformer.` of the causal model."""
    model = make_model("gpt2")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(bare, tmp_path / "model.safetensors", metadata={"format": "pt"})
    weights = open_weights(str(tmp_path))
    for role in weights.roles:
        _equal(weights.projection(role, 2), architecture_of(model).projection(role, 2))
    _equal(weights.embedding(), architecture_of(model).embedding_weight)


def test_a_missing_projection_is_named(tmp_path: Path) -> None:
    make_model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    weights = open_weights(str(tmp_path))
    assert weights.layers == 4
    with pytest.raises(UserError, match=r"no query projection in layer 4: looked for model.layers.3.self_attn.q_proj"):
        weights.projection("query", 3)


def _found(values: list) -> dict:
    return {(v.metric, v.layer, v.component): v.value for v in values}


def _ids() -> torch.Tensor:
    return torch.arange(8)[None]


def test_every_projection_has_the_numbers_of_its_own_singular_values(any_model: PreTrainedModel) -> None:
    architecture = architecture_of(any_model)
    readings = list(WeightSpectraProbe().read(WeightsInMemory(architecture), WeightContext()))
    vectors = {(r.component, r.layer): r.values for r in readings if isinstance(r, VectorReading)}
    scalars = {(r.metric, r.layer, r.component): r.value for r in readings if isinstance(r, Reading)}
    assert set(vectors) == {(role, layer) for role in architecture.roles for layer in (1, 2, 3)}
    assert {r.site for r in readings} == {"block"}
    for (role, layer), sigma in vectors.items():
        matrix = architecture.projection(role, layer - 1).detach().double().numpy()
        expected = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(sigma, expected, rtol=1e-7)
        number = {
            metric: scalars[metric, layer, role] for metric, where, what in scalars if (where, what) == (layer, role)
        }
        share = expected**2 / (expected**2).sum()
        assert number["singular_entropy"] == pytest.approx((share * np.log(share * len(share))).sum(), abs=1e-9)
        share1 = expected / expected.sum()
        assert number["singular_entropy_power1"] == pytest.approx(
            (share1 * np.log(share1 * len(share1))).sum(), abs=1e-9
        )
        assert number["effective_rank"] == pytest.approx(np.prod(share1**-share1))
        assert number["top_share"] == pytest.approx(share[0])
        assert number["frobenius_norm"] == pytest.approx(np.linalg.norm(matrix))
        assert number["stable_rank"] == pytest.approx(1 / share[0])
        assert number["top_ratio"] == pytest.approx(expected[0] / expected[1])
        assert number["numerical_rank"] == np.linalg.matrix_rank(matrix)
        if len(share) > 8:
            assert number["w_error_rank_8"] == pytest.approx(np.sqrt(share[8:].sum()))
        rest = expected[1:] ** 2 / (expected[1:] ** 2).sum()
        assert number["singular_entropy_without_top"] == pytest.approx(
            (rest * np.log(rest * len(rest))).sum(), abs=1e-9
        )
        assert number["power_law_exponent"] > 1 and 0 < number["power_law_distance"] < 1


def test_files_and_memory_give_the_same_readings(tmp_path: Path) -> None:
    model = make_model("gpt2").to(torch.float16)
    model.save_pretrained(tmp_path)
    for probe in find_probes(["head_spectrum", "weight_spectra", "condensation"]):
        assert isinstance(probe, WeightProbe)
        in_memory = list(probe.read(WeightsInMemory(architecture_of(model)), WeightContext(300)))
        for left, right in zip(in_memory, probe.read(open_weights(str(tmp_path)), WeightContext(300)), strict=True):
            assert left[0] == right[0] and left[2:] == right[2:]
            np.testing.assert_array_equal(left[1], right[1])


def test_a_zero_projection_has_a_norm_and_no_ratios() -> None:
    model = make_model("gpt_neox")
    model.gpt_neox.layers[1].mlp.dense_4h_to_h.weight.data.zero_()
    model.gpt_neox.layers[2].mlp.dense_4h_to_h.weight.data[1:] = 0
    found = _found(measure(model, ["weight_spectra", "condensation"], token_ids=_ids()))
    assert found["frobenius_norm", 2, "mlp_out"] == 0
    assert ("singular_entropy", 2, "mlp_out") not in found and ("mean_cosine", 2, "mlp_out") not in found
    assert found["singular_entropy", 3, "mlp_out"] == pytest.approx(np.log(16))
    assert ("top_ratio", 3, "mlp_out") not in found


@pytest.mark.parametrize("probe", ["weight_spectra", "condensation"])
def test_a_nan_is_named_with_its_place(probe: str) -> None:
    model = make_model("gpt_neox")
    model.gpt_neox.layers[1].mlp.dense_4h_to_h.weight.data[3, 5] = float("nan")
    with pytest.raises(UserError, match="mlp_out of layer 2: the matrix holds NaN"):
        measure(model, [probe], token_ids=_ids())


def test_the_head_beside_the_first_checkpoint() -> None:
    first, model = (WeightsInMemory(architecture_of(make_model("gpt_neox", seed=seed))) for seed in (0, 1))
    counts = np.random.default_rng(0).integers(0, 9, 300)
    head = model.head().detach().double().numpy()
    readings = list(HeadSpectrumProbe().read(model, WeightContext(300, counts, first)))
    found = {(r.metric, r.component): r.value for r in readings if isinstance(r, Reading)}
    start = first.head().detach().double().numpy()
    assert found["distance_from_first", "all_rows"] == pytest.approx(
        np.linalg.norm(head - start) / np.linalg.norm(start)
    )
    cosine = (head * start).sum() / np.linalg.norm(head) / np.linalg.norm(start)
    assert found["cosine_with_first", "all_rows"] == pytest.approx(cosine)
    for component, rows in (("token_rows", 300), ("all_rows", 320)):
        u, sigma, v = np.linalg.svd(head[:rows], full_matrices=False)
        assert found["largest_singular_value", component] == pytest.approx(sigma[0])
        mean = head[:rows].mean(0)
        assert found["mean_row_alignment", component] == pytest.approx(abs(v[0] @ mean) / np.linalg.norm(mean))
        seen = np.flatnonzero(counts)
        expected = abs(np.corrcoef(u[seen, 0], np.log(counts[seen]))[0, 1])
        assert found["log_frequency_alignment", component] == pytest.approx(expected)
        norms = np.linalg.norm(head[:rows], axis=1)
        ranks = [rankdata(values[seen]) for values in (norms, counts)]
        assert found["norm_frequency_correlation", component] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    # all 16 directions of 16: the fit is that on the rows themselves
    design = np.column_stack([np.ones(len(seen)), head[seen]])
    target = np.log(counts[seen])
    residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    explained = 1 - residual @ residual / ((target - target.mean()) ** 2).sum()
    assert found["log_frequency_r2", "all_rows"] == pytest.approx(explained)
    errors = next(r.values for r in readings if r.metric == "w_error" and r.component == "all_rows")
    assert errors[8] == found["w_error_rank_8", "all_rows"]


def test_the_embedding_beside_the_head() -> None:
    model = WeightsInMemory(architecture_of(make_model("gpt_neox")))
    head, embedding = (weight.detach().double().numpy() for weight in (model.head(), model.embedding()))
    readings = EmbeddingSpectrumProbe().read(model, WeightContext(300))
    found = {(r.metric, r.component): r.value for r in readings if isinstance(r, Reading)}
    sigma, of_embedding = np.linalg.svd(embedding)[1:]
    assert found["stable_rank", "all_rows"] == pytest.approx((sigma**2).sum() / sigma[0] ** 2)
    overlap = np.square(np.linalg.svd(head)[2][:4] @ of_embedding[:4].T).sum() / 4
    assert found["embedding_overlap_4", "all_rows"] == pytest.approx(overlap)
    mean = embedding.mean(0)
    expected = abs(np.linalg.svd(head)[2][0] @ mean) / np.linalg.norm(mean)
    assert found["embedding_mean_alignment", "all_rows"] == pytest.approx(expected)


def test_padding_of_zeros_changes_no_spectrum_and_other_padding_does() -> None:
    model = make_model("gpt_neox")
    for zero in (False, True):
        if zero:
            model.get_output_embeddings().weight.data[300:] = 0
        readings = HeadSpectrumProbe().read(WeightsInMemory(architecture_of(model)), WeightContext(300))
        found = {r.component: r.values for r in readings if r.metric == "singular_values"}
        assert np.allclose(found["all_rows"], found["token_rows"], rtol=1e-12) == zero


def test_a_tied_model_has_one_spectrum() -> None:
    for name, tied in (("gpt2", True), ("gpt_neox", False)):
        head, embedding = (
            _found(measure(make_model(name), [probe], token_ids=_ids()))
            for probe in ("head_spectrum", "embedding_spectrum")
        )
        key = "effective_rank", None, "all_rows"
        assert (head[key] == embedding[key]) == tied
        assert (embedding["embedding_overlap_4", None, "all_rows"] == pytest.approx(1)) == tied


def test_fewer_rows_than_columns_leave_a_wide_matrix() -> None:
    narrow = WeightsInMemory(architecture_of(make_model("gpt_neox")))
    readings = list(HeadSpectrumProbe().read(narrow, WeightContext(5)))
    sigma = next(r.values for r in readings if (r.metric, r.component) == ("singular_values", "token_rows"))
    np.testing.assert_allclose(sigma, torch.linalg.svdvals(narrow.head()[:5].double()).detach(), rtol=1e-9)


def test_movement() -> None:
    weight = torch.randn(2500, 6, generator=torch.Generator().manual_seed(1))
    moved = movement(2 * weight, weight)
    assert moved.distance == pytest.approx(1) and moved.cosine == pytest.approx(1)
    assert movement(-weight, weight) == pytest.approx((2, -1))
    assert movement(weight, torch.zeros_like(weight)) == (None, None)
    with pytest.raises(ValueError, match=r"\(2500, 6\) has no distance from one of \(3, 6\)"):
        movement(weight, weight[:3])


def test_alignment_and_overlap_of_known_directions() -> None:
    basis = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))[0]
    gram = Gram(12)
    gram.update(torch.from_numpy(basis * np.arange(12, 0, -1.0)) @ torch.from_numpy(basis.T))
    directions = top_directions(gram, 3)
    np.testing.assert_allclose(alignment(directions, 5 * basis[:, 1]), [0, 1, 0], atol=1e-9)
    assert subspace_overlap(directions, basis[:, [2, 0, 1]]) == pytest.approx(1)
    assert subspace_overlap(directions, basis[:, [2, 0, 7]]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no direction"):
        alignment(directions, np.zeros(12))
    with pytest.raises(ValueError, match="cannot be compared"):
        subspace_overlap(directions, basis)
    counts = np.arange(1, 13)
    scores = np.column_stack([np.log(counts), np.random.default_rng(0).normal(size=12)])
    found, explained = log_frequency_alignment(scores, counts)
    assert found[0] == pytest.approx(1) and found[1] < 0.9 and explained == pytest.approx(1)
    with pytest.raises(ValueError, match="3 different tokens are too few"):
        log_frequency_alignment(scores, np.pad(counts[:3], (0, 9)))
