"""The `head_spectrum` probe: singular values of the output head and what they say."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._protocol import Need, Reading, VectorReading, WeightContext, WeightsByRole
from lm_probe.probes._spectrum import effective_rank, singular_entropy, singular_values, stable_rank, top_share


class HeadSpectrumProbe:
    """All singular values of the output head (V x d, uncentred, float64), singular entropy and ranks.

    Vocabularies are padded to round sizes, and the rows beyond the tokenizer's last token get gradients too. The
    source (Godey et al. 2024, arXiv 2404.07647) does not say which rows it used, so both are given: component
    `all_rows`, and `token_rows` for the rows that stand for a token.
    """

    name = "head_spectrum"
    version = 1
    needs: frozenset[Need] = frozenset({"head"})

    def read(self, weights: WeightsByRole, context: WeightContext) -> Iterator[Reading | VectorReading]:
        """Measures the head."""
        token_rows = context.token_rows
        head = weights.head()
        yield from _readings(head, "all_rows")
        if token_rows is not None and token_rows <= head.shape[0]:
            yield from _readings(head[:token_rows], "token_rows")


def _readings(head: Float[Tensor, "V d"], component: str) -> Iterator[Reading | VectorReading]:
    sigma = np.asarray(singular_values(head))
    for metric, value in (
        ("singular_entropy", singular_entropy(sigma, power=2)),
        ("singular_entropy_power1", singular_entropy(sigma, power=1)),
        ("effective_rank", effective_rank(sigma)),
        ("stable_rank", stable_rank(sigma)),
        ("top_share", top_share(sigma)),
        ("largest_singular_value", float(sigma[0])),
        ("smallest_singular_value", float(sigma[-1])),
    ):
        yield Reading(metric, value, component=component, n=head.shape[0])
    yield VectorReading("singular_values", sigma, component=component)
