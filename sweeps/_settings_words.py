"""What a sweep measures, in words, and what its run holds that was measured otherwise."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lm_probe.model_adapters import counted
from lm_probe.sweeps._arguments import differences
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._measurement_rows import failure_name
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._store import RunStore
from lm_probe.sweeps._tokens import DEFAULT_CONTEXT
from lm_probe.sweeps._units import Unit
from lm_probe.sweeps._versions import other_versions

_LISTED, _ROOM = 4, 20  # names in a sentence, and in a line of their own


def asked_words(job: Job) -> list[str]:
    """The probes, controls and tasks of a sweep, and the settings that they are measured with."""
    config = job.config
    probes = [*(probe.name for probe in job.probes), *job.controls]
    lines = [f"probes: {_some(probes, _ROOM)}; tasks: {_some(job.tasks, _ROOM)}"]
    settings = []
    if (text := job.step.text) is not None:
        at_most = config.context or f"{DEFAULT_CONTEXT} or what the model takes"
        settings.append(f"{config.tokens:,} tokens of {text.name} in windows of at most {at_most}")
    if job.tasks:
        number = config.task_documents
        settings.append("each task's own documents" if number is None else f"{counted(number, 'document')} a task")
    if settings:
        lines.append(f"settings: {', '.join(settings)}, {config.dtype}, seed {config.seed}")
    return lines


def _some(names: Sequence[str], room: int = _LISTED) -> str:
    if len(names) <= room:
        return ", ".join(names) or "none"
    return f"{', '.join(names[: room - 1])} and {len(names) - room + 1} more"


def held_otherwise(store: RunStore, asked: Iterable[tuple[Visit, Unit]]) -> list[str]:
    """What the run shows of what is asked that was measured with other settings or versions.

    Args:
        store: the run.
        asked: units of work, each with its checkpoint.

    Returns:
        A line on measurements of the checkpoints that are asked, which give way, and one on those of others of their
        models, which stay and are not compared with.
    """
    units = [(visit.model, visit.revision, unit) for visit, unit in asked]
    own = {(model, revision, *_of(unit.probe, unit.config)): unit.config for model, revision, unit in units}
    models = {(model, *_of(unit.probe, unit.config)): unit.config for model, _, unit in units}
    aside, beside = _Otherwise(), _Otherwise()
    for row in store.measurements().to_dict("records"):
        if "imported" in row["details"]:  # the same sweep would not bring it back
            continue
        model, what = row["model"], _of(row["probe"], row["config"])
        revision = row["revision"] if isinstance(row["revision"], str) else None  # pandas has NaN
        where = f"{model} {revision or ''}".strip()
        if (model, revision, *what) in own:
            aside.add(where, row, own[model, revision, *what], other_versions(row["versions"]))
        elif (model, *what) in models:  # versions of packages part no curve
            beside.add(where, row, models[model, *what])
    lines = []
    if aside.number:
        back = f"lm-probe export {store.folder} --all-settings has both, and a sweep as before shows those again"
        if aside.by_version:
            back = "a sweep as before with those versions shows those again"
        lines.append(
            f"{store.folder}: what is asked now sets aside {counted(aside.number, 'finished measurement')} made "
            f"with {aside.how} ({aside.which}): report and export show what was asked for last; nothing is lost, "
            f"{back}"
        )
    if beside.number:
        lines.append(
            f"{store.folder} holds {counted(beside.number, 'measurement')} made with {beside.how} "
            f"({beside.which}): what is asked now is not compared with them; ask for the same, or choose another --out"
        )
    return lines


def _of(probe: str, config: Mapping[str, Any]) -> tuple[str, str | None]:
    return probe, config.get("task")


class _Otherwise:
    """Measurements that were made with other settings or versions, and how."""

    def __init__(self) -> None:
        self.number = 0
        self.by_version = False
        """Whether some were made with other versions, which no command line brings back."""
        self._names: dict[str, None] = {}
        self._checkpoints: dict[str, None] = {}
        self._said: Counter[str] = Counter()

    def add(
        self, checkpoint: str, row: Mapping[Any, Any], asked: Mapping[str, Any], packages: Sequence[str] = ()
    ) -> None:
        """Takes a measurement where its settings are others, its probe's version, or `packages` behind it."""
        version = row["config"].get("version")
        probe = [f"version {version} of {row['probe']}"] if version != asked.get("version") else []
        said = [*differences(row["config"], asked), *packages, *probe]
        if said:
            self.by_version |= bool(packages or probe)
            self.number += 1
            self._names[failure_name(row["probe"], row["config"])] = None
            self._checkpoints[checkpoint] = None
            self._said.update(said)

    @property
    def how(self) -> str:
        """The settings and versions, those of most measurements first."""
        return ", ".join(said for said, _ in self._said.most_common())

    @property
    def which(self) -> str:
        """Probes, tasks and checkpoints."""
        one = len(self._checkpoints) == 1
        where = next(iter(self._checkpoints)) if one else counted(len(self._checkpoints), "checkpoint")
        return f"{_some([*self._names])} of {where}"
