"""The controls of geometry: random weights, shuffled tokens, drawn directions, growing samples."""

import pytest
import torch
from transformers import PreTrainedModel

from lm_probe.model_adapters import architecture_of
from lm_probe.probes import (
    AnisotropyProbe,
    GeometryProbe,
    NormMatchedGaussian,
    Reading,
    random_twin,
    run_forward,
    shuffle_tokens,
    token_curve,
)
from lm_probe.probes._controls import gaussian_noise
from lm_probe.sweeps import TokenSample
from lm_probe.sweeps._controls import controlled
from lm_probe.sweeps._memory import Passes
from tests.conftest import make_model
from tests.test_geometry import by_address, make_batches, run


def test_a_random_twin_has_the_shape_and_none_of_the_weights() -> None:
    model = make_model("gpt_neox").to(torch.bfloat16)
    before = torch.get_rng_state()
    twin = random_twin(model, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not twin.training
    own, new = dict(model.named_parameters()), dict(twin.named_parameters())
    assert own.keys() == new.keys()
    for name, weight in new.items():
        assert weight.shape == own[name].shape and weight.dtype == torch.bfloat16
    assert not torch.equal(
        own["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"], new["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"]
    )
    again = dict(random_twin(model, seed=3).named_parameters())
    assert all(torch.equal(weight, again[name]) for name, weight in new.items())


def test_shuffling_keeps_counts_lengths_and_first_tokens() -> None:
    rows = {}
    for sizes in ([10], [1] * 10, [3, 7]):
        batches, _ = make_batches(sizes)
        kept = []
        for batch, shuffled in zip(batches, shuffle_tokens(batches, seed=1), strict=True):
            assert torch.equal(shuffled.token_ids[:, 0], batch.token_ids[:, 0])
            assert torch.equal(shuffled.token_ids.sort(1).values, batch.token_ids.sort(1).values)
            assert shuffled.mask is batch.mask
            for row in range(len(batch.token_ids)):
                length = batch.token_ids.shape[1] if batch.mask is None else int(batch.mask[row].sum())
                assert not shuffled.token_ids[row, length:].any()
                kept.append(shuffled.token_ids[row, :length].tolist())
        rows[tuple(sizes)] = kept
    assert rows[10,] == rows[(1,) * 10] == rows[3, 7]
    batches, _ = make_batches([10])
    (shuffled,), (other,) = shuffle_tokens(batches, seed=1), shuffle_tokens(batches, seed=2)
    assert not torch.equal(shuffled.token_ids, batches[0].token_ids)
    assert not torch.equal(shuffled.token_ids, other.token_ids)


def test_noise_is_normal_and_follows_the_key() -> None:
    keys = torch.arange(4000).reshape(40, 100) * 7919
    noise = gaussian_noise(keys, 50)
    assert torch.equal(noise[3, 5], gaussian_noise(keys[3:4, 5:6], 50)[0, 0])
    assert abs(float(noise.mean())) < 0.01
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert float((noise**4).mean()) == pytest.approx(3, abs=0.1)
    flat = noise.flatten(0, 1)
    assert float((flat.T @ flat / 4000 - torch.eye(50)).abs().max()) < 0.08


def test_drawn_directions_keep_lengths_and_lose_everything_else(neox: PreTrainedModel) -> None:
    architecture = architecture_of(neox)
    found = {}
    for sizes in ([10], [4, 6]):
        batches, sampled = make_batches(sizes, padded=False)
        probe = GeometryProbe()
        control = NormMatchedGaussian(probe)
        assert control.name == "geometry_gaussian"
        states = {probe: probe.start(architecture, sampled), control: control.start(architecture, sampled)}
        for _ in run_forward(architecture, batches, states):
            pass
        real, drawn = (by_address(states[each].result()) for each in (probe, control))
        found[tuple(sizes)] = drawn
        assert drawn[2, "block", "norm_mean"].value == pytest.approx(real[2, "block", "norm_mean"].value, rel=1e-6)
        assert real[2, "block", "mean_cosine"].value > 0.2
        assert abs(drawn[2, "block", "mean_cosine"].value) < 0.05
    assert found[10,][2, "block", "mean_cosine"].value == pytest.approx(
        found[4, 6][2, "block", "mean_cosine"].value, abs=1e-5
    )


@pytest.mark.parametrize("sizes", [[2] * 5, [10], [1, 9]])
def test_a_curve_over_tokens_is_that_of_shorter_passes(neox: PreTrainedModel, sizes: list[int]) -> None:
    batches, sampled = make_batches(sizes, padded=False)
    curve = token_curve(architecture_of(neox), GeometryProbe(), batches, sampled, at=[24, 70, 120])
    assert list(curve) == [24, 72, 120]
    rows, _ = make_batches([1] * 10, padded=False)
    for tokens, readings in curve.items():
        short = by_address(run(neox, rows[: tokens // 12], sampled, GeometryProbe()).result())
        for reading in readings:
            assert isinstance(reading, Reading)
            other = short[reading.layer, reading.site, reading.metric]
            assert reading.value == pytest.approx(other.value, rel=1e-4, abs=1e-6), reading
            assert reading.n == other.n
    with pytest.raises(ValueError, match="the sample has 120"):
        token_curve(architecture_of(neox), GeometryProbe(), batches, sampled, at=[500])


def test_a_curve_counts_what_is_not_padding(neox: PreTrainedModel) -> None:
    lengths = [sum(batch.token_ids.numel() for batch in make_batches([1] * 10)[0][:rows]) for rows in (2, 5, 10)]
    batches, sampled = make_batches([10])
    curve = token_curve(architecture_of(neox), GeometryProbe(), batches, sampled, at=lengths)
    assert list(curve) == lengths


# Eight documents of eight windows; in each document every token is the same one.
WINDOWS = [[token] * 6 for token in range(8) for _ in range(8)]
SAMPLE = TokenSample(WINDOWS, [window // 8 for window in range(64)], None, "document", 6, False)


def test_a_sweeps_curve_takes_windows_of_all_documents(neox: PreTrainedModel) -> None:
    ((probe, control),) = controlled([AnisotropyProbe()], ["curve"]).values()
    outcome = control(probe, architecture_of(neox), SAMPLE, Passes(8), 0)
    found = {r.component: r for r in outcome.readings if isinstance(r, Reading) and r.layer == 0}
    assert found["024 tokens"].value < 0.9  # of the one token of one document it is 1
    assert found["024 tokens"].stderr is None  # of three documents
    middle = found["192 tokens"].stderr
    assert middle is not None and middle > 0.01


def test_checkpoints_of_one_configuration_share_their_random_twin() -> None:
    ((probe, control),) = controlled([AnisotropyProbe()], ["random"]).values()
    first, second = (architecture_of(make_model("gpt_neox", seed=seed)) for seed in (1, 2))
    found, passes = control(probe, first, SAMPLE, Passes(8), 0), Passes(8)
    assert control(probe, second, SAMPLE, passes, 0) is found and passes.most == 8
    other = control(probe, architecture_of(make_model("gpt2")), SAMPLE, Passes(8), 0)
    assert other.readings != found.readings
