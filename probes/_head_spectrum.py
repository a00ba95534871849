"""The `head_spectrum` probe: singular values of the output head and what they say."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.probes._alignment import (
    alignment,
    log_frequency_alignment,
    norm_frequency_correlation,
    project,
)
from lm_probe.probes._gram import Gram
from lm_probe.probes._protocol import Need, Reading, VectorReading, WeightContext, WeightsByRole
from lm_probe.probes._spectrum import Directions, spectrum_and_directions
from lm_probe.probes._spectrum_readings import movement_readings, spectrum_readings

DIRECTIONS = 16


class HeadSpectrumProbe:
    """All singular values of the output head (V x d, uncentred, float64), and what they and its directions say.

    Vocabularies are padded to round sizes, and the rows beyond the tokenizer's last token get gradients too. The
    source (Godey et al. 2024, arXiv 2404.07647) does not say which rows it used, so both are given: component
    `all_rows`, and `token_rows` for the rows that stand for a token. `docs/weights.md` lists every metric.

    One pass over the head serves both components: O(V d^2) time, 3 d^2 numbers beside one block of rows.
    """

    name = "head_spectrum"
    version = 3
    needs: frozenset[Need] = frozenset({"head", "token_counts", "first"})

    def read(self, weights: WeightsByRole, context: WeightContext) -> Iterator[Reading | VectorReading]:
        """Measures the head."""
        head = weights.head()
        gram, done = Gram(head.shape[1], sums=True), 0
        for component, rows in _components(len(head), context.token_rows):
            gram.update(head[done:rows])
            done, part = rows, head[:rows]
            sigma, directions = spectrum_and_directions(gram, part, DIRECTIONS)
            yield from spectrum_readings(sigma, (rows, part.shape[1]), component)
            yield from alignment_readings("mean_row", directions, gram.row_sum() / rows, component, rows)
            if context.token_counts is not None:
                yield from _frequency(part, directions, context.token_counts[:rows], component)
        if context.first is not None:
            yield from movement_readings(head, context.first.head(), "all_rows")


def _components(rows: int, token_rows: int | None) -> list[tuple[str, int]]:
    """In rising order of rows, so that the second adds to the first."""
    known = token_rows is not None and token_rows <= rows
    return [*([("token_rows", token_rows)] if known and token_rows else []), ("all_rows", rows)]


def alignment_readings(
    what: str, directions: Directions, vector: Float[np.ndarray, " d"], component: str, n: int
) -> Iterator[Reading | VectorReading]:
    """How far a vector lies along top directions; nothing for a vector of zeros."""
    if vector.any():
        found = alignment(directions, vector)
        yield Reading(f"{what}_alignment", float(found[0]), component=component, n=n)
        yield VectorReading(f"{what}_alignments", found, component=component)


def _frequency(
    head: Float[Tensor, "V d"], directions: Directions, counts: Int[np.ndarray, " v"], component: str
) -> Iterator[Reading | VectorReading]:
    tokens = np.flatnonzero(counts)
    counts = counts[tokens]
    seen = len(tokens)
    if seen < directions.shape[1] + 2 or not np.ptp(counts):
        return
    scores, norms = project(head, tokens, directions)
    found, explained = log_frequency_alignment(scores, counts)
    yield Reading("log_frequency_alignment", float(found[0]), component=component, n=seen)
    yield VectorReading("log_frequency_alignments", found, component=component)
    yield Reading("log_frequency_r2", explained, component=component, n=seen)
    if np.ptp(norms):
        yield Reading(
            "norm_frequency_correlation", norm_frequency_correlation(norms, counts), component=component, n=seen
        )
