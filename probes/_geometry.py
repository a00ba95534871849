"""The `geometry` probe: what hidden states look like at every layer and site, in one pass."""

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.model_adapters import Architecture, Site
from lm_probe.probes._anisotropy import DOCUMENT_GROUPS
from lm_probe.probes._covariance import Covariance, differ_by_rounding
from lm_probe.probes._directions import DirectionSums
from lm_probe.probes._eigen import eigh
from lm_probe.probes._half_samples import half_samples
from lm_probe.probes._isotropy import shrinkage_weight
from lm_probe.probes._jackknife import Estimate
from lm_probe.probes._labels import TokenLabeller, TokenLabels
from lm_probe.probes._magnitudes import Magnitudes
from lm_probe.probes._protocol import Batch, ForwardState, Need, Reading, Sampled
from lm_probe.probes._reservoir import SAMPLE_ROWS, Reservoir, SampledVectors, labelled
from lm_probe.probes._sample_values import cka_with, sample_values
from lm_probe.probes._spectral_values import spectral_values
from lm_probe.probes._spectrum import Spectrum
from lm_probe.probes._windows import Scratch, Windows

# Windows are taken in float64 a few at a time: on a CPU more would cost memory and gain no speed.
_CACHED_TOKENS, _BLOCK_TOKENS = 512, 2048
# First positions often have states unlike all others, and are too few among 512 vectors to tell how much they vary.
_FIRST_ROWS = 64


class SiteGeometry:
    """The streaming statistics of one site, side by side: each sees every vector once."""

    def __init__(self, width: int, labeller: TokenLabeller, sample_rows: int, device: torch.device) -> None:
        """Starts empty."""
        self._directions = DirectionSums(width, labeller.groups, labeller.strata, labeller.types, device)
        self._magnitudes = Magnitudes(width, labeller.groups, device)
        self._covariance = Covariance()
        self._reservoir = Reservoir(sample_rows)
        self._firsts = Reservoir(_FIRST_ROWS)

    def update(
        self, vectors: Float[Tensor, "b t d"], labels: TokenLabels, scratch: Scratch, *, padded: bool = True
    ) -> None:
        """Adds whole windows; `padded` is False where it is known that every token counts, which saves time."""
        vectors = vectors.detach()
        tokens = _CACHED_TOKENS if vectors.device.type == "cpu" else _BLOCK_TOKENS
        windows = max(1, tokens // vectors.shape[1])
        for start in range(0, len(vectors), windows):
            part = slice(start, start + windows)
            some = TokenLabels(*(label[part] for label in labels))
            counted = some.counted if padded else None
            windowed = Windows.of(vectors[part], counted, scratch)
            self._directions.update(windowed, some)
            self._magnitudes.update(windowed, some)
            self._covariance.update(windowed.vectors, counted)
        self._reservoir.update(labelled(vectors, labels))
        first = TokenLabels(*(label[:, :1] if label.ndim == 2 else label for label in labels))
        self._firsts.update(labelled(vectors[:, :1], first))

    def merge(self, other: "SiteGeometry") -> None:
        """Adds what another has seen."""
        self._directions.merge(other._directions)
        self._magnitudes.merge(other._magnitudes)
        self._covariance.merge(other._covariance)
        self._reservoir.merge(other._reservoir)
        self._firsts.merge(other._firsts)

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
        mean, sample, sizes = mean.cpu(), self.sample(), self._magnitudes.group_sizes()
        halves = half_samples(sizes.sum(1))

        found = self._directions.result() | self._magnitudes.result()
        if differ_by_rounding(mean, variance, sample.vectors.dtype):
            variance.zero_()
            found["identical_vectors"] = Estimate(float(n), None, n)
        else:
            spectrum, axes = _principal_axes(covariance)
            weighed = self._with_firsts(sample)
            fourth_power = float((sample.vectors.double() - mean).square().sum(1).square().mean())
            weight = shrinkage_weight(spectrum, fourth_power, n)
            squares = self._magnitudes.squares_about(mean)
            strata, centred = (weighed.strata == 0).long(), weighed.vectors.double() - mean
            covariance = covariance.cpu()
            found |= spectral_values(
                covariance, spectrum, axes, weight, centred, weighed.groups, strata, sizes, squares
            )
        means, variances = self._magnitudes.moments(halves.members)
        means[0], variances[0] = mean, variance
        contributions = self._directions.contributions(halves.members)
        return found | sample_values(sample, halves, means, variances, contributions, self._magnitudes.largest())

    def _with_firsts(self, sample: SampledVectors) -> SampledVectors:
        """The sample with more first positions, where more were kept: both hold those with the smallest keys."""
        firsts, at_first = self._firsts.result(), sample.strata == 0
        if len(firsts.keys) <= int(at_first.sum()):
            return sample
        others = sample.take(~at_first)
        return SampledVectors(*(torch.cat(both) for both in zip(others, firsts, strict=True)))


def _principal_axes(covariance: Float[Tensor, "d d"]) -> tuple[Spectrum, Float[Tensor, "d d"]]:
    """Eigenvalues, largest first and 0 where they are rounding, and eigenvectors in single precision."""
    eigenvalues, eigenvectors = eigh(covariance)
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
        self._labeller = TokenLabeller(sampled, min(DOCUMENT_GROUPS, max(1, sampled.n_clusters)))
        self._sample_rows = sample_rows
        self._reference = reference
        self._sites: dict[Site, SiteGeometry] = {}
        self._labelled: tuple[Batch, TokenLabels] | None = None
        self._scratch = Scratch()

    def see_hidden(self, site: Site, vectors: Float[Tensor, "b t d"], batch: Batch) -> None:
        """Adds one batch of one site; the tokens are labelled once for all sites of a batch."""
        if self._labelled is None or self._labelled[0] is not batch:
            self._labelled = batch, self._labeller.label(batch)
        # With `device_map="auto"` blocks live on several devices.
        labels = self._labelled[1].to(vectors.device)
        if site not in self._sites:
            self._sites[site] = SiteGeometry(vectors.shape[-1], self._labeller, self._sample_rows, vectors.device)
        self._sites[site].update(vectors, labels, self._scratch, padded=batch.mask is not None)

    def merge(self, other: ForwardState) -> None:
        """Adds what a twin has seen; the twin stays as it is."""
        assert isinstance(other, GeometryState)
        for site, geometry in other._sites.items():
            if site in self._sites:
                self._sites[site].merge(geometry)
            else:
                self._sites[site] = deepcopy(geometry)

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
                    alignment = cka_with(geometry.sample(), self._reference[site])
                    found |= {} if alignment is None else {"cka": alignment}
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
    documents, half of the covariance, and 512 vectors that a hash of the text chooses, so that they are the
    same tokens for every checkpoint. What each value is, its error, and what it does not show stand in
    `docs/geometry.md` and at the function of each measure.
    """

    name = "geometry"
    version = 4
    needs: frozenset[Need] = frozenset({"hidden"})

    def __init__(
        self, *, sample_rows: int = SAMPLE_ROWS, reference: Mapping[Site, SampledVectors] | None = None
    ) -> None:
        """Sets the size of the sample, and another checkpoint's samples of the same text, for CKA.

        Args:
            sample_rows: vectors kept for each site.
            reference: `samples()` of the state that measured the reference checkpoint. A site that it lacks (of a model
                with fewer layers) has no CKA.
        """
        self._sample_rows = sample_rows
        self._reference = reference

    def start(self, architecture: Architecture, sampled: Sampled) -> GeometryState:
        """Begins a measurement."""
        return GeometryState(sampled, self._sample_rows, self._reference)
