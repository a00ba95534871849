"""What is measured: pure functions on tensors, streaming statistics on batches."""

from typing import TYPE_CHECKING

from lm_probe.model_adapters import lazily

if TYPE_CHECKING:
    from lm_probe.probes._alignment import (
        alignment,
        log_frequency_alignment,
        norm_frequency_correlation,
        subspace_overlap,
        top_directions,
    )
    from lm_probe.probes._anisotropy import AnisotropyProbe
    from lm_probe.probes._cka import linear_cka
    from lm_probe.probes._coherence import Coherence, coherence
    from lm_probe.probes._condensation import CondensationProbe
    from lm_probe.probes._controls import NormMatchedGaussian, random_twin, shuffle_tokens, token_curve
    from lm_probe.probes._cosine import CosineResult, MeanCosine, mean_cosine
    from lm_probe.probes._covariance import Covariance, CovarianceResult
    from lm_probe.probes._dimension import spectral_exponent, two_nn_dimension
    from lm_probe.probes._directions import DirectionSums
    from lm_probe.probes._distance import Movement, movement
    from lm_probe.probes._embedding_spectrum import EmbeddingSpectrumProbe
    from lm_probe.probes._forward import run_forward
    from lm_probe.probes._geometry import GeometryProbe, GeometryState
    from lm_probe.probes._gram import Gram
    from lm_probe.probes._head_spectrum import HeadSpectrumProbe
    from lm_probe.probes._isotropy import (
        isoscore,
        isoscore_star,
        log_partition_isotropy,
        participation_ratio,
        partition_isotropy,
        shrinkage_weight,
    )
    from lm_probe.probes._jackknife import Estimate, jackknife
    from lm_probe.probes._labels import TokenLabeller, TokenLabels
    from lm_probe.probes._loss import LossProbe
    from lm_probe.probes._magnitudes import Magnitudes, max_over_median, mean_vector_share
    from lm_probe.probes._neurons import Likeness, greedy_groups, likeness
    from lm_probe.probes._power_law import PowerLawTail, power_law_tail
    from lm_probe.probes._protocol import (
        Batch,
        ForwardProbe,
        ForwardState,
        Need,
        Probe,
        Sampled,
        WeightContext,
        WeightProbe,
        WeightsByRole,
    )
    from lm_probe.probes._random_matrix import (
        Bulk,
        abs_cosine_of_gaussians,
        gaussian_singular_values,
        marchenko_pastur,
        share_above_of_gaussians,
    )
    from lm_probe.probes._reading import Reading, VectorReading
    from lm_probe.probes._registry import find_probes, probe_names, refuse_unknown_probes
    from lm_probe.probes._reservoir import Reservoir, SampledVectors
    from lm_probe.probes._rogue import (
        cosine_contributions,
        mean_cosine_centred,
        mean_cosine_standardised,
        mean_cosine_without,
        rogue_share,
    )
    from lm_probe.probes._similarity import intra_sentence_similarity, self_similarity
    from lm_probe.probes._spectrum import (
        effective_rank,
        resolution,
        singular_entropy,
        singular_values,
        stable_rank,
        top_ratio,
        top_share,
        w_error,
    )
    from lm_probe.probes._statistics_device import statistics_device, unrounded
    from lm_probe.probes._weight_spectra import WeightSpectraProbe

__all__ = [
    "AnisotropyProbe",
    "Batch",
    "Bulk",
    "Coherence",
    "CondensationProbe",
    "CosineResult",
    "Covariance",
    "CovarianceResult",
    "DirectionSums",
    "EmbeddingSpectrumProbe",
    "Estimate",
    "ForwardProbe",
    "ForwardState",
    "GeometryProbe",
    "GeometryState",
    "Gram",
    "HeadSpectrumProbe",
    "Likeness",
    "LossProbe",
    "Magnitudes",
    "MeanCosine",
    "Movement",
    "Need",
    "NormMatchedGaussian",
    "PowerLawTail",
    "Probe",
    "Reading",
    "Reservoir",
    "Sampled",
    "SampledVectors",
    "TokenLabeller",
    "TokenLabels",
    "VectorReading",
    "WeightContext",
    "WeightProbe",
    "WeightSpectraProbe",
    "WeightsByRole",
    "abs_cosine_of_gaussians",
    "alignment",
    "coherence",
    "cosine_contributions",
    "effective_rank",
    "find_probes",
    "gaussian_singular_values",
    "greedy_groups",
    "intra_sentence_similarity",
    "isoscore",
    "isoscore_star",
    "jackknife",
    "likeness",
    "linear_cka",
    "log_frequency_alignment",
    "log_partition_isotropy",
    "marchenko_pastur",
    "max_over_median",
    "mean_cosine",
    "mean_cosine_centred",
    "mean_cosine_standardised",
    "mean_cosine_without",
    "mean_vector_share",
    "movement",
    "norm_frequency_correlation",
    "participation_ratio",
    "partition_isotropy",
    "power_law_tail",
    "probe_names",
    "random_twin",
    "refuse_unknown_probes",
    "resolution",
    "rogue_share",
    "run_forward",
    "self_similarity",
    "share_above_of_gaussians",
    "shrinkage_weight",
    "shuffle_tokens",
    "singular_entropy",
    "singular_values",
    "spectral_exponent",
    "stable_rank",
    "statistics_device",
    "subspace_overlap",
    "token_curve",
    "top_directions",
    "top_ratio",
    "top_share",
    "two_nn_dimension",
    "unrounded",
    "w_error",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "_alignment": (
            "alignment",
            "log_frequency_alignment",
            "norm_frequency_correlation",
            "subspace_overlap",
            "top_directions",
        ),
        "_anisotropy": ("AnisotropyProbe",),
        "_cka": ("linear_cka",),
        "_coherence": ("Coherence", "coherence"),
        "_condensation": ("CondensationProbe",),
        "_controls": ("NormMatchedGaussian", "random_twin", "shuffle_tokens", "token_curve"),
        "_cosine": ("CosineResult", "MeanCosine", "mean_cosine"),
        "_covariance": ("Covariance", "CovarianceResult"),
        "_dimension": ("spectral_exponent", "two_nn_dimension"),
        "_directions": ("DirectionSums",),
        "_distance": ("Movement", "movement"),
        "_forward": ("run_forward",),
        "_geometry": ("GeometryProbe", "GeometryState"),
        "_gram": ("Gram",),
        "_embedding_spectrum": ("EmbeddingSpectrumProbe",),
        "_head_spectrum": ("HeadSpectrumProbe",),
        "_isotropy": (
            "isoscore",
            "isoscore_star",
            "log_partition_isotropy",
            "participation_ratio",
            "partition_isotropy",
            "shrinkage_weight",
        ),
        "_jackknife": ("Estimate", "jackknife"),
        "_labels": ("TokenLabeller", "TokenLabels"),
        "_loss": ("LossProbe",),
        "_magnitudes": ("Magnitudes", "max_over_median", "mean_vector_share"),
        "_neurons": ("Likeness", "greedy_groups", "likeness"),
        "_power_law": ("PowerLawTail", "power_law_tail"),
        "_protocol": (
            "Batch",
            "ForwardProbe",
            "ForwardState",
            "Need",
            "Probe",
            "Sampled",
            "WeightContext",
            "WeightProbe",
            "WeightsByRole",
        ),
        "_random_matrix": (
            "Bulk",
            "abs_cosine_of_gaussians",
            "gaussian_singular_values",
            "marchenko_pastur",
            "share_above_of_gaussians",
        ),
        "_reading": ("Reading", "VectorReading"),
        "_registry": ("find_probes", "probe_names", "refuse_unknown_probes"),
        "_reservoir": ("Reservoir", "SampledVectors"),
        "_rogue": (
            "cosine_contributions",
            "mean_cosine_centred",
            "mean_cosine_standardised",
            "mean_cosine_without",
            "rogue_share",
        ),
        "_similarity": ("intra_sentence_similarity", "self_similarity"),
        "_spectrum": (
            "effective_rank",
            "resolution",
            "singular_entropy",
            "singular_values",
            "stable_rank",
            "top_ratio",
            "top_share",
            "w_error",
        ),
        "_statistics_device": ("statistics_device", "unrounded"),
        "_weight_spectra": ("WeightSpectraProbe",),
    },
)
