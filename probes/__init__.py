"""What is measured: pure functions on tensors, streaming statistics on batches."""

from lm_probe.probes._anisotropy import AnisotropyProbe
from lm_probe.probes._cosine import CosineResult, MeanCosine, mean_cosine
from lm_probe.probes._forward import run_forward
from lm_probe.probes._geometry import GeometryProbe
from lm_probe.probes._head_spectrum import HeadSpectrumProbe
from lm_probe.probes._loss import LossProbe
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
from lm_probe.probes._spectrum import effective_rank, singular_entropy, singular_values, stable_rank, top_share

__all__ = [
    "AnisotropyProbe",
    "Batch",
    "CosineResult",
    "ForwardProbe",
    "ForwardState",
    "GeometryProbe",
    "HeadSpectrumProbe",
    "HeadWeights",
    "LossProbe",
    "MeanCosine",
    "Need",
    "Probe",
    "Reading",
    "Sampled",
    "VectorReading",
    "WeightProbe",
    "effective_rank",
    "find_probes",
    "mean_cosine",
    "probe_names",
    "run_forward",
    "singular_entropy",
    "singular_values",
    "stable_rank",
    "top_share",
]
