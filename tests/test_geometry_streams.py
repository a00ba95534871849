"""The streaming objects of geometry: one pass, merged parts and brute force agree; errors are what they claim."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lm_probe.probes import (
    Batch,
    Covariance,
    DirectionSums,
    Magnitudes,
    MeanCosine,
    Reservoir,
    Sampled,
    TokenLabeller,
    intra_sentence_similarity,
    mean_cosine,
    mean_vector_share,
    rogue_share,
    self_similarity,
)
from lm_probe.probes._directions import TOP_DIMENSIONS, _rogue
from lm_probe.probes._half_samples import half_samples
from lm_probe.probes._jackknife import jackknife
from lm_probe.probes._labels import NO_KEY, frequency_strata, token_keys
from lm_probe.probes._reservoir import SampledVectors, labelled
from lm_probe.probes._windows import Windows

CPU = torch.device("cpu")


def make_batch(rows: int = 9, length: int = 7, seed: int = 0, padded: bool = True) -> tuple[Batch, Sampled]:
    generator = torch.Generator().manual_seed(seed)
    ids = (12 ** torch.rand(rows, length, generator=generator)).long()
    mask = None
    if padded:
        mask = torch.arange(length) < torch.randint(2, length + 1, (rows, 1), generator=generator)
        ids = ids * mask
    counts = torch.bincount(ids.flatten() if mask is None else ids[mask], minlength=14)
    return Batch(ids, mask, torch.arange(rows) // 2, None), Sampled(5, "cpu", False, counts)


def rows_of(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.token_ids[rows], None if batch.mask is None else batch.mask[rows], batch.clusters[rows], None)


@pytest.mark.parametrize("width", [3, 191, 193, 400])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_covariance_is_numpys(width: int, offset: float) -> None:
    vectors = torch.randn(1500, width, generator=torch.Generator().manual_seed(1)).double()
    vectors = vectors * torch.linspace(0.1, 3, width) + offset
    statistic = Covariance()
    statistic.update(vectors[:3])
    statistic.update(vectors[3:].reshape(-1, 3, width))
    found = statistic.result()
    expected = np.cov(vectors.numpy().T, bias=True)
    assert found.n == 1500
    np.testing.assert_allclose(found.mean, vectors.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-10, atol=1e-12 * expected.max())
    torch.testing.assert_close(found.covariance, found.covariance.T, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 29), st.sampled_from([1, 2, 6, 48, 49, 97]), st.floats(-50, 50))
def test_covariance_merges_to_one_pass(cut: int, width: int, offset: float) -> None:
    vectors = torch.randn(30, width, generator=torch.Generator().manual_seed(cut)).double() + offset
    mask = torch.arange(30) % 7 != 3
    whole, first, second = Covariance(), Covariance(), Covariance()
    whole.update(vectors, mask)
    first.update(vectors[:cut], mask[:cut])
    second.update(torch.where(mask[:, None], vectors, torch.nan)[cut:], mask[cut:])
    first.merge(Covariance())
    first.merge(second)
    expected, found = whole.result(), first.result()
    assert found.n == expected.n == int(mask.sum())
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.covariance, expected.covariance, rtol=1e-12, atol=1e-12)


def test_covariance_refuses_what_has_none() -> None:
    with pytest.raises(ValueError, match="two vectors: found 0"):
        Covariance().result()
    bad = Covariance()
    bad.update(torch.tensor([[1.0, 2.0], [float("inf"), 1.0]]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        bad.result()


def test_keys_follow_the_text_and_not_the_batch() -> None:
    batch, _ = make_batch()
    assert batch.mask is not None
    keys = token_keys(batch.token_ids, batch.mask, batch.clusters)
    assert bool((keys[~batch.mask] == NO_KEY).all())
    one_by_one = [
        token_keys(batch.token_ids[i : i + 1, :n], torch.ones(1, n, dtype=torch.bool), batch.clusters[i : i + 1])[0]
        for i, n in enumerate(batch.mask.sum(1).tolist())
    ]
    assert torch.equal(torch.cat(one_by_one), keys[batch.mask])
    # About uniform: a sample by smallest keys is a random one.
    ids = torch.arange(20000).reshape(40, 500) % 97
    many = token_keys(ids, torch.ones_like(ids, dtype=torch.bool), torch.arange(40))
    assert len(many.unique()) == 20000
    shares = torch.histc(many.double() / 2**63, 10, 0, 1) / 20000
    assert float((shares - 0.1).abs().max()) < 0.01


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.randoms())
def test_a_sample_does_not_depend_on_batches_or_merges(sizes: list[int], random) -> None:
    n = sum(sizes)
    generator = torch.Generator().manual_seed(n)
    keys, vectors = torch.randperm(10 * n, generator=generator)[:n], torch.randn(n, 3, generator=generator)
    groups = torch.arange(n) % 4
    everything = SampledVectors(keys, groups, groups // 2, keys * 3, vectors)
    parts = [everything.take(part) for part in torch.arange(n).split(sizes)]
    random.shuffle(parts)
    first, second = Reservoir(25), Reservoir(25)
    for part in parts:
        (first if random.random() < 0.5 else second).update(part)
    first.merge(second)
    expected = everything.take(keys.argsort()[:25])
    for field, other in zip(first.result(), expected, strict=True):
        assert torch.equal(field, other)


def test_every_vector_of_a_batch_keeps_its_labels() -> None:
    batch, sampled = make_batch()
    labels = TokenLabeller(sampled, 3).label(batch)
    found = labelled(torch.arange(63.0).view(9, 7, 1), labels)
    for place in (0, 8, 40):
        row, column = divmod(place, 7)
        assert found.vectors[place].item() == place
        assert found.keys[place] == labels.key[row, column] and found.groups[place] == labels.group[row]
        assert found.strata[place] == labels.stratum[row, column]


def test_a_prefix_is_the_tokens_so_far_whatever_follows_and_in_whichever_document() -> None:
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 9, 8], [6, 5, 7, 8]])
    labeller = TokenLabeller(Sampled(3, "cpu", False), 3)
    prefix = labeller.label(Batch(ids, None, torch.arange(3), None)).prefix
    assert torch.equal(prefix[0, :2], prefix[1, :2])
    assert len(prefix.unique()) == 10


def test_a_first_run_of_one_token_is_one_state_and_later_runs_are_not() -> None:
    ids = torch.tensor([[5, 5, 5, 7, 7], [5, 7, 7, 7, 7]])
    prefix = TokenLabeller(Sampled(2, "cpu", False), 2).label(Batch(ids, None, torch.arange(2), None)).prefix
    assert prefix[0, 0] == prefix[0, 1] == prefix[0, 2] == prefix[1, 0]
    assert len(prefix.unique()) == 7


def test_strata_hold_about_equally_many_tokens_and_ties_are_settled() -> None:
    counts = torch.tensor([0, 50, 3, 25, 12, 1, 9])
    strata = frequency_strata(counts, 4)
    assert strata.tolist() == [4, 2, 4, 3, 4, 4, 4]  # half of all tokens end before the middle: stratum 1 is empty
    uniform = frequency_strata(torch.full((40,), 5), 4)
    assert Counter(uniform.tolist()) == {1: 10, 2: 10, 3: 10, 4: 10}
    assert uniform.tolist() == sorted(uniform.tolist())


def _seen(batch: Batch, sampled: Sampled, vectors: torch.Tensor, parts: list[slice], groups: int = 5):
    labeller = TokenLabeller(sampled, groups)
    totals = []
    for rows in parts:
        directions = DirectionSums(vectors.shape[-1], groups, labeller.strata, labeller.types, CPU)
        magnitudes = Magnitudes(vectors.shape[-1], groups, CPU)
        labels = labeller.label(rows_of(batch, rows))
        windows = Windows.of(vectors[rows])
        directions.update(windows, labels)
        magnitudes.update(windows, labels)
        totals.append((directions, magnitudes))
    for directions, magnitudes in totals[1:]:
        totals[0][0].merge(directions)
        totals[0][1].merge(magnitudes)
    return totals[0][0].result() | totals[0][1].result(), labeller.label(batch), totals[0]


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("parts", [[slice(0, 9)], [slice(0, 2), slice(2, 7), slice(7, 9)]])
def test_sums_give_what_brute_force_gives(parts: list[slice], padded: bool) -> None:
    batch, sampled = make_batch(padded=padded)
    generator = torch.Generator().manual_seed(4)
    vectors = torch.randn(9, 7, 5, generator=generator).double() + 0.4
    mask = torch.ones(9, 7, dtype=torch.bool) if batch.mask is None else batch.mask
    vectors[~mask] = 0.0
    vectors[0, 1] = 0.0  # a hidden state of length zero has no direction
    found, labels, (directions, magnitudes) = _seen(batch, sampled, vectors, parts)
    flat = vectors[mask]
    past = mask & (torch.arange(7) > 0)

    assert found["mean_cosine"].value == pytest.approx(mean_cosine(flat), abs=1e-12)
    assert found["mean_cosine_no_first"].value == pytest.approx(mean_cosine(vectors[past]), abs=1e-12)
    assert found["zero_vectors"].value == 1
    for stratum in range(1, 5):
        chosen = vectors[past & (labels.stratum == stratum)]
        if f"mean_cosine_q{stratum}" in found:
            assert found[f"mean_cosine_q{stratum}"].value == pytest.approx(mean_cosine(chosen), abs=1e-12)
    assert sum(found[f"mean_cosine_q{s}"].n for s in range(1, 5) if f"mean_cosine_q{s}" in found) > 20
    intra = intra_sentence_similarity(vectors, mask)
    assert found["intra_sentence_similarity"].value == pytest.approx(intra, abs=1e-12)
    assert found["intra_sentence_similarity_adjusted"].value == pytest.approx(intra - mean_cosine(flat), abs=1e-12)
    nonzero = past & (vectors.norm(dim=2) > 0)
    own = self_similarity(vectors[nonzero], batch.token_ids[nonzero])
    assert found["self_similarity"].value == pytest.approx(own, abs=1e-12)
    assert found["self_similarity_adjusted"].value == pytest.approx(own - mean_cosine(flat), abs=1e-12)
    assert found["mean_vector_share"].value == pytest.approx(mean_vector_share(flat), abs=1e-12)
    assert found["norm_mean"].value == pytest.approx(float(flat.norm(dim=1).mean()), rel=1e-12)
    assert found["norm_first"].value == pytest.approx(float(vectors[:, 0].norm(dim=1).mean()), rel=1e-12)
    assert magnitudes.largest() == pytest.approx((float(flat.norm(dim=1).max()), float(flat.abs().max())))
    everything = torch.ones(1, 5).double()
    assert float(directions.contributions(everything).sum()) == pytest.approx(mean_cosine(flat), abs=1e-12)


def test_errors_of_sums_are_those_of_brute_force_on_halves_of_the_documents() -> None:
    batch, sampled = make_batch(padded=False)
    batch = Batch(batch.token_ids, None, torch.arange(9), None)
    vectors = torch.randn(9, 7, 5, generator=torch.Generator().manual_seed(4)).double() + 0.4
    found, labels, _ = _seen(batch, sampled, vectors, [slice(0, 9)], groups=4)
    halves = half_samples(torch.bincount(labels.group).double() * 7)
    brute = {
        "mean_cosine": lambda some: mean_cosine(some.flatten(0, 1)),
        "mean_cosine_no_first": lambda some: mean_cosine(some[:, 1:].flatten(0, 1)),
        "intra_sentence_similarity_adjusted": lambda some: intra_sentence_similarity(some, adjusted=True),
        "mean_vector_share": lambda some: mean_vector_share(some.flatten(0, 1)),
        "norm_mean": lambda some: float(some.norm(dim=2).mean()),
    }
    for name, measure in brute.items():
        values = [[measure(vectors[members[labels.group] > 0])] for members in halves.members]
        (expected,) = halves.estimates(torch.tensor(values, dtype=torch.float64))
        assert found[name].stderr == pytest.approx(expected.stderr, rel=1e-9), name


def test_both_probes_give_the_mean_cosine_one_error() -> None:
    batch, sampled = make_batch()
    vectors = torch.randn(9, 7, 5, generator=torch.Generator().manual_seed(4)).double()
    found, _, _ = _seen(batch, sampled, vectors * batch.mask[..., None], [slice(0, 9)])
    alone = MeanCosine(5)
    alone.update(vectors, batch.mask, batch.clusters[:, None].expand(9, 7))
    assert found["mean_cosine"].stderr == pytest.approx(alone.result().stderr, rel=1e-9)


@pytest.mark.parametrize("groups", [1, 3])
def test_few_groups_have_no_error(groups: int) -> None:
    sizes = torch.tensor([3.0] * groups + [0.0])
    (found,) = jackknife(lambda n, s: (s / n)[None], [sizes, 2 * sizes])
    assert (found.value, found.stderr) == (2.0, None)


def test_shares_of_rogue_dimensions_over_halves() -> None:
    contributions = torch.tensor([0.01, 0.4, 0.02, 0.05, -0.03, 0.1, 0.0], dtype=torch.float64)
    found = _rogue(torch.stack([contributions, -contributions, contributions / 3]))
    shares = [rogue_share(contributions, k) for k in TOP_DIMENSIONS]
    assert found[0].tolist() == pytest.approx(shares, rel=1e-12) and found[2].tolist() == pytest.approx(
        shares, rel=1e-12
    )
    assert found[1].isnan().all()  # no positive mean cosine: nothing to share out
    assert _rogue(contributions[None, :2]).shape == (1, len(TOP_DIMENSIONS))
