"""Takes scores that were measured elsewhere into a run, and what `hf-probe` measured beside them."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lm_probe.model_adapters import UserError, say_on_stderr
from lm_probe.sweeps._import_files import Found, NotResults, find_files, read_file
from lm_probe.sweeps._import_samples import keep_samples
from lm_probe.sweeps._imported import FileContent, Imported, Origin
from lm_probe.sweeps._lock import exclusive
from lm_probe.sweeps._measurement_rows import digest, failure_name
from lm_probe.sweeps._records import UNSEEN, CheckpointKey, Measurement, short_identity
from lm_probe.sweeps._store import RunStore, StoreError

Say = Callable[[str], None]
_Task = tuple[str, str, str, str, str]  # model, revision, probe, task, prompts of a probe


@dataclass
class ImportSummary:
    """What came of an import."""

    files: int = 0
    """Files with scores in them."""
    scores: int = 0
    """Values that the run did not hold."""
    samples: int = 0
    """Files of lm-eval's samples that were kept with them."""
    there_before: int = 0
    """Tasks and probes of checkpoints that the run holds from the same file, or from a newer one."""
    problems: int = 0
    """Files and values that were refused."""
    recognised: dict[str, str] = field(default_factory=dict)
    """Checkpoints that go by another name in the run, which measured the same weights, with that name."""


class _Held(NamedTuple):
    """What the run shows of a task, or a probe, of a checkpoint."""

    origin: Origin | None
    """None where a sweep measured it."""


def import_scores(files: Sequence[str | Path], out: str | Path, *, say: Say = say_on_stderr) -> ImportSummary:
    """Takes lm-eval's result files (0.3 to 0.4) and tidy tables into a run, so that it reports them as its own.

    No checkpoint is seen. A file that names the commit of its weights joins what a sweep measured of that commit; other
    scores stand beside whatever the run holds under the same model and revision, with the identity `imported`. Weights
    that a sweep of the run measured under another name go by that name. What a sweep measured is never replaced. The
    same files give the same run in whichever order they come, as far as they say when they were measured: for each
    (checkpoint, task) the newest counts. A probe that `hf-probe` measured on the prompts of several files' tasks is
    kept for each; the run shows it on those that most checkpoints share.

    Args:
        files: result files (.json), tables (.csv) with the columns model, step, task, metric, value and, if known,
            stderr, shots, suite, variant; either may be .gz; or folders, of which every .json is read.
        out: the run's folder; made where there is none, and as soon as there is something to keep.
        say: what is done with a line on a file: what was refused in it, or is worth knowing.

    Raises:
        UserError: no file is named or there, or the run cannot be written.

    Example:
        >>> import_scores(["evals/pythia-70m"], "runs/published")  # doctest: +SKIP
    """
    if not files:
        raise UserError("nothing to import: name result files of lm-eval, folders of them, or a .csv table")
    if not any(Path(given).exists() for given in files):
        raise UserError(f"{files[0]} does not exist: name result files of lm-eval, folders of them, or a .csv table")
    summary = ImportSummary()
    refuse = _Refusals(summary, say)
    contents = _read(list(map(Path, files)), refuse)
    first = next(contents, None)
    if first is None:  # no run is made for nothing
        return summary
    with exclusive(Path(out)), RunStore.create(out) as store:
        importer = _Importer(store, summary, say)
        for path, content in itertools.chain([first], contents):
            with refuse.of(path):
                importer.take(path, content)
    return summary


class _Refusals:
    """Files that are not taken are counted and told; the rest goes on."""

    def __init__(self, summary: ImportSummary, say: Say) -> None:
        self._summary = summary
        self.say = say

    def __call__(self, path: Path, reason: str) -> None:
        self._summary.problems += 1
        self.say(f"{path}: {reason}")

    @contextmanager
    def of(self, path: Path) -> Iterator[None]:
        """Refuses the file for what the block raises; a run that cannot be written ends everything."""
        try:
            yield
        except StoreError:
            raise
        except UserError as error:
            self(path, str(error))
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and a run cannot
            self(path, "holds a name that is no text")


def _read(files: Sequence[Path], refuse: _Refusals) -> Iterator[tuple[Path, FileContent]]:
    """The files with anything to keep in them, one after the other."""
    for given in files:
        found: list[Found] = []
        with refuse.of(given):
            found = list(find_files(given))
        foreign = []
        for path, was_named in found:
            content = FileContent()
            with refuse.of(path):
                try:
                    content = read_file(path)
                except NotResults:
                    foreign.append(path)
                    if was_named:
                        raise
            for problem in content.problems:
                refuse(path, problem)
            for notice in content.notices:
                refuse.say(f"{path}: {notice}")
            if any(one.measurements or one.failures for one in content.checkpoints):
                yield path, content
        if foreign and not found[0].named:
            said = f"{len(foreign)} of {len(found)} .json files hold no results and are passed over"
            if len(foreign) == len(found):
                refuse(given, said)
            else:
                refuse.say(f"{given}: {said}, e.g. {foreign[0].relative_to(given)}")


class _Importer:
    def __init__(self, store: RunStore, summary: ImportSummary, say: Say) -> None:
        self._store = store
        self._summary = summary
        self._say = say
        self._held: dict[_Task, _Held] = {}
        self._identities: dict[tuple[str, str], str] = {}
        self._sources: dict[str, str] = {}
        self._measured: dict[str, dict[tuple[str, str], CheckpointKey]] = {}
        for row in store.measurements(on_any_prompts=True).to_dict("records"):
            where = (row["model"], row["revision"] if isinstance(row["revision"], str) else "")  # pandas has NaN
            self._sources.setdefault(row["model"], row["source"])
            if row["identity"] != UNSEEN:
                self._identities[where] = row["identity"]
            origin = row["details"].get("imported")
            if origin is None and row["identity"] != UNSEEN:
                step = None if pd.isna(row["step"]) else int(row["step"])
                key = CheckpointKey(row["model"], where[1] or None, step, row["identity"], row["source"])
                self._measured.setdefault(key.identity, {})[where] = key
            self._held[*where, *_key(row["probe"], row["config"])] = _Held(origin and Origin(**origin))
        failures = store.failures()
        self._failed = set(zip(failures.model, failures.revision.fillna(""), failures.probe, strict=True))

    def take(self, path: Path, content: FileContent) -> None:
        """Keeps what a file holds.

        Raises:
            UserError: it is of other weights than the run holds under its name.
        """
        for one in content.checkpoints:
            self._record(path, one)
        self._summary.files += 1

    def _record(self, path: Path, one: Imported) -> None:
        one = one._replace(checkpoint=self._recognised(one.checkpoint))
        checkpoint = one.checkpoint
        where = (checkpoint.model, checkpoint.revision or "")
        known = self._identities.get(where, checkpoint.identity)
        if UNSEEN not in (known, checkpoint.identity) and known != checkpoint.identity:
            raise UserError(
                f"is of other weights ({short_identity(checkpoint.identity)}) than the run holds as {' '.join(where)} "
                f"({short_identity(known)}): import it into another run"
            )
        source = self._sources.setdefault(checkpoint.model, checkpoint.source)
        if source != checkpoint.source and Path(source).is_absolute() and Path(checkpoint.source).is_absolute():
            self._say(f"{path}: {checkpoint.source} is taken for the model {checkpoint.model} of {source}")
        self._record_failures(path, one)
        new = self._news(path, where, one.measurements)
        self._summary.there_before += len(one.measurements) - len(new)
        if not new:
            return
        self._summary.samples += keep_samples(path, self._store.folder, checkpoint, new)
        self._store.record(checkpoint, new)
        self._summary.scores += sum(len(measurement.readings) for measurement in new)
        if checkpoint.identity != UNSEEN:
            self._identities[where] = checkpoint.identity
        for measurement in new:
            self._held[*where, *_key(measurement.probe, measurement.config)] = _Held(_origin(measurement))

    def _recognised(self, checkpoint: CheckpointKey) -> CheckpointKey:
        """The checkpoint as the run calls it, where a sweep measured the same weights under one other name.

        Of copies under several names it is the one with the file's revision, if that is one.
        """
        where = (checkpoint.model, checkpoint.revision or "")
        same = self._measured.get(checkpoint.identity, {})
        known = [key for key in same.values() if key.revision == checkpoint.revision] or list(same.values())
        if where in same or len(known) != 1:
            return checkpoint
        self._summary.recognised[" ".join(where).strip()] = f"{known[0].model} {known[0].revision or ''}".strip()
        return known[0]

    def _record_failures(self, path: Path, one: Imported) -> None:
        """Keeps why probes have no values, where the run neither has any nor says why."""
        checkpoint = one.checkpoint
        where = (checkpoint.model, checkpoint.revision or "")
        for probe, reason in one.failures.items():
            if (*where, probe) not in self._failed and all(held[:3] != (*where, probe) for held in self._held):
                self._store.record_failure(checkpoint.model, checkpoint.revision, checkpoint.step, probe, reason)
                self._failed.add((*where, probe))
                self._say(f"{path}: {reason if reason.startswith(probe) else f'{probe}: {reason}'}")

    def _news(self, path: Path, where: tuple[str, str], measurements: Sequence[Measurement]) -> list[Measurement]:
        """Those that the run has not, or has from an older file; what becomes of the others is said once a file."""
        new = []
        passed: dict[str, list[str]] = {}
        for measurement in measurements:
            task = failure_name(measurement.probe, measurement.config)
            key = _key(measurement.probe, measurement.config)
            own = self._held.get((*where, *key[:-1], ""))  # a sweep's has no prompts, and counts whatever they are
            held = own or self._held.get((*where, *key))
            if held is None:
                new.append(measurement)
            elif held.origin is None:
                passed.setdefault("measured by a sweep of this run, which counts", []).append(task)
            elif (origin := _origin(measurement)).sha256 != held.origin.sha256:
                dates = origin.date, held.origin.date
                older = dates[0] is not None and dates[1] is not None and dates[0] < dates[1]
                how = (
                    f"older than in {held.origin.file}, which counts"
                    if older
                    else f"put in place of {held.origin.file}"
                )
                passed.setdefault(how, []).append(task)
                new += [] if older else [measurement]
        for how, tasks in passed.items():
            few = ", ".join(tasks[:3]) + (f" and {len(tasks) - 3} more" if len(tasks) > 3 else "")
            self._say(f"{path}: {' '.join(where).strip()}: {few}: {how}")
        return new


def _key(probe: str, config: dict[str, Any]) -> tuple[str, str, str]:
    return probe, config.get("task", ""), digest(config) if "prompts" in config else ""


def _origin(measurement: Measurement) -> Origin:
    return Origin(**measurement.conditions.details["imported"])
