"""The `geometry` probe on real models, against what transformers gives when every hidden state is kept."""

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from lm_probe.model_adapters import Site, UserError, architecture_of
from lm_probe.probes import (
    AnisotropyProbe,
    Batch,
    ForwardProbe,
    GeometryProbe,
    GeometryState,
    Reading,
    Sampled,
    effective_rank,
    find_probes,
    intra_sentence_similarity,
    isoscore,
    linear_cka,
    log_partition_isotropy,
    max_over_median,
    mean_cosine,
    mean_cosine_centred,
    mean_cosine_standardised,
    mean_cosine_without,
    mean_vector_share,
    participation_ratio,
    run_forward,
    self_similarity,
    spectral_exponent,
    stable_rank,
    top_share,
    two_nn_dimension,
)
from lm_probe.sweeps import measure
from tests.conftest import make_model

ROWS, LENGTH = 10, 12


def make_batches(sizes: list[int], padded: bool = True) -> tuple[list[Batch], Sampled]:
    generator = torch.Generator().manual_seed(3)
    ids = (300 ** torch.rand(ROWS, LENGTH, generator=generator)).long()
    lengths = torch.randint(4, LENGTH + 1, (ROWS, 1), generator=generator) if padded else torch.full((ROWS, 1), LENGTH)
    mask = torch.arange(LENGTH) < lengths
    ids, clusters = ids * mask, torch.arange(ROWS) // 2
    batches, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        longest = int(lengths[part].max())
        kept = None if bool(mask[part, :longest].all()) else mask[part, :longest]
        batches.append(Batch(ids[part, :longest], kept, clusters[part], None))
        start += size
    return batches, Sampled(5, "cpu", False, torch.bincount(ids[mask], minlength=320))


def run(model: PreTrainedModel, batches: list[Batch], sampled: Sampled, probe: ForwardProbe) -> GeometryState:
    architecture = architecture_of(model)
    state = probe.start(architecture, sampled)
    for _ in run_forward(architecture, batches, {probe: state}):
        pass
    assert isinstance(state, GeometryState)
    return state


def by_address(readings: list[Reading]) -> dict[tuple[int | None, str | None, str], Reading]:
    return {(reading.layer, reading.site, reading.metric): reading for reading in readings}


def first_seen(windows: list[torch.Tensor]) -> list[int]:
    """Where tokens stand first after the same tokens; a first run of one token is one."""
    places: dict[tuple[int, ...], int] = {}
    for place, (row, t) in enumerate((ids.tolist(), t) for ids in windows for t in range(len(ids))):
        before = tuple(row[: t + 1])
        places.setdefault(before if len(set(before)) > 1 else before[:1], place)
    return list(places.values())


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "opt-350m"])
@pytest.mark.parametrize("padded", [True, False])
def test_equals_brute_force_on_kept_hidden_states(name: str, padded: bool) -> None:
    model = make_model(name)
    batches, sampled = make_batches([3, 2, 5], padded)
    found = by_address(run(model, batches, sampled, GeometryProbe()).result())
    windows: list[list[torch.Tensor]] = []
    ids: list[torch.Tensor] = []
    with torch.no_grad():
        for batch in batches:
            for row in range(len(batch.token_ids)):
                keep = slice(None) if batch.mask is None else batch.mask[row]
                ids.append(batch.token_ids[row][keep])
                output = model(ids[-1][None], output_hidden_states=True, use_cache=False)
                windows.append([state[0].double() for state in output.hidden_states])
    sites = architecture_of(model).sites
    assert {(layer, site) for layer, site, _ in found} == {(site.layer, site.site) for site in sites}
    last = len(windows[0]) - 1
    for layer in (0, 2, last):
        site = sites[-1] if layer == last else sites[layer]
        states = [window[layer] for window in windows]
        flat = torch.cat(states)
        padded_states = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        counted = torch.nn.utils.rnn.pad_sequence(
            [torch.ones(len(s), dtype=torch.bool) for s in states], batch_first=True
        )
        later = torch.cat([state[1:] for state in states])
        types = torch.cat([row[1:] for row in ids])
        frequent = torch.bincount(torch.cat(ids), minlength=320).sort(descending=True, stable=True).indices[:32]
        frequent = [kind for kind in frequent.tolist() if int((torch.cat(ids) == kind).sum()) > 1]
        followed = torch.isin(types, torch.tensor(frequent))
        eigenvalues = torch.from_numpy(np.linalg.eigvalsh(np.cov(flat.numpy().T, bias=True))).flip(0).clamp_min(0)
        expected = {
            "mean_cosine": mean_cosine(flat),
            "mean_cosine_no_first": mean_cosine(later),
            "mean_cosine_centred": mean_cosine_centred(flat),
            "mean_cosine_standardised": mean_cosine_standardised(flat),
            "mean_cosine_drop1": mean_cosine_without(flat, 1),
            "mean_cosine_drop5": mean_cosine_without(flat, 5),
            "intra_sentence_similarity": intra_sentence_similarity(padded_states, counted),
            "self_similarity": self_similarity(later[followed], types[followed]),
            "mean_vector_share": mean_vector_share(flat),
            "effective_rank": effective_rank(eigenvalues.sqrt()),
            "effective_rank_power2": effective_rank(eigenvalues),
            "participation_ratio": participation_ratio(eigenvalues),
            "stable_rank": stable_rank(eigenvalues.sqrt()),
            "top_component_share": top_share(eigenvalues.sqrt()),
            "isoscore": isoscore(eigenvalues),
            "log_partition_isotropy": log_partition_isotropy(flat),
            "intrinsic_dimension": two_nn_dimension(flat[first_seen(ids)].float()),
            "norm_mean": float(flat.norm(dim=1).mean()),
            "norm_first": float(torch.stack([state[0] for state in states]).norm(dim=1).mean()),
            "norm_max_over_median": max_over_median(flat.norm(dim=1)),
            "activation_max_over_median": max_over_median(flat.abs().flatten()),
        }
        if len(eigenvalues) > 8:  # eight eigenvalues have no middle
            expected["spectral_exponent"] = spectral_exponent(eigenvalues)
        assert not [m for m in expected if (site.layer, site.site, m) not in found]
        # Equal tokens have equal states at the embedding up to the last bit, which a batch may change; with absolute
        # positions it matters which token of a first run is the one that is taken.
        loose = {"intrinsic_dimension": 0.04}
        for metric, value in expected.items():
            reading = found[site.layer, site.site, metric]
            assert reading.value == pytest.approx(value, rel=loose.get(metric, 2e-5), abs=2e-6), (metric, site)
        # Maxima have none, and cosines without dimensions where halves of so few tokens drop others.
        for metric in {name for name in expected if "_max_" not in name and "_drop" not in name}:
            error = found[site.layer, site.site, metric].stderr
            assert error is not None and error >= 0 and np.isfinite(error), metric


@pytest.mark.parametrize("sample_rows", [512, 20])
def test_merged_parts_are_one_pass(neox: PreTrainedModel, sample_rows: int) -> None:
    batches, sampled = make_batches([2, 2, 2, 4])
    probe = GeometryProbe(sample_rows=sample_rows)
    whole = run(neox, batches, sampled, probe)
    # One worker saw only the start: its twin brings sites and tokens.
    first, second = run(neox, batches[:1], sampled, probe), run(neox, batches[1:], sampled, probe)
    empty = probe.start(architecture_of(neox), sampled)
    before = by_address(second.result())
    empty.merge(second)
    empty.merge(first)
    assert by_address(second.result()) == before
    expected, found = by_address(whole.result()), by_address(empty.result())
    assert expected.keys() == found.keys()
    for address, reading in expected.items():
        assert found[address].value == pytest.approx(reading.value, rel=1e-11, abs=1e-13), address
        assert found[address].n == reading.n
        if reading.stderr is not None:
            # Errors are taken along single-precision eigenvectors.
            assert found[address].stderr == pytest.approx(reading.stderr, rel=1e-2, abs=1e-9), address


def test_a_small_sample_still_measures_the_same_tokens_in_any_batches(neox: PreTrainedModel) -> None:
    samples = []
    for sizes in ([10], [1] * 10, [4, 6]):
        batches, sampled = make_batches(sizes)
        samples.append(run(neox, batches, sampled, GeometryProbe(sample_rows=15)).samples())
    for site, sample in samples[0].items():
        for other in samples[1:]:
            assert torch.equal(sample.keys, other[site].keys)
            torch.testing.assert_close(sample.vectors, other[site].vectors, atol=1e-5, rtol=1e-4)


def test_without_counts_there_are_no_strata_and_no_types(neox: PreTrainedModel) -> None:
    batches, sampled = make_batches([10])
    bare = Sampled(sampled.n_clusters, "cpu", False)
    with_counts = by_address(run(neox, batches, sampled, GeometryProbe()).result())
    without = by_address(run(neox, batches, bare, GeometryProbe()).result())
    extra = {address[2] for address in with_counts.keys() - without.keys()}
    assert extra == {*(f"mean_cosine_q{s}" for s in range(1, 5)), "self_similarity", "self_similarity_adjusted"}
    for address, reading in without.items():
        assert reading.value == pytest.approx(with_counts[address].value, rel=1e-9)


def test_cka_with_a_reference_checkpoint() -> None:
    batches, sampled = make_batches([5, 5])
    reference = run(make_model("gpt_neox", seed=1), batches, sampled, GeometryProbe()).samples()
    model = make_model("gpt_neox")
    state = run(model, batches, sampled, GeometryProbe(reference=reference))
    found = by_address(state.result())
    for site, sample in state.samples().items():
        reading = found[site.layer, site.site, "cka"]
        expected = linear_cka(sample.vectors, reference[site].vectors)
        assert reading.value == pytest.approx(expected, rel=1e-12)
        assert reading.stderr is not None and 0 < reading.stderr < 0.5
    own = by_address(run(model, batches, sampled, GeometryProbe(reference=state.samples())).result())
    assert own[2, "block", "cka"].value == pytest.approx(1)
    elsewhere = [Batch(batch.token_ids.flip(1), None, batch.clusters, None) for batch in make_batches([10], False)[0]]
    other = run(model, elsewhere, sampled, GeometryProbe(reference=reference))
    with pytest.raises(ValueError, match="measure both on the same text"):
        other.result()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_measured_in_double(dtype: torch.dtype) -> None:
    model = make_model("gpt_neox").to(dtype)
    batches, sampled = make_batches([10])
    state = run(model, batches, sampled, GeometryProbe())
    found = by_address(state.result())
    for site, sample in state.samples().items():
        assert sample.vectors.dtype == dtype
        exact = mean_cosine(sample.vectors.double())  # the sample holds every token
        assert found[site.layer, site.site, "mean_cosine"].value == pytest.approx(exact, abs=1e-12)


def test_what_is_not_defined_is_left_out_and_nan_is_refused(neox: PreTrainedModel) -> None:
    constant = Sampled(4, "cpu", False)
    state = GeometryProbe().start(architecture_of(neox), constant)
    batch = Batch(torch.arange(12).reshape(4, 3), None, torch.arange(4), None)
    state.see_hidden(Site(1, "block"), torch.ones(4, 3, 16), batch)
    found = {reading.metric: reading for reading in state.result()}
    assert found["mean_cosine"].value == pytest.approx(1)
    assert "effective_rank" not in found and "intrinsic_dimension" not in found and "mean_cosine_centred" not in found
    assert all(np.isfinite(reading.value) for reading in found.values())

    bad = torch.ones(4, 3, 16)
    bad[0, 1, 2] = float("nan")
    state.see_hidden(Site(2, "block"), bad, batch)
    with pytest.raises(ValueError, match=r"layer 2 \(block\).*NaN"):
        state.result()


def test_a_site_of_zero_vectors_is_counted_and_left_out(neox: PreTrainedModel) -> None:
    batch = Batch(torch.arange(20).view(4, 5), None, torch.arange(4), None)
    for probe in (GeometryProbe(), AnisotropyProbe()):
        state = probe.start(architecture_of(neox), Sampled(4, "cpu", False))
        state.see_hidden(Site(0, "embedding"), torch.zeros(4, 5, 6), batch)
        state.see_hidden(Site(1, "block"), torch.randn(4, 5, 6), batch)
        found = {(reading.metric, reading.layer): reading.value for reading in state.result()}
        assert found["zero_vectors", 0] == 20
        assert ("mean_cosine", 1) in found and ("mean_cosine", 0) not in found
        assert all(value == value for value in found.values())


def test_states_that_were_computed_twice_are_taken_once_by_the_dimension() -> None:
    """As tasks make them: documents come again with another end, equal so far but for rounding."""
    generator = torch.Generator().manual_seed(4)
    ids, states = torch.randint(0, 300, (12, 20), generator=generator), torch.randn(12, 20, 8, generator=generator)
    again, computed = ids.clone(), states * (1 + 1e-7 * torch.randn(12, 20, 8, generator=generator))
    again[:, 15:] += 300
    computed[:, 15:] = torch.randn(12, 5, 8, generator=generator)
    state = GeometryState(Sampled(24, "cpu", False), 480)
    batch = Batch(torch.cat([ids, again]), None, torch.arange(24), None)
    state.see_hidden(Site(1, "block"), torch.cat([states, computed]), batch)
    found = by_address(state.result())[1, "block", "intrinsic_dimension"].value
    once = torch.cat([states.flatten(0, 1), computed[:, 15:].flatten(0, 1)])
    assert found == pytest.approx(two_nn_dimension(once), rel=1e-4)


@pytest.mark.parametrize(("spread", "dtype"), [(1.0, torch.float32), (0.005, torch.bfloat16)])
def test_fewer_vectors_than_dimensions_far_from_zero(spread: float, dtype: torch.dtype) -> None:
    """Distances and second moments come from one product about the mean; of copies that are rounded there is none."""
    generator = torch.Generator().manual_seed(6)
    ids = torch.randint(0, 300, (4, 6), generator=generator)
    states = 3 * torch.randn(48, generator=generator) + spread * torch.randn(4, 6, 48, generator=generator)
    states = states.to(dtype)
    state = GeometryState(Sampled(4, "cpu", False), 512)
    state.see_hidden(Site(1, "block"), states, Batch(ids, None, torch.arange(4), None))
    found = {reading.metric: reading.value for reading in state.result()}
    flat = states.flatten(0, 1)
    assert found["log_partition_isotropy"] == pytest.approx(log_partition_isotropy(flat), rel=1e-11)
    assert ("intrinsic_dimension" in found) == (spread == 1)
    if spread == 1:
        assert found["intrinsic_dimension"] == pytest.approx(two_nn_dimension(flat), rel=1e-9)


def test_what_never_varies_is_no_variance_however_means_are_rounded() -> None:
    generator = torch.Generator().manual_seed(0)
    constant = 100 * torch.rand(40, generator=generator, dtype=torch.float64)
    vectors, ids = torch.randn(21, 33, 8, generator=generator).double(), torch.arange(693).reshape(21, 33)

    def measured(states: torch.Tensor) -> dict[str, float]:
        state = GeometryState(Sampled(21, "cpu", False), 512)
        for part in (slice(0, 3), slice(3, 10), slice(10, 21)):
            rows = Batch(ids[part], None, torch.arange(21)[part], None)
            state.see_hidden(Site(1, "block"), states[part], rows)
        return {reading.metric: reading.value for reading in state.result()}

    alike = measured(constant.expand(21, 33, 40))
    assert not {"effective_rank", "isoscore", "intrinsic_dimension", "mean_cosine_centred"} & alike.keys()
    assert "mean_cosine_standardised" not in alike and alike["mean_cosine"] == pytest.approx(1)
    alone, beside = measured(vectors), measured(torch.cat([vectors, constant.expand(21, 33, 40)], 2))
    for name in ("mean_cosine_centred", "mean_cosine_standardised", "effective_rank", "intrinsic_dimension"):
        assert beside[name] == pytest.approx(alone[name], rel=1e-9), name


def test_is_known_by_name_and_runs_through_measure(neox: PreTrainedModel) -> None:
    (probe,) = find_probes(["geometry"])
    assert isinstance(probe, GeometryProbe)
    values = measure(neox, ["geometry", "anisotropy"], token_ids=torch.arange(200).reshape(10, 20))
    by_probe = {(value.probe, value.layer, value.site): value for value in values if value.metric == "mean_cosine"}
    for (name, layer, site), value in by_probe.items():
        if name == "geometry":
            other = by_probe["anisotropy", layer, site]
            assert value.value == pytest.approx(other.value, abs=1e-12)
            assert value.stderr == pytest.approx(other.stderr, abs=1e-12)
    with torch.no_grad():
        neox.gpt_neox.layers[1].mlp.dense_h_to_4h.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="geometry: layer 2"):
        measure(neox, ["geometry"], token_ids=torch.arange(200).reshape(10, 20))
