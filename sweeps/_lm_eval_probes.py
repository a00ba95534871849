"""Forward probes that look on while lm-eval runs its tasks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeGuard

import torch
from jaxtyping import Int
from torch import Tensor

from lm_probe.model_adapters import Architecture, Site, UserError, device_of
from lm_probe.probes import (
    Batch,
    ForwardProbe,
    ForwardState,
    Probe,
    Sampled,
    find_probes,
    probe_names,
    statistics_device,
    unrounded,
)
from lm_probe.sweeps._lm_eval_rows import Row, tokens_that_count
from lm_probe.sweeps._measure import Outcome, only_finite, result_of

# A probe must know their number before the first batch, and lm-eval tells it batch by batch: beyond it documents share
# clusters, which keeps a standard error right. Far more than the groups of any jackknife.
_CLUSTERS = 10_000


class TaskProbes:
    """Forward probes over the rows of lm-eval's log-likelihood batches, in the passes that lm-eval makes anyway."""

    def __init__(self, probes: Sequence[ForwardProbe], architecture: Architecture) -> None:
        """Starts every probe."""
        self._architecture = architecture
        sampled = Sampled(_CLUSTERS, str(statistics_device(device_of(architecture.model))), has_bytes=False)
        self._states: dict[ForwardProbe, ForwardState] = {probe: probe.start(architecture, sampled) for probe in probes}
        self._has_seen = False

    @contextmanager
    def watching(self, token_ids: Int[Tensor, "b t"], rows: Sequence[Row]) -> Iterator[None]:
        """Shows the probes the hidden states of the batch that runs inside the context; pads do not count."""
        mask = tokens_that_count(rows, token_ids.shape[1])
        clusters = torch.tensor([row.document % _CLUSTERS for row in rows])
        device = token_ids.device
        where = statistics_device(device)
        batch = Batch(token_ids.to(where), None if mask is None else mask.to(where), clusters.to(where), None)

        def see(site: Site, vectors: Tensor) -> None:
            vectors = vectors.to(statistics_device(vectors.device))
            with unrounded(vectors.device):
                for state in self._states.values():
                    state.see_hidden(site, vectors, batch)

        self._has_seen = True
        with self._architecture.observe(see):
            yield

    def outcomes(self) -> dict[str, Outcome]:
        """By each probe's name what came of it, or why nothing did; empty before the first batch."""
        if not self._has_seen:
            return {}
        return {probe.name: only_finite(probe, result_of(probe, state)) for probe, state in self._states.items()}


def hidden_state_probes(names: str | Sequence[str | Probe]) -> list[ForwardProbe]:
    """The probes of `probes=anisotropy+geometry`, or of a list of names or probes.

    Raises:
        UserError: a name is unknown, or a probe needs more than hidden states.
    """
    given = names.split("+") if isinstance(names, str) else list(names)
    asked = [name for name in given if isinstance(name, str) and name]
    if unknown := sorted({*asked} - {*probe_names()}):
        fit = [name for name in probe_names() if _sees_hidden_states_alone(find_probes([name])[0])]
        raise UserError(f"probes={unknown[0]}: no such probe; beside a task there are {', '.join(fit)}")
    chosen = find_probes(asked)
    chosen += [probe for probe in given if not isinstance(probe, str)]
    found = []
    for probe in chosen:
        if not _sees_hidden_states_alone(probe):
            needs = " and ".join(sorted(probe.needs))
            raise UserError(
                f"probes={probe.name}: it needs {needs}, and beside a task only hidden states can be seen; "
                f"measure it with `lm-probe sweep --probes {probe.name}`"
            )
        found.append(probe)
    return found


def _sees_hidden_states_alone(probe: Probe) -> TypeGuard[ForwardProbe]:
    return isinstance(probe, ForwardProbe) and probe.needs == {"hidden"}
