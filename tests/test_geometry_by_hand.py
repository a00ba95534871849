"""Every number of the `geometry` probe against a second way of writing it down: numpy, loops, nothing of ours.

The states are given in half, single and double precision and taken as they are: no number may be rounded to the
model's own dtype on its way.
"""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from lm_probe.model_adapters import Site, architecture_of
from lm_probe.probes import Batch, GeometryProbe, GeometryState, MeanCosine, Reading, Sampled, linear_cka, mean_cosine
from tests.conftest import make_model

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
SITE = Site(2, "block")
WINDOWS, LENGTH, WIDTH = 10, 9, 12


class Text(NamedTuple):
    """Windows of unlike length with a rogue dimension, a common mean and long first states."""

    states: torch.Tensor
    ids: torch.Tensor
    lengths: torch.Tensor


def make_text(dtype: torch.dtype, seed: int = 0) -> Text:
    generator = torch.Generator().manual_seed(seed)
    ids = 20 + (30 ** torch.rand(WINDOWS, LENGTH, generator=generator)).long()
    ids[:, 0] = torch.arange(WINDOWS)  # no window begins like another: no state is one that was seen before
    states = torch.randn(WINDOWS, LENGTH, WIDTH, generator=generator) * torch.linspace(0.2, 2, WIDTH) + 0.3
    states[..., 5] += 4.0
    states[:, 0] *= 6.0
    lengths = torch.randint(4, LENGTH + 1, (WINDOWS,), generator=generator)
    return Text(states.to(dtype), ids, lengths)


def gather(text: Text, probe: GeometryProbe) -> GeometryState:
    mask = torch.arange(LENGTH) < text.lengths[:, None]
    counts = torch.bincount(text.ids[mask], minlength=60)
    state = probe.start(architecture_of(make_model("gpt_neox")), Sampled(5, "cpu", False, counts))
    for part in torch.arange(WINDOWS).split([3, 1, 6]):
        longest = int(text.lengths[part].max())
        batch = Batch(text.ids[part, :longest], mask[part, :longest], part // 2, None)
        state.see_hidden(SITE, text.states[part, :longest], batch)
    return state


def cosine(rows: np.ndarray) -> float:
    pairs = [x @ y / math.sqrt((x @ x) * (y @ y)) for i, x in enumerate(rows) for y in rows[:i]]
    return float(np.mean(pairs))


def lower_median(numbers: np.ndarray) -> float:
    return float(np.sort(numbers)[(len(numbers) - 1) // 2])


def entropy_rank(weights: np.ndarray) -> float:
    share = weights / weights.sum()
    return float(np.prod(share**-share))


def isoscore(variances: np.ndarray) -> float:
    """Algorithm 1 of Rudman et al., step by step."""
    n = len(variances)
    defect = np.linalg.norm(variances * np.sqrt(n) / np.linalg.norm(variances) - 1) / np.sqrt(2 * (n - np.sqrt(n)))
    return float(((n - defect**2 * (n - np.sqrt(n))) ** 2 - n) / (n * (n - 1)))


def log_sums(rows: np.ndarray) -> list[float]:
    axes = np.linalg.svd(rows, full_matrices=False)[2]
    return [float(np.logaddexp.reduce(sign * rows @ axis)) for axis in axes for sign in (1, -1)]


def nearest_two(rows: np.ndarray, i: int) -> np.ndarray:
    return np.sort([np.linalg.norm(rows[i] - other) for j, other in enumerate(rows) if j != i])[:2]


def by_hand(text: Text) -> dict[str, float]:
    windows = [states[:n].double().numpy() for states, n in zip(text.states, text.lengths.tolist(), strict=True)]
    ids = [row[:n].tolist() for row, n in zip(text.ids, text.lengths.tolist(), strict=True)]
    rows = np.concatenate(windows)
    later = np.concatenate([window[1:] for window in windows])
    kinds = [kind for row in ids for kind in row[1:]]
    counts = {kind: sum(row.count(kind) for row in ids) for row in ids for kind in row}
    order = sorted(counts, key=lambda kind: (-counts[kind], kind))
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    n = len(rows)
    whole = cosine(rows)

    found = {"mean_cosine": whole, "mean_cosine_no_first": cosine(later)}
    before, stratum = 0, {}
    for kind in order:  # a type belongs where the middle of its occurrences falls
        stratum[kind] = int(4 * (before + counts[kind] / 2) / n) + 1
        before += counts[kind]
    for number in range(1, 5):
        own = [row for row, kind in zip(later, kinds, strict=True) if stratum[kind] == number]
        found[f"mean_cosine_q{number}"] = cosine(np.array(own))

    adds = np.array([np.mean([x[j] * y[j] for i, x in enumerate(units) for y in units[:i]]) for j in range(WIDTH)])
    strongest = np.argsort(-adds)
    centred = rows - rows.mean(0)
    found["mean_cosine_centred"] = cosine(centred)
    found["mean_cosine_standardised"] = cosine(centred / rows.std(0))
    for k in (1, 3, 5):
        found[f"mean_cosine_drop{k}"] = cosine(np.delete(rows, strongest[:k], axis=1))
        found[f"rogue_top{k}"] = adds[strongest[:k]].sum() / whole

    of_means = [[cosine(np.array([row, window.mean(0)])) for row in window] for window in windows]
    found["intra_sentence_similarity"] = float(np.mean([np.mean(each) for each in of_means]))
    found["intra_sentence_similarity_adjusted"] = found["intra_sentence_similarity"] - whole
    frequent = [kind for kind in order[:32] if kinds.count(kind) > 1]
    occurrences = [np.array([row for row, kind in zip(later, kinds, strict=True) if kind == one]) for one in frequent]
    found["self_similarity"] = float(np.mean([cosine(each) for each in occurrences]))
    found["self_similarity_adjusted"] = found["self_similarity"] - whole

    lengths = np.linalg.norm(rows, axis=1)
    found["norm_mean"] = lengths.mean()
    found["norm_first"] = float(np.mean([np.linalg.norm(window[0]) for window in windows]))
    found["norm_max_over_median"] = lengths.max() / lower_median(lengths)
    found["activation_max_over_median"] = np.abs(rows).max() / lower_median(np.abs(rows).ravel())
    found["mean_vector_share"] = (rows.mean(0) ** 2).sum() / (lengths**2).mean()

    sigma = np.linalg.svd(centred / np.sqrt(n), compute_uv=False)
    variances = sigma**2
    found["effective_rank"] = entropy_rank(sigma)
    found["effective_rank_power2"] = entropy_rank(variances)
    found["participation_ratio"] = variances.sum() ** 2 / (variances**2).sum()
    found["stable_rank"] = variances.sum() / variances[0]
    found["top_component_share"] = variances[0] / variances.sum()
    ranks = np.arange(2, 7)  # of 12: from an eighth to the half
    found["spectral_exponent"] = -np.polyfit(np.log(ranks), np.log(variances[1:6]), 1, w=ranks**-0.5)[0]
    found["isoscore"] = isoscore(variances)
    found["isoscore_shrunk"] = isoscore(np.linalg.eigvalsh(ledoit_wolf(rows)[0]))

    sums = log_sums(rows)
    found["log_partition_isotropy"] = min(sums) - max(sums)
    found["partition_isotropy"] = math.exp(min(sums) - max(sums))
    found["intrinsic_dimension"] = n / sum(
        math.log(second / first) for first, second in (nearest_two(rows, i) for i in range(n))
    )
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_by_hand(dtype: torch.dtype) -> None:
    text, other = make_text(dtype), make_text(dtype, seed=1)
    reference = gather(text._replace(states=other.states), GeometryProbe()).samples()
    state = gather(text, GeometryProbe(reference=reference))
    found = {reading.metric: reading.value for reading in state.result() if isinstance(reading, Reading)}
    expected = by_hand(text)
    sample = state.samples()[SITE]
    assert sample.vectors.dtype == dtype
    expected["cka"] = linear_cka(sample.vectors.double(), reference[SITE].vectors.double())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_cosine_alone_too(dtype: torch.dtype) -> None:
    text = make_text(dtype)
    mask = torch.arange(LENGTH) < text.lengths[:, None]
    statistic = MeanCosine(4)
    statistic.update(text.states, mask, torch.arange(WINDOWS)[:, None].expand(mask.shape) % 4)
    expected = by_hand(text)["mean_cosine"]
    assert statistic.result().value == pytest.approx(expected, abs=1e-12)
    assert mean_cosine(text.states[mask]) == pytest.approx(expected, abs=1e-12)
