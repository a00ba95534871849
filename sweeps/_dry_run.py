"""What a sweep would do and fetch, from listings and headers alone."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from lm_probe.model_adapters import (
    Checkpoint,
    UserError,
    Weights,
    cached_file,
    list_files,
    open_weights,
    weight_files,
)
from lm_probe.sweeps._audit_store import find_look
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._job import Job, key_of, prepare
from lm_probe.sweeps._look import identity_to_look_at
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._store import RunStore


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

    name: str
    measurements: int
    finished: int
    fetch: Fetch
    problem: str | None = None
    """Why it could not be looked at."""


def dry_run(config: SweepConfig) -> Iterator[Planned]:
    """Says for each checkpoint what is finished and what would be fetched; measures nothing.

    Config, tokenizer and headers of Hub checkpoints are fetched where tensors are to be read, of the first checkpoint
    with such files only. What a finished first checkpoint would be read for again, as baseline of others, is left out.

    Raises:
        UserError: as for `sweep`.
    """
    job = prepare(config)
    layouts: dict[tuple[object, ...], Fetch] = {}
    with ExitStack() as stack:
        there = (config.out / "run.db").is_file()
        store = stack.enter_context(RunStore(config.out)) if there else None
        for visit in job.visits:
            try:
                yield _planned(job, visit, store, layouts)
            except UserError as error:
                yield Planned(visit.name, job.pieces, 0, Fetch(), str(error))


def _planned(job: Job, visit: Visit, store: RunStore | None, layouts: dict[tuple[object, ...], Fetch]) -> Planned:
    names, audited = {*(probe.name for probe in job.probes), *job.controls, *job.tasks}, not job.config.audit
    if store is not None:
        checkpoint = visit.locate()
        key = key_of(visit, checkpoint)
        names = {unit.name for unit in job.units(visit, checkpoint) if not store.has(key, unit.probe, unit.config)}
        audited = audited or find_look(store, visit, identity_to_look_at(visit)) is not None
    nothing = visit.commit is None or (not names and audited)
    fetch = Fetch() if nothing else _fetch(visit.locate(), job, names, audited, layouts)
    return Planned(visit.name, job.pieces, job.pieces - len(names), fetch)


def _fetch(
    checkpoint: Checkpoint, job: Job, names: set[str], audited: bool, layouts: dict[tuple[object, ...], Fetch]
) -> Fetch:
    sizes = list_files(checkpoint.source, checkpoint.identity)
    if sizes is None:  # no network: the cache has what there is
        return Fetch()
    files = weight_files(sizes)
    missing = {file: sizes[file] for file in files if cached_file(checkpoint.source, checkpoint.identity, file) is None}
    # The same names and lengths of files hold the same tensors: one checkpoint of a series stands for the others.
    layout = (checkpoint.source, frozenset(names), audited, *((file, sizes[file], file in missing) for file in files))
    if layout not in layouts:
        found = _missing(checkpoint, job, names, audited, missing)
        layouts[layout] = found._replace(size=sum(sizes[file] for file in files))
    return layouts[layout]


def _missing(checkpoint: Checkpoint, job: Job, names: set[str], audited: bool, missing: Mapping[str, int]) -> Fetch:
    readers, whole = job.weight_probes(names), job.needs_model(names)
    fetch, read = (Fetch(len(missing), sum(missing.values()), whole=True) if whole else Fetch()), set[str]()
    if not missing or (whole and audited):
        return fetch
    weights = open_weights(checkpoint)
    if readers and not whole:
        needs = frozenset[str]().union(*(probe.needs for probe in readers))
        wanted = weights.names_for(
            head="head" in needs, embedding="embedding" in needs, projections="projections" in needs
        )
        read = {name for name in wanted if weights.file_name(name) in missing}
        content = sum(weights.listed_as(name).nbytes for name in read)
        fetch = Fetch(len({weights.file_name(name) for name in read}), content + weights.bytes_read)
    return fetch if audited else fetch._replace(audit=_first_looked_at(weights, missing, read))


def _first_looked_at(weights: Weights, missing: Collection[str], read: Collection[str]) -> int:
    """What the audit reads that no probe does: headers, and the head where it is not among what is `read`."""
    before = weights.bytes_read
    weights.listed()
    head = weights.head_name()
    comes = weights.file_name(head) in missing and head not in read
    return weights.bytes_read - before + (weights.listed_as(head).nbytes if comes else 0)
