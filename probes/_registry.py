"""The probes that are known by name: a new one is a file and a line here, or another package's entry point."""

from collections.abc import Sequence
from importlib.metadata import entry_points

from lm_probe.model_adapters import UserError, near_names
from lm_probe.probes._anisotropy import AnisotropyProbe
from lm_probe.probes._condensation import CondensationProbe
from lm_probe.probes._embedding_spectrum import EmbeddingSpectrumProbe
from lm_probe.probes._geometry import GeometryProbe
from lm_probe.probes._head_spectrum import HeadSpectrumProbe
from lm_probe.probes._loss import LossProbe
from lm_probe.probes._protocol import ForwardProbe, Probe, WeightProbe
from lm_probe.probes._weight_spectra import WeightSpectraProbe

BUILT_IN: dict[str, type[Probe]] = {
    "loss": LossProbe,
    "anisotropy": AnisotropyProbe,
    "geometry": GeometryProbe,
    "head_spectrum": HeadSpectrumProbe,
    "embedding_spectrum": EmbeddingSpectrumProbe,
    "weight_spectra": WeightSpectraProbe,
    "condensation": CondensationProbe,
}
ENTRY_POINTS = "lm_probe.probes"


def probe_names() -> list[str]:
    """The names of all probes, built-in ones first."""
    return [*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS) if point.name not in BUILT_IN)]


def find_probes(names: Sequence[str]) -> list[Probe]:
    """The probes of these names, in this order, each once.

    Raises:
        UserError: a name is unknown, or another package's probe does not load.
    """
    return [_find(name) for name in dict.fromkeys(names)]


def _find(name: str) -> Probe:
    if name in BUILT_IN:
        return BUILT_IN[name]()
    for point in entry_points(group=ENTRY_POINTS, name=name):
        try:
            probe = point.load()()
        except Exception as error:
            raise UserError(f"probe {name} of {point.value} does not load: {error}") from error
        if not isinstance(probe, WeightProbe | ForwardProbe):
            raise UserError(f"{point.value} is no probe: it needs name, version, needs and read or start")
        return probe
    names = probe_names()
    raise UserError(f"no probe {name}{near_names(name, names)}: known are {', '.join(names)}")
