"""The `geometry` probe: what hidden states look like at every layer and site, in one pass."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.model_adapters import Architecture, Site
from lm_probe.probes._anisotropy import JACKKNIFE_GROUPS
from lm_probe.probes._covariance import Covariance
from lm_probe.probes._directions import DirectionSums
from lm_probe.probes._isotropy import shrinkage_weight
from lm_probe.probes._jackknife import Estimate
from lm_probe.probes._labels import TokenLabeller, TokenLabels
from lm_probe.probes._magnitudes import Magnitudes
from lm_probe.probes._protocol import Batch, ForwardState, Need, Reading, Sampled
from lm_probe.probes._reservoir import SAMPLE_ROWS, Reservoir, SampledVectors
from lm_probe.probes._sample_values import cka_with, sample_values
from lm_probe.probes._spectral_values import spectral_values
from lm_probe.probes._spectrum import Spectrum

# Rows of windows are taken in float64 a few at a time: more would cost memory and gain no speed.
_BLOCK_TOKENS = 512


class SiteGeometry:
    """The streaming statistics of one site, side by side: each sees every vector once."""

    def __init__(self, width: int, labeller: TokenLabeller, sample_rows: int, device: torch.device) -> None:
        """Starts empty."""
        self._directions = DirectionSums(width, labeller.groups, labeller.strata, labeller.types, device)
        self._magnitudes = Magnitudes(width, labeller.groups, device)
        self._covariance = Covariance()
        self._reservoir = Reservoir(sample_rows)

    def update(self, vectors: Float[Tensor, "b t d"], labels: TokenLabels) -> None:
        """Adds whole windows."""
        vectors = vectors.detach()
        windows = max(1, _BLOCK_TOKENS // vectors.shape[1])
        for start in range(0, len(vectors), windows):
            part = slice(start, start + windows)
            some = TokenLabels(*(label[part] for label in labels))
            rows = vectors[part].double().masked_fill(~some.counted[..., None], 0.0)
            self._directions.update(rows, some)
            self._magnitudes.update(rows, some)
            self._covariance.update(rows, some.counted)
        groups = labels.group[:, None].expand(labels.key.shape).flatten()
        self._reservoir.update(vectors.flatten(0, 1), labels.key.flatten(), groups)

    def merge(self, other: "SiteGeometry") -> None:
        """Adds what another has seen."""
        self._directions.merge(other._directions)
        self._magnitudes.merge(other._magnitudes)
        self._covariance.merge(other._covariance)
        self._reservoir.merge(other._reservoir)

    def sample(self) -> SampledVectors:
        """The bounded sample of this site's vectors."""
        return self._reservoir.result()

    def result(self) -> dict[str, Estimate]:
        """All values by name.

        Raises:
            ValueError: fewer than two vectors were seen, or one holds a NaN or an infinity.
        """
        mean, covariance, n = self._covariance.result()
        variance = covariance.diagonal().cpu().clone()
        directions = _second_moment_directions(mean, covariance)
        spectrum, axes = _principal_axes(covariance)
        del covariance
        mean, sample = mean.cpu(), self.sample()

        found = self._directions.result() | self._magnitudes.result()
        if spectrum[0] > 0:
            centred = sample.vectors.double() - mean
            components = centred.float() @ axes
            weight = shrinkage_weight(spectrum, float(centred.square().sum(1).square().mean()), n)
            found |= spectral_values(spectrum, weight, components, sample.groups, self._magnitudes.group_sizes())
        contributions = self._directions.contributions()
        return found | sample_values(sample, mean, variance, contributions, directions, self._magnitudes.largest())


def _second_moment_directions(mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Eigenvectors of the uncentred second moment, in single precision: directions to look along, not values."""
    second_moment = torch.addr(covariance, mean, mean)
    scale = second_moment.diagonal().sum().clamp_min(torch.finfo(torch.float64).tiny)
    directions: Tensor = torch.linalg.eigh(second_moment.div_(scale).float()).eigenvectors.cpu()
    return directions


def _principal_axes(covariance: Float[Tensor, "d d"]) -> tuple[Spectrum, Float[Tensor, "d d"]]:
    """Eigenvalues, largest first and 0 where they are rounding, and eigenvectors in single precision."""
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    spectrum = eigenvalues.flip(0).cpu().numpy()
    # A final norm takes a direction away: what is left there is rounding, and square roots would make much of it.
    spectrum[spectrum < len(spectrum) * np.finfo(np.float64).eps * spectrum[0]] = 0.0
    return spectrum, eigenvectors.float().flip(1).cpu()


class GeometryState(ForwardState):
    """The `geometry` probe at work."""

    def __init__(
        self, sampled: Sampled, sample_rows: int, reference: Mapping[Site, SampledVectors] | None = None
    ) -> None:
        """Starts empty; see `GeometryProbe`."""
        self._labeller = TokenLabeller(sampled, min(JACKKNIFE_GROUPS, max(1, sampled.n_clusters)))
        self._sample_rows = sample_rows
        self._reference = reference
        self._sites: dict[Site, SiteGeometry] = {}
        self._labelled: tuple[Batch, TokenLabels] | None = None

    def see_hidden(self, site: Site, vectors: Float[Tensor, "b t d"], batch: Batch) -> None:
        """Adds one batch of one site; the tokens are labelled once for all sites of a batch."""
        if self._labelled is None or self._labelled[0] is not batch:
            self._labelled = batch, self._labeller.label(batch)
        # With `device_map="auto"` blocks live on several devices.
        labels = self._labelled[1].to(vectors.device)
        if site not in self._sites:
            self._sites[site] = SiteGeometry(vectors.shape[-1], self._labeller, self._sample_rows, vectors.device)
        self._sites[site].update(vectors, labels)

    def merge(self, other: ForwardState) -> None:
        """Adds what a twin has seen. A site that only the twin has seen is taken over as it is."""
        assert isinstance(other, GeometryState)
        for site, geometry in other._sites.items():
            if site in self._sites:
                self._sites[site].merge(geometry)
            else:
                self._sites[site] = geometry

    def samples(self) -> dict[Site, SampledVectors]:
        """Each site's bounded sample: what another checkpoint's probe takes as its `reference`."""
        return {site: geometry.sample() for site, geometry in self._sites.items()}

    def result(self) -> list[Reading]:
        """The readings of every site.

        Raises:
            ValueError: a site holds NaN or infinite values, too few vectors, or its reference is of another text.
        """
        readings = []
        for site, geometry in self._sites.items():
            try:
                found = geometry.result()
                if self._reference is not None and site in self._reference:
                    found["cka"] = cka_with(geometry.sample(), self._reference[site])
            except ValueError as error:
                raise ValueError(f"layer {site.layer} ({site.site}): {error}") from error
            readings += [
                Reading(name, each.value, site.layer, site.site, stderr=each.stderr, n=each.n)
                for name, each in found.items()
            ]
        return readings


class GeometryProbe:
    """Cosines, magnitudes, covariance spectrum, isotropy and dimension of hidden states, for every layer and site.

    One forward pass; memory does not grow with the number of tokens: a few sums of vectors for each of 20 groups of
    documents, 0.6 d^2 numbers of the covariance, and 512 vectors that a hash of the text chooses, so that they are the
    same tokens for every checkpoint. What each value is, its error, and what it does not show stand in
    `docs/geometry.md` and at the function of each measure.
    """

    name = "geometry"
    version = 1
    needs: frozenset[Need] = frozenset({"hidden"})

    def __init__(
        self, *, sample_rows: int = SAMPLE_ROWS, reference: Mapping[Site, SampledVectors] | None = None
    ) -> None:
        """Sets the size of the sample, and another checkpoint's samples of the same text, for CKA.

        Args:
            sample_rows: vectors kept for each site.
            reference: `samples()` of the state that measured the reference checkpoint.
        """
        self._sample_rows = sample_rows
        self._reference = reference

    def start(self, architecture: Architecture, sampled: Sampled) -> GeometryState:
        """Begins a measurement."""
        return GeometryState(sampled, self._sample_rows, self._reference)
