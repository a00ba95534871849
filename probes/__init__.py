"""What is measured: pure functions on tensors, streaming statistics on batches."""

from lm_probe.probes._anisotropy import AnisotropyProbe
from lm_probe.probes._cosine import CosineResult, MeanCosine, mean_cosine
from lm_probe.probes._forward import run_forward
from lm_probe.probes._head_spectrum import HeadSpectrumProbe
from lm_probe.probes._loss import LossProbe
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

__all__ = [
    "AnisotropyProbe",
    "Batch",
    "CosineResult",
    "ForwardProbe",
    "ForwardState",
    "HeadSpectrumProbe",
    "LossProbe",
    "MeanCosine",
    "Need",
    "Probe",
    "Reading",
    "Sampled",
    "VectorReading",
    "WeightContext",
    "WeightProbe",
    "WeightsByRole",
    "effective_rank",
    "find_probes",
    "mean_cosine",
    "probe_names",
    "resolution",
    "run_forward",
    "singular_entropy",
    "singular_values",
    "stable_rank",
    "top_ratio",
    "top_share",
    "w_error",
]
