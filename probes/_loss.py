"""The `loss` probe: next-token cross-entropy, with an error that knows about documents."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.model_adapters import Architecture
from lm_probe.probes._protocol import ForwardState, Need, Reading, Sampled, VectorReading


class _State(ForwardState):
    """Sums for each cluster (document): nats, tokens, bytes."""

    def __init__(self, sampled: Sampled) -> None:
        self._sums = torch.zeros(3, sampled.n_clusters, dtype=torch.float64, device=sampled.device)
        self._has_bytes = sampled.has_bytes

    def see_surprisals(
        self,
        nats: Float[Tensor, " n"],
        clusters: Int[Tensor, " n"],
        target_bytes: Float[Tensor, " n"] | None,
    ) -> None:
        nats = nats.double()
        sized = torch.zeros_like(nats) if target_bytes is None else target_bytes.double()
        self._sums.index_add_(1, clusters, torch.stack([nats, torch.ones_like(nats), sized]).to(self._sums.device))

    def merge(self, other: ForwardState) -> None:
        assert isinstance(other, _State)
        self._sums += other._sums.to(self._sums.device)

    def result(self) -> list[Reading | VectorReading]:
        nats, tokens, sized = self._sums.cpu().numpy()
        if not tokens.any():
            raise ValueError("no token has one before it to be predicted from: give rows of two tokens or more")
        used = tokens > 0
        nats, tokens, sized = nats[used], tokens[used], sized[used]
        n = int(tokens.sum())
        loss, loss_error = ratio_with_error(nats, tokens)
        readings: list[Reading | VectorReading] = [Reading("loss", loss, stderr=loss_error, n=n)]
        if self._has_bytes and sized.sum() > 0:
            bits, bits_error = ratio_with_error(nats / math.log(2), sized)
            readings.append(Reading("bits_per_byte", bits, stderr=bits_error, n=n))
        # Kept so that checkpoints can be compared document by document.
        readings.append(VectorReading("nats_by_cluster", nats))
        readings.append(VectorReading("tokens_by_cluster", tokens))
        return readings


def ratio_with_error(
    numerators: Float[np.ndarray, " c"], denominators: Float[np.ndarray, " c"]
) -> tuple[float, float | None]:
    r"""A ratio of sums over clusters and its cluster-robust standard error.

    $R = \sum_c y_c / \sum_c x_c$, with linearised error $\sqrt{C/(C-1) \sum_c (y_c - R x_c)^2} / \sum_c x_c$
    (Cochran 1977, eq. 2.39, without finite-population correction). None for the error of a single cluster.
    """
    total = denominators.sum()
    ratio = numerators.sum() / total
    clusters = len(numerators)
    if clusters < 2:
        return float(ratio), None
    with np.errstate(invalid="ignore"):  # what overflowed becomes NaN, which is refused where it would be stored
        residuals = numerators - ratio * denominators
    return float(ratio), float(np.sqrt(clusters / (clusters - 1) * np.square(residuals).sum()) / total)


class LossProbe:
    r"""Mean next-token cross-entropy in nats a token, and bits per byte, on a token sample shared by all checkpoints.

    Bits per byte, $\sum \mathrm{nats} / (\ln 2 \cdot \mathrm{bytes})$, divides by the UTF-8 bytes of the predicted
    text and so compares models with different tokenizers; the loss in nats a token does not. Tokens of one document
    are not independent, so the standard errors are clustered by document. Source: Godey et al. 2024 (arXiv
    2404.07647), section 3.
    """

    name = "loss"
    version = 3
    needs: frozenset[Need] = frozenset({"surprisals"})

    def start(self, architecture: Architecture, sampled: Sampled) -> ForwardState:
        """Begins a measurement."""
        return _State(sampled)
