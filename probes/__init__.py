"""What is measured: pure functions on tensors, streaming statistics on batches."""

from lm_probe.probes._alignment import (
    alignment,
    log_frequency_alignment,
    norm_frequency_correlation,
    subspace_overlap,
    top_directions,
)
from lm_probe.probes._anisotropy import AnisotropyProbe
from lm_probe.probes._coherence import Coherence, coherence
from lm_probe.probes._condensation import CondensationProbe
from lm_probe.probes._cosine import CosineResult, MeanCosine, mean_cosine
from lm_probe.probes._distance import Movement, movement
from lm_probe.probes._forward import run_forward
from lm_probe.probes._gram import Gram
from lm_probe.probes._head_spectrum import HeadSpectrumProbe
from lm_probe.probes._loss import LossProbe
from lm_probe.probes._neurons import Likeness, greedy_groups, likeness
from lm_probe.probes._power_law import PowerLawTail, power_law_tail
from lm_probe.probes._protocol import (
    Batch,
    ForwardProbe,
    ForwardState,
    Need,
    Probe,
    Reading,
    Sampled,
    VectorReading,
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
from lm_probe.probes._registry import find_probes, probe_names
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
from lm_probe.probes._weight_spectra import WeightSpectraProbe

__all__ = [
    "AnisotropyProbe",
    "Batch",
    "Bulk",
    "Coherence",
    "CondensationProbe",
    "CosineResult",
    "ForwardProbe",
    "ForwardState",
    "Gram",
    "HeadSpectrumProbe",
    "Likeness",
    "LossProbe",
    "MeanCosine",
    "Movement",
    "Need",
    "PowerLawTail",
    "Probe",
    "Reading",
    "Sampled",
    "VectorReading",
    "WeightContext",
    "WeightProbe",
    "WeightSpectraProbe",
    "WeightsByRole",
    "abs_cosine_of_gaussians",
    "alignment",
    "coherence",
    "effective_rank",
    "find_probes",
    "gaussian_singular_values",
    "greedy_groups",
    "likeness",
    "log_frequency_alignment",
    "marchenko_pastur",
    "mean_cosine",
    "movement",
    "norm_frequency_correlation",
    "power_law_tail",
    "probe_names",
    "resolution",
    "run_forward",
    "share_above_of_gaussians",
    "singular_entropy",
    "singular_values",
    "stable_rank",
    "subspace_overlap",
    "top_directions",
    "top_ratio",
    "top_share",
    "w_error",
]
