"""The `anisotropy` probe: mean cosine of hidden states at every layer and site."""

from jaxtyping import Float
from torch import Tensor

from lm_probe.model_adapters import Architecture, Site
from lm_probe.probes._cosine import MeanCosine
from lm_probe.probes._protocol import Batch, ForwardState, Need, Reading, Sampled
from lm_probe.probes._windows import Scratch

DOCUMENT_GROUPS = 20


class _State(ForwardState):
    def __init__(self, groups: int) -> None:
        self._groups = groups
        self._statistics: dict[Site, MeanCosine] = {}
        self._scratch = Scratch()

    def see_hidden(self, site: Site, vectors: Float[Tensor, "b t d"], batch: Batch) -> None:
        statistic = self._statistics.setdefault(site, MeanCosine(self._groups, self._scratch))
        group = (batch.clusters % self._groups)[:, None].expand(vectors.shape[:2])
        # With `device_map="auto"` blocks live on several devices.
        mask = None if batch.mask is None else batch.mask.to(vectors.device)
        statistic.update(vectors, mask, group.to(vectors.device))

    def merge(self, other: ForwardState) -> None:
        assert isinstance(other, _State)
        for site, statistic in other._statistics.items():
            self._statistics.setdefault(site, MeanCosine(self._groups, self._scratch)).merge(statistic)

    def result(self) -> list[Reading]:
        readings = []
        for site, statistic in self._statistics.items():
            zeros = statistic.zeros()
            try:
                found = statistic.result()
                readings.append(
                    Reading("mean_cosine", found.value, site.layer, site.site, stderr=found.stderr, n=found.n)
                )
            except ValueError as error:
                if not zeros:  # states without direction are no error: the value is left out
                    raise ValueError(f"layer {site.layer} ({site.site}): {error}") from error
            if zeros:
                n = statistic.counted() + zeros
                readings.append(Reading("zero_vectors", zeros, site.layer, site.site, n=n))
        return readings


class AnisotropyProbe:
    """Mean cosine over all ordered pairs of a layer's hidden states, for every layer and site, in one forward pass.

    See `mean_cosine` for the formula and what it does not show. The standard error is from balanced half-samples of 20
    groups of documents (McCarthy 1969; see `docs/geometry.md`). Vectors of length zero are left out and counted
    (`zero_vectors`); a site with fewer than two others has that count alone.
    """

    name = "anisotropy"
    version = 2
    needs: frozenset[Need] = frozenset({"hidden"})

    def start(self, architecture: Architecture, sampled: Sampled) -> ForwardState:
        """Begins a measurement."""
        return _State(min(DOCUMENT_GROUPS, max(1, sampled.n_clusters)))
