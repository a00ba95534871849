"""Controls of hidden-state probes in a sweep: each is a measurement of its own, `<probe>_<control>`."""

import random
from collections.abc import Callable, Sequence

from lm_probe.model_adapters import Architecture, UserError, architecture_of, device_of
from lm_probe.probes import (
    ForwardProbe,
    NormMatchedGaussian,
    Probe,
    Reading,
    random_twin,
    shuffle_tokens,
    token_curve,
)
from lm_probe.sweeps._given import check_fit
from lm_probe.sweeps._measure import Outcome, read_forward
from lm_probe.sweeps._memory import Passes
from lm_probe.sweeps._tokens import TokenSample

Control = Callable[[ForwardProbe, Architecture, TokenSample, Passes, int], Outcome]


class _Random:
    """Measured once for all checkpoints of one configuration: their twins have the same weights."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, ...], tuple[Outcome, int]] = {}

    def __call__(
        self, probe: ForwardProbe, of: Architecture, sample: TokenSample, passes: Passes, seed: int
    ) -> Outcome:
        config = {name: value for name, value in of.model.config.to_dict().items() if not name.startswith("_")}
        twin_of = (repr(sorted(config.items())), str(of.model.dtype), sample.digest(), probe.name)
        if twin_of not in self._found:
            twin = architecture_of(random_twin(of.model, seed))
            self._found[twin_of] = read_forward([probe], twin, sample, passes)[0], passes.most
        outcome, passes.most = self._found[twin_of]
        return outcome


def _gaussian(probe: ForwardProbe, of: Architecture, sample: TokenSample, passes: Passes, seed: int) -> Outcome:
    return read_forward([NormMatchedGaussian(probe, seed)], of, sample, passes)[0]


def _shuffled(probe: ForwardProbe, of: Architecture, sample: TokenSample, passes: Passes, seed: int) -> Outcome:
    batches = shuffle_tokens(sample.batches(passes.limit, str(device_of(of.model))), seed)
    return read_forward([probe], of, sample, passes, batches=batches)[0]


def _curve(probe: ForwardProbe, of: Architecture, sample: TokenSample, passes: Passes, seed: int) -> Outcome:
    """Readings after a sixteenth, an eighth, ... and all of the sample; the component says after how many tokens.

    Numbers are filled up with zeros: components are text, and are to sort as numbers.
    """
    check_fit(of, sample)
    device = str(device_of(of.model))
    at = [max(2, sample.n_tokens >> halvings) for halvings in (4, 3, 2, 1, 0)]
    # Windows of all documents mixed: in the order they are drawn a small number would be that of few documents.
    order = list(range(len(sample.windows)))
    random.Random(f"curve {seed}").shuffle(order)
    batches = sample.batches(passes.limit, device, order=order)
    try:
        with passes.watched(of.model):
            found = token_curve(of, probe, batches, sample.sampled(device), at)
    except ValueError as error:
        return Outcome([], f"{probe.name}_curve: {error}")
    digits = len(str(sample.n_tokens))
    readings = [
        reading._replace(component=f"{tokens:0{digits}} tokens")
        for tokens, seen in found.items()
        for reading in seen
        if isinstance(reading, Reading)
    ]
    return Outcome(list(readings))


RUN: dict[str, Callable[[], Control]] = {
    "random": _Random,
    "gaussian": lambda: _gaussian,
    "shuffled": lambda: _shuffled,
    "curve": lambda: _curve,
}


def controlled(probes: Sequence[Probe], controls: Sequence[str]) -> dict[str, tuple[ForwardProbe, Control]]:
    """What is to be run beside the probes, by the name under which it is stored.

    Raises:
        UserError: no probe looks at hidden states.
    """
    wanted = [probe for probe in probes if isinstance(probe, ForwardProbe) and probe.needs == {"hidden"}]
    if controls and not wanted:
        raise UserError("--controls needs a probe of hidden states: add anisotropy or geometry to --probes")
    return {f"{probe.name}_{name}": (probe, RUN[name]()) for probe in wanted for name in dict.fromkeys(controls)}
