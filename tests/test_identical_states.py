"""States that are one but for rounding: noise is not measured as structure, and structure not taken for noise."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lm_probe.model_adapters import Site, architecture_of
from lm_probe.probes import (
    AnisotropyProbe,
    Batch,
    ForwardProbe,
    GeometryProbe,
    GeometryState,
    Reading,
    Sampled,
    linear_cka,
    mean_cosine,
    mean_cosine_centred,
    mean_cosine_standardised,
    two_nn_dimension,
)
from lm_probe.probes._covariance import identical
from lm_probe.sweeps import measure
from tests.conftest import make_model

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
OF_STRUCTURE = {
    *("mean_cosine_centred", "mean_cosine_standardised", "intrinsic_dimension", "spectral_exponent", "stable_rank"),
    *("effective_rank", "effective_rank_power2", "participation_ratio", "top_component_share"),
    *("isoscore", "isoscore_shrunk"),
}
RAW = {
    *("mean_cosine", "mean_cosine_no_first", "mean_cosine_drop1", "intra_sentence_similarity", "self_similarity"),
    *("mean_vector_share", "norm_mean", "norm_first", "rogue_top1", "log_partition_isotropy", "norm_max_over_median"),
}
SITE = Site(1, "block")


def one_vector_rounded(dtype: torch.dtype, n: int = 60, d: int = 32, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    """Copies that differ as those of models were seen to: by a few units in the last place of a typical number."""
    generator = torch.Generator().manual_seed(seed)
    vector = scale * torch.randn(d, generator=generator, dtype=torch.float64)
    vector[0] *= 300  # a massive dimension
    vector[1] = 0.0  # what cancelled
    size = vector.abs().median().maximum(vector.abs())
    units = 1.5 if dtype in (torch.bfloat16, torch.float16) else 10.0
    noise = units * torch.finfo(dtype).eps * size * (2 * torch.rand(n, d, generator=generator).double() - 1)
    return (vector + noise).to(dtype)


def measured(states: torch.Tensor, probe: ForwardProbe | None = None) -> dict[str, Reading]:
    rows = states.reshape(-1, 6, states.shape[-1])
    ids = torch.arange(rows.shape[0] * 6).reshape(-1, 6) % 17
    counts = torch.bincount(ids.flatten())
    architecture = architecture_of(make_model("gpt_neox"))
    state = (probe or GeometryProbe()).start(architecture, Sampled(5, "cpu", False, counts))
    for part in torch.arange(len(rows)).split(4):
        state.see_hidden(SITE, rows[part], Batch(ids[part], None, part % 5, None))
    return {reading.metric: reading for reading in state.result() if isinstance(reading, Reading)}


@given(st.sampled_from([*DTYPES, torch.float64]), st.integers(4, 64), st.integers(0, 1000), st.floats(1e-2, 50))
def test_copies_with_rounding_are_one_vector(dtype: torch.dtype, d: int, seed: int, scale: float) -> None:
    assert identical(one_vector_rounded(dtype, d=d, seed=seed, scale=scale))


@given(st.sampled_from(DTYPES), st.integers(4, 64), st.integers(0, 1000), st.floats(1e-2, 50))
def test_what_varies_is_not_one_vector(dtype: torch.dtype, d: int, seed: int, scale: float) -> None:
    """A collapsed model's states, one dimension alone that varies, and a massive one beside ordinary ones."""
    generator = torch.Generator().manual_seed(seed)
    spread = 0.1 if dtype in (torch.bfloat16, torch.float16) else 1e-4
    noise = torch.randn(60, d, generator=generator)
    collapsed = torch.ones(d) + spread * noise
    single = torch.ones(60, d)
    single[:, 2] += spread * noise[:, 2]
    massive = noise.clone()
    massive[:, 0] = 3000.0
    for states in (collapsed, single, massive):
        assert not identical((scale * states).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_one_vector_no_structure_is_measured_and_the_reason_is_counted(dtype: torch.dtype) -> None:
    states = one_vector_rounded(dtype)
    assert len(states.unique(dim=0)) > 3
    found = measured(states)
    assert found["identical_vectors"].value == found["identical_vectors"].n == 60
    assert not OF_STRUCTURE & found.keys()
    assert found.keys() >= RAW
    assert found["mean_cosine"].value == pytest.approx(mean_cosine(states), abs=1e-12)
    for measure_of in (mean_cosine_centred, mean_cosine_standardised):
        with pytest.raises(ValueError, match="found 0"):
            measure_of(states)
    with pytest.raises(ValueError, match="one but for rounding"):
        two_nn_dimension(states)


def test_cka_with_one_vector_is_left_out_on_either_side() -> None:
    generator = torch.Generator().manual_seed(2)
    alike, other = one_vector_rounded(torch.float32), torch.randn(60, 32, generator=generator)
    with pytest.raises(ValueError, match="the same but for rounding"):
        linear_cka(alike, other)

    def beside(states: torch.Tensor, reference: torch.Tensor) -> dict[str, Reading]:
        probe = _Kept()
        measured(reference, probe)
        return measured(states, GeometryProbe(reference=probe.state.samples()))

    assert "cka" not in beside(alike, other) and "cka" not in beside(other, alike)
    assert beside(other, other)["cka"].value == pytest.approx(1)


class _Kept(GeometryProbe):
    """A probe whose state can be asked for its samples."""

    state: GeometryState

    def start(self, architecture, sampled: Sampled) -> GeometryState:
        self.state = super().start(architecture, sampled)
        return self.state


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "rotary"), [("gpt_neox", True), ("llama", True), ("gpt2", False), ("opt", False)])
def test_a_prompt_of_one_token(name: str, rotary: bool, dtype: torch.dtype) -> None:
    """With rotary positions every state is one state; learned positions tell the copies apart, and are measured."""
    model = make_model(name).to(dtype)
    model.set_attn_implementation("eager")  # its sums round more
    values = measure(model, ["geometry"], token_ids=torch.full((4, 16), 7), batch_size=3)
    found: dict[int | None, set[str]] = {}
    for value in values:
        found.setdefault(value.layer, set()).add(value.metric)
    for layer, metrics in found.items():
        assert ("identical_vectors" in metrics) == rotary, layer
        assert bool(OF_STRUCTURE & metrics) != rotary, layer
        assert "mean_cosine" in metrics


@pytest.mark.parametrize("dtype", DTYPES)
def test_ordinary_text_has_no_identical_vectors(dtype: torch.dtype) -> None:
    ids = torch.randint(0, 300, (4, 16), generator=torch.Generator().manual_seed(0))
    values = measure(make_model("gpt_neox").to(dtype), ["geometry"], token_ids=ids)
    assert {value.metric for value in values} >= OF_STRUCTURE
    assert "identical_vectors" not in {value.metric for value in values}


@pytest.mark.parametrize("probe", [GeometryProbe(), AnisotropyProbe()])
@pytest.mark.parametrize("others", [0, 1, 2])
def test_zero_vectors_are_counted_among_all(probe: ForwardProbe, others: int) -> None:
    states = torch.zeros(12, 8)
    states[:others] = torch.randn(others, 8, generator=torch.Generator().manual_seed(0))
    found = measured(states, probe)
    assert (found["zero_vectors"].value, found["zero_vectors"].n) == (12 - others, 12)
    assert ("mean_cosine" in found) == (others == 2)
