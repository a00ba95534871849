"""The probes that are known by name: a new one is a file and a line here, or another package's entry point."""

from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from lm_probe.model_adapters import UserError, near_names

if TYPE_CHECKING:
    from lm_probe.probes._protocol import Probe

ENTRY_POINTS = "lm_probe.probes"
BUILT_IN = [  # written as another package's are, so that names are known before torch is imported
    EntryPoint(name, f"lm_probe.probes.{where}", ENTRY_POINTS)
    for name, where in {
        "loss": "_loss:LossProbe",
        "anisotropy": "_anisotropy:AnisotropyProbe",
        "geometry": "_geometry:GeometryProbe",
        "head_spectrum": "_head_spectrum:HeadSpectrumProbe",
        "embedding_spectrum": "_embedding_spectrum:EmbeddingSpectrumProbe",
        "weight_spectra": "_weight_spectra:WeightSpectraProbe",
        "condensation": "_condensation:CondensationProbe",
    }.items()
]


def probe_names() -> list[str]:
    """The names of all probes, built-in ones first."""
    return list(dict.fromkeys(point.name for point in _points()))


def refuse_unknown_probes(names: Sequence[str]) -> None:
    """Refuses a name that no probe has; loads none.

    Raises:
        UserError: there is such a name.
    """
    known = probe_names()
    for name in names:
        if name not in known:
            raise UserError(f"no probe {name}{near_names(name, known)}: known are {', '.join(known)}")


def find_probes(names: Sequence[str]) -> "list[Probe]":
    """The probes of these names, in this order, each once.

    Raises:
        UserError: a name is unknown, or another package's probe does not load.
    """
    refuse_unknown_probes(names)
    return [_load(next(point for point in _points() if point.name == name)) for name in dict.fromkeys(names)]


def _points() -> Iterator[EntryPoint]:
    yield from BUILT_IN
    yield from entry_points(group=ENTRY_POINTS)


def _load(point: EntryPoint) -> "Probe":
    from lm_probe.probes._protocol import ForwardProbe, WeightProbe

    try:
        probe = point.load()()
    except Exception as error:
        raise UserError(f"probe {point.name} of {point.value} does not load: {error}") from error
    if not isinstance(probe, WeightProbe | ForwardProbe):
        raise UserError(f"{point.value} is no probe: it needs name, version, needs and read or start")
    return probe
