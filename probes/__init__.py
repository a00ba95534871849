"""What is measured: pure functions on tensors, streaming statistics on batches."""

from lm_probe.probes._anisotropy import AnisotropyProbe
from lm_probe.probes._cka import linear_cka
from lm_probe.probes._controls import NormMatchedGaussian, random_twin, shuffle_tokens, token_curve
from lm_probe.probes._cosine import CosineResult, MeanCosine, mean_cosine
from lm_probe.probes._covariance import Covariance, CovarianceResult
from lm_probe.probes._dimension import spectral_exponent, two_nn_dimension
from lm_probe.probes._directions import DirectionSums
from lm_probe.probes._forward import run_forward
from lm_probe.probes._geometry import GeometryProbe, GeometryState
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
from lm_probe.probes._protocol import (
    Batch,
    ForwardProbe,
    ForwardState,
    HeadWeights,
    Need,
    Probe,
    Reading,
    Sampled,
    VectorReading,
    WeightProbe,
)
from lm_probe.probes._registry import find_probes, probe_names
from lm_probe.probes._reservoir import Reservoir, SampledVectors
from lm_probe.probes._rogue import (
    cosine_contributions,
    mean_cosine_centred,
    mean_cosine_standardised,
    mean_cosine_without,
    rogue_share,
)
from lm_probe.probes._similarity import intra_sentence_similarity, self_similarity
from lm_probe.probes._spectrum import effective_rank, singular_entropy, singular_values, stable_rank, top_share

__all__ = [
    "AnisotropyProbe",
    "Batch",
    "CosineResult",
    "Covariance",
    "CovarianceResult",
    "DirectionSums",
    "Estimate",
    "ForwardProbe",
    "ForwardState",
    "GeometryProbe",
    "GeometryState",
    "HeadSpectrumProbe",
    "HeadWeights",
    "LossProbe",
    "Magnitudes",
    "MeanCosine",
    "Need",
    "NormMatchedGaussian",
    "Probe",
    "Reading",
    "Reservoir",
    "Sampled",
    "SampledVectors",
    "TokenLabeller",
    "TokenLabels",
    "VectorReading",
    "WeightProbe",
    "cosine_contributions",
    "effective_rank",
    "find_probes",
    "intra_sentence_similarity",
    "isoscore",
    "isoscore_star",
    "jackknife",
    "linear_cka",
    "log_partition_isotropy",
    "max_over_median",
    "mean_cosine",
    "mean_cosine_centred",
    "mean_cosine_standardised",
    "mean_cosine_without",
    "mean_vector_share",
    "participation_ratio",
    "partition_isotropy",
    "probe_names",
    "random_twin",
    "rogue_share",
    "run_forward",
    "self_similarity",
    "shrinkage_weight",
    "shuffle_tokens",
    "singular_entropy",
    "singular_values",
    "spectral_exponent",
    "stable_rank",
    "token_curve",
    "top_share",
    "two_nn_dimension",
]
