"""The `embedding_spectrum` probe: singular values of the input embedding, and what it shares with the output head."""

from collections.abc import Iterator

from lm_probe.probes._alignment import subspace_overlap, top_directions
from lm_probe.probes._gram import Gram
from lm_probe.probes._head_spectrum import DIRECTIONS, alignment_readings
from lm_probe.probes._protocol import Need, Reading, VectorReading, WeightContext, WeightsByRole
from lm_probe.probes._spectrum import spectrum_and_directions
from lm_probe.probes._spectrum_readings import spectrum_readings

OVERLAPS = (1, 4, 16)


class EmbeddingSpectrumProbe:
    """The numbers of `head_spectrum` for the input embedding (V x e, all rows), and its overlap with the head.

    A probe of its own, because in an untied model the embedding is as large as the head and would double what
    `head_spectrum` reads. In a tied model the two are one matrix: the spectra are equal and the overlaps 1. Where
    embedding and head differ in width (OPT-350m's do not, as both are projected) only the spectrum is given.
    `docs/weights.md` lists every metric. Cost: O(V e^2) time for each of the two.
    """

    name = "embedding_spectrum"
    version = 1
    needs: frozenset[Need] = frozenset({"head", "embedding"})

    def read(self, weights: WeightsByRole, context: WeightContext) -> Iterator[Reading | VectorReading]:
        """Measures the embedding beside the head."""
        embedding = weights.embedding()
        rows, columns = embedding.shape
        gram = Gram(columns, sums=True)
        gram.update(embedding)
        sigma, own = spectrum_and_directions(gram, embedding, DIRECTIONS)
        yield from spectrum_readings(sigma, (rows, columns), "all_rows")
        head = weights.head()
        if head.shape[1] != columns:
            return
        of_head = Gram(columns)
        of_head.update(head)
        directions = top_directions(of_head, DIRECTIONS)
        yield from alignment_readings("embedding_mean", directions, gram.row_sum() / rows, "all_rows", rows)
        for k in OVERLAPS:
            if k < columns:
                shared = subspace_overlap(directions[:, :k], own[:, :k])
                yield Reading(f"embedding_overlap_{k}", shared, component="all_rows", n=rows)
