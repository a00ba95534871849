"""What a sweep is asked, with every name looked up: probes, tasks, checkpoints, and the work on each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lm_probe.model_adapters import Checkpoint, UserError
from lm_probe.probes import ForwardProbe, GeometryProbe, Probe, WeightProbe, find_probes
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._context_fit import refuse_long_context
from lm_probe.sweeps._controls import Control, controlled
from lm_probe.sweeps._early import refuse_early
from lm_probe.sweeps._plan import Visit, plan
from lm_probe.sweeps._probe_step import ProbeStep
from lm_probe.sweeps._ray import Spread
from lm_probe.sweeps._records import CheckpointKey
from lm_probe.sweeps._task_fit import left_out, refuse_unfit, unfit_tasks
from lm_probe.sweeps._units import Unit, control_units, needs_text, probe_units, task_units
from lm_probe.sweeps.text import read_text


@dataclass(frozen=True)
class Job:
    """The settings of a sweep with everything that they name looked up."""

    config: SweepConfig
    probes: Sequence[Probe]
    controls: dict[str, tuple[ForwardProbe, Control]]
    tasks: Sequence[str]
    visits: Sequence[Visit]
    step: ProbeStep
    unfit: Mapping[Visit, Mapping[str, str]]
    """Tasks that a checkpoint is not asked, with the reasons; see `unfit_tasks`."""

    def names(self, visit: Visit) -> list[str]:
        """The names of the units of work on one checkpoint."""
        return [*(probe.name for probe in self.probes), *self.controls, *self._tasks(visit)]

    def pieces(self, visit: Visit) -> int:
        """How many they are."""
        return len(self.names(visit))

    def notices(self) -> list[str]:
        """What is left out, told once before anything is measured."""
        return left_out(self.unfit, self.visits, self.tasks)

    def _tasks(self, visit: Visit) -> list[str]:
        return [task for task in self.tasks if task not in self.unfit.get(visit, ())]

    def units(self, visit: Visit, checkpoint: Checkpoint) -> list[Unit]:
        """What is asked of one checkpoint."""
        asked = probe_units(checkpoint, self.probes, self.config, self.step, visit.source)
        asked += control_units(asked, self.controls)
        return asked + task_units(checkpoint, self._tasks(visit), self.config)

    def reads_tensors_of(self, visit: Visit) -> bool:
        """Whether single tensors are read of a checkpoint on the Hub, because nothing needs the model."""
        names = self.names(visit)
        return visit.commit is not None and len(self.weight_probes(names)) == len(names)

    def needs_model(self, names: Collection[str]) -> bool:
        """Whether any of the named units needs more than weights."""
        return len(self.weight_probes(names)) < len(names)

    def weight_probes(self, names: Collection[str]) -> list[WeightProbe]:
        """Those of the named units that read weights and need no model."""
        return [probe for probe in self.probes if isinstance(probe, WeightProbe) and probe.name in names]


def key_of(visit: Visit, checkpoint: Checkpoint) -> CheckpointKey:
    """How the run store knows a checkpoint."""
    return CheckpointKey(visit.model, visit.revision, visit.step, checkpoint.identity, visit.where)


def prepare(config: SweepConfig, spread: Spread | None = None) -> Job:
    """Looks up what the settings name, for a cluster or for this machine.

    Raises:
        UserError: the settings exclude each other; this machine cannot compute on the device; a probe, task, control,
            source, revision or text does not exist or cannot be used; a task that is named can be asked of no
            checkpoint; a reference has no use; or the run's folder holds files of somebody else's.
    """
    refuse_early(config, spread)
    probes = find_probes(config.chosen_probes)
    if config.reference is not None and not any(isinstance(probe, GeometryProbe) for probe in probes):
        raise UserError(
            f"--reference {config.reference} is for the probe geometry, and --probes is "
            f"{','.join(config.chosen_probes) or 'none'}: add geometry to --probes"
        )
    tasks: Sequence[str] = ()
    if wanted := config.chosen_tasks:
        from lm_probe.sweeps.lm_eval_bridge import expand_tasks

        tasks = expand_tasks(wanted)
    visits = plan(config.sources, config.revisions)
    unfit = unfit_tasks(tasks, visits, config)
    if config.tasks is not None:
        refuse_unfit(unfit, visits, tasks)
    elif not probes and all(unfit.get(visit, {}).keys() >= {*tasks} for visit in visits):
        raise UserError(f"{left_out(unfit, visits, tasks)[0]}; nothing else is to be measured: name --probes")
    reads = any(map(needs_text, probes))
    if reads and config.context is not None:
        refuse_long_context(config.context, visits)
    text = read_text(config.text) if reads else None
    step = ProbeStep(config, visits, text)
    return Job(config, probes, controlled(probes, config.controls), tasks, visits, step, unfit)
