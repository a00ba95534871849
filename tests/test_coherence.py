"""Coherence of a set of vectors, against closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lm_probe.probes import coherence


def test_orthogonal_vectors_have_none() -> None:
    found = coherence(torch.eye(5) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert found.max_cos == found.mean_cos == 0
    assert found.effective_rank == pytest.approx(5)


def test_one_direction_has_rank_one_whatever_the_sign() -> None:
    found = coherence(torch.tensor([[1.0, 2.0], [-2.0, -4.0], [3.0, 6.0]]))
    assert found.max_cos == found.mean_cos == pytest.approx(1)
    assert found.effective_rank == pytest.approx(1)


def test_an_equiangular_frame_meets_the_welch_bound() -> None:
    angles = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64) * math.pi / 3
    found = coherence(torch.stack([angles.cos(), angles.sin()], 1))
    assert found[:2] == pytest.approx((0.5, 0.5))
    assert found.max_cos == pytest.approx(math.sqrt((3 - 2) / (2 * 2)))
    assert found.effective_rank == pytest.approx(2)


@given(st.integers(2, 12), st.integers(1, 8), st.integers(0, 1000))
def test_range_and_invariance(m: int, d: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(m, d, generator=generator, dtype=torch.float64)
    found = coherence(vectors)
    assert 0 <= found.mean_cos <= found.max_cos <= 1 + 1e-12
    assert 1 - 1e-9 <= found.effective_rank <= min(m, d) + 1e-9
    if m > d > 1:
        assert found.max_cos >= math.sqrt((m - d) / (d * (m - 1))) - 1e-9
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    scales = torch.rand(m, 1, generator=generator, dtype=torch.float64) + 0.1
    assert coherence((vectors * scales) @ rotation) == pytest.approx(found, abs=1e-6)


def test_what_has_no_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="two vectors are needed, got 1"):
        coherence(torch.ones(1, 3))
    with pytest.raises(ValueError, match="no direction"):
        coherence(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="no direction"):
        coherence(torch.tensor([[1.0, 0.0], [float("nan"), 0.0]]))
