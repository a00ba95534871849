"""What a sweep would do and fetch, from listings and headers alone."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from lm_probe.model_adapters import (
    Checkpoint,
    NoAnswer,
    UserError,
    Weights,
    cached_file,
    find_folder,
    list_files,
    make_tokenizer,
    say_on_stderr,
    weight_files,
)
from lm_probe.sweeps._audit import open_to_look
from lm_probe.sweeps._audit_store import find_look
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._estimate import Estimate, Estimator
from lm_probe.sweeps._flops import shape_of
from lm_probe.sweeps._job import Job, key_of, prepare
from lm_probe.sweeps._look import identity_to_look_at
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._ray import Spread
from lm_probe.sweeps._settings_words import asked_words, held_otherwise
from lm_probe.sweeps._store import RunStore
from lm_probe.sweeps._units import Unit


class Fetch(NamedTuple):
    """What comes over the wire for a checkpoint, beside its small files."""

    files: int = 0
    """Weight files of which something is fetched."""
    bytes: int = 0
    size: int = 0
    """Bytes of all weight files."""
    whole: bool = False
    """Whether the files are downloaded, and so take disk, or single tensors are read."""
    audit: int = 0
    """Bytes of heads and headers that the audit reads first, beside `bytes`."""


class Planned(NamedTuple):
    """One checkpoint of the plan."""

    visit: Visit
    measurements: int
    finished: int
    fetch: Fetch | None
    """None of a local checkpoint."""
    problem: str | None = None
    """Why it could not be looked at."""
    estimate: Estimate = Estimate()
    exact: bool = True
    """Whether `finished` is of these weights; else it is of any that had their name, and so the most that it can be."""
    unmeasurable: int = 0
    """Measurements that need a tokenizer, which the checkpoint has not."""


def dry_run(
    config: SweepConfig, spread: Spread | None = None, *, say: Callable[[str], None] = say_on_stderr
) -> Iterator[Planned]:
    """Says for each checkpoint what is finished, what would be fetched, and about how long it takes; measures nothing.

    What is asked is told first, and last what the run holds that was asked otherwise; see `held_otherwise`.

    Config, tokenizer and headers of Hub checkpoints are fetched where tensors are to be read or a time is calculated,
    of the first checkpoint with such files only. What a finished first checkpoint would be read for again, as baseline
    of others, is left out.

    Args:
        config: as for `sweep`.
        spread: as for `sweep`.
        say: takes notices.

    Raises:
        UserError: as for `sweep`.
    """
    job = prepare(config, spread)
    for line in (*asked_words(job), *job.notices()):
        say(line)
    with ExitStack() as stack:
        there = (config.out / "run.db").is_file()
        store = stack.enter_context(RunStore(config.out)) if there else None
        plan = _Plan(job, store, spread, say, each=True)
        yield from map(plan.of, job.visits)
        for line in held_otherwise(store, plan.asked) if store is not None else ():
            say(line)


class Outline(NamedTuple):
    """What a sweep that is about to begin has before it."""

    planned: list[Planned]
    held: list[str]
    """What its run holds that was measured with other settings; see `held_otherwise`."""


def outline(
    job: Job, store: RunStore, spread: Spread | None = None, *, say: Callable[[str], None] = say_on_stderr
) -> Outline:
    """What a sweep that is about to begin has before it, at little cost.

    Of each repository one listing and the headers of one checkpoint stand for the others. What is finished of a local
    checkpoint is counted by its name, and so at most: its files are read at its own turn.
    """
    plan = _Plan(job, store, spread, say, each=False)
    planned = [plan.of(visit) for visit in job.visits]
    return Outline(planned, held_otherwise(store, plan.asked))


class _Plan:
    def __init__(
        self, job: Job, store: RunStore | None, spread: Spread | None, say: Callable[[str], None], *, each: bool
    ) -> None:
        self._job = job
        self._store = store
        self._each = each
        self._estimator = Estimator(job, store, say, elsewhere=spread is not None)
        self._layouts: dict[tuple[object, ...], Fetch] = {}
        self._listings: dict[tuple[str, str | None], Mapping[str, int] | None] = {}
        self._silent: dict[str, str] = {}
        self._opened: dict[str, Weights] = {}
        self.asked: list[tuple[Visit, Unit]] = []
        """The units of every checkpoint that could be looked at, where there is a run."""

    def of(self, visit: Visit) -> Planned:
        """One checkpoint."""
        pieces, fetch = self._job.pieces(visit), None if visit.commit is None else Fetch()
        if visit.source in self._silent:  # patience is not spent on every checkpoint
            return Planned(visit, pieces, 0, fetch, self._silent[visit.source])
        try:
            units = self._lacking(visit)
            if fetch is not None:
                fetch = self._fetch(visit, {unit.name for unit in units})
            can = self._measurable(visit, units)
            estimate = self._estimator.of(visit.model, can, lambda: self._open(visit))
        except UserError as error:
            if isinstance(error, NoAnswer):
                self._silent[visit.source] = str(error)
            return Planned(visit, pieces, 0, fetch, str(error))
        finished, without = pieces - len(units), len(units) - len(can)
        return Planned(visit, pieces, finished, fetch, None, estimate, self._knows(visit), without)

    def _knows(self, visit: Visit) -> bool:
        """Whether the identity of a checkpoint is looked for, which of a local one costs a reading of every byte."""
        return self._each or visit.commit is not None

    def _lacking(self, visit: Visit) -> list[Unit]:
        job, store = self._job, self._store
        if store is None:  # nothing to compare an identity with, which would cost a reading of every local byte
            return [Unit(name, name, {}) for name in job.names(visit)]
        if self._knows(visit):
            checkpoint = visit.locate()
            key, units = key_of(visit, checkpoint), job.units(visit, checkpoint)
            self.asked += [(visit, unit) for unit in units]
            return [unit for unit in units if not store.has(key, unit.probe, unit.config)]
        folder = find_folder(visit.source, visit.revision)
        unread = Checkpoint(visit.source, visit.revision, visit.step, "sha256:", folder)
        units = job.units(visit, unread)
        self.asked += [(visit, unit) for unit in units]
        return [unit for unit in units if not store.has_named(visit.model, visit.revision, unit.probe, unit.config)]

    def _measurable(self, visit: Visit, units: list[Unit]) -> list[Unit]:
        """Those that the checkpoint's tokenizer, or that there is none, leaves."""
        weighed = {probe.name for probe in self._job.weight_probes({unit.name for unit in units})}
        if all(unit.name in weighed for unit in units):
            return units
        files: Collection[str] | None
        if visit.commit is None:
            files = {path.name for path in find_folder(visit.source, visit.revision).iterdir()}
        else:
            files = self._listing(visit)
        if files is None or make_tokenizer(files):
            return units
        return [unit for unit in units if unit.name in weighed]

    def _open(self, visit: Visit) -> Weights:
        if visit.source not in self._opened:
            weights = open_to_look(visit)
            shape_of(weights)  # one that cannot be read stands for no other
            self._opened[visit.source] = weights
        return self._opened[visit.source]

    def _fetch(self, visit: Visit, names: set[str]) -> Fetch:
        audited = not self._job.config.audit or (
            self._store is not None and find_look(self._store, visit, identity_to_look_at(visit)) is not None
        )
        sizes = self._listing(visit) if names or not audited else None
        if sizes is None:  # nothing to do; or no network, and the cache has what there is
            return Fetch()
        files = weight_files(sizes)
        missing = {file: sizes[file] for file in files if cached_file(visit.source, str(visit.commit), file) is None}
        # The same names and lengths of files hold the same tensors: one checkpoint of a series stands for the others.
        layout = (visit.source, frozenset(names), audited, *((file, sizes[file], file in missing) for file in files))
        if layout not in self._layouts:
            found = self._missing(visit, names, audited, missing)
            self._layouts[layout] = found._replace(size=sum(sizes[file] for file in files))
        return self._layouts[layout]

    def _listing(self, visit: Visit) -> Mapping[str, int] | None:
        key = visit.source, visit.commit if self._each else None
        if key not in self._listings:
            self._listings[key] = list_files(visit.source, str(visit.commit))
        return self._listings[key]

    def _missing(self, visit: Visit, names: set[str], audited: bool, missing: Mapping[str, int]) -> Fetch:
        readers, whole = self._job.weight_probes(names), self._job.needs_model(names)
        fetch, read = (Fetch(len(missing), sum(missing.values()), whole=True) if whole else Fetch()), set[str]()
        if not missing or (whole and audited):
            return fetch
        weights = open_to_look(visit)
        if readers and not whole:
            needs = frozenset[str]().union(*(probe.needs for probe in readers))
            wanted = weights.names_for(
                head="head" in needs, embedding="embedding" in needs, projections="projections" in needs
            )
            read = {name for name in wanted if weights.file_name(name) in missing}
            content = sum(weights.listed_as(name).nbytes for name in read)
            fetch = Fetch(len({weights.file_name(name) for name in read}), content + weights.bytes_read)
        if not audited:
            fetch = fetch._replace(audit=_first_looked_at(weights, missing, read))
        self._opened.setdefault(visit.source, weights)  # with what was read of it
        return fetch


def _first_looked_at(weights: Weights, missing: Collection[str], read: Collection[str]) -> int:
    """What the audit reads that no probe does: headers, and the head where it is not among what is `read`."""
    before = weights.bytes_read
    weights.listed()
    head = weights.head_name()
    comes = weights.file_name(head) in missing and head not in read
    return weights.bytes_read - before + (weights.listed_as(head).nbytes if comes else 0)
