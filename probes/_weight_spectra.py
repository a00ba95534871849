"""The `weight_spectra` probe: the spectrum of every projection of every block."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lm_probe.model_adapters import Role
from lm_probe.probes._protocol import Need, Reading, VectorReading, WeightContext, WeightsByRole
from lm_probe.probes._spectrum import singular_values
from lm_probe.probes._spectrum_readings import movement_readings, spectrum_readings


class WeightSpectraProbe:
    """All singular values of every projection, and the numbers that `head_spectrum` makes of the head's.

    Component is the role (`query`, `mlp_out`, ...), layer the block, counted 1..L as the site `block` is. Matrices are
    taken as they are stored: a norm before a projection scales its columns, which is left out. Fused tensors are taken
    apart first, because a spectrum of query, key and value together is of none of them. With the series' first
    checkpoint at hand, the distance from it is given too.

    One projection is in memory at a time; O(m n^2) time for each.
    """

    name = "weight_spectra"
    version = 1
    needs: frozenset[Need] = frozenset({"projections", "first"})

    def read(self, weights: WeightsByRole, context: WeightContext) -> Iterator[Reading | VectorReading]:
        """Measures every projection."""
        for block in range(weights.layers):
            for role in weights.roles:
                first = None if context.first is None else context.first.projection(role, block)
                yield from _one(weights.projection(role, block), first, role, block + 1)


def _one(
    weight: Float[Tensor, "out in"], first: Float[Tensor, "k l"] | None, role: Role, layer: int
) -> Iterator[Reading | VectorReading]:
    try:
        sigma = np.asarray(singular_values(weight))
    except ValueError as error:
        raise ValueError(f"{role} of layer {layer}: {error}") from error
    rows, columns = weight.shape
    yield from spectrum_readings(sigma, (rows, columns), role, layer)
    if first is not None:
        yield from movement_readings(weight, first, role, layer)
