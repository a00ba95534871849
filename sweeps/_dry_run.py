"""What a sweep would do and fetch, from listings and headers alone."""

from collections.abc import Collection, Iterator
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
from lm_probe.probes import WeightProbe
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._job import Job, key_of, prepare
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
    names = {*(probe.name for probe in job.probes), *job.controls, *job.tasks}
    if store is not None:
        checkpoint = visit.locate()
        key = key_of(visit, checkpoint)
        names = {unit.name for unit in job.units(visit, checkpoint) if not store.has(key, unit.probe, unit.config)}
    fetch = Fetch() if visit.commit is None or not names else _fetch(visit.locate(), job, names, layouts)
    return Planned(visit.name, job.pieces, job.pieces - len(names), fetch)


def _fetch(checkpoint: Checkpoint, job: Job, names: set[str], layouts: dict[tuple[object, ...], Fetch]) -> Fetch:
    sizes = list_files(checkpoint.source, checkpoint.identity)
    if sizes is None:  # no network: the cache has what there is
        return Fetch()
    files = weight_files(sizes)
    size = sum(sizes[file] for file in files)
    missing = [file for file in files if cached_file(checkpoint.source, checkpoint.identity, file) is None]
    readers = job.weight_probes(names)
    if len(readers) < len(names):
        return Fetch(len(missing), sum(sizes[file] for file in missing), size, whole=True)
    # The same names and lengths of files hold the same tensors: one checkpoint of a series stands for the others.
    layout = (checkpoint.source, frozenset(names), *((file, sizes[file], file in missing) for file in files))
    if layout not in layouts:
        layouts[layout] = _tensors(open_weights(checkpoint), readers, missing)._replace(size=size)
    return layouts[layout]


def _tensors(weights: Weights, readers: Collection[WeightProbe], missing: Collection[str]) -> Fetch:
    needs = frozenset[str]().union(*(probe.needs for probe in readers))
    wanted = weights.names_for(head="head" in needs, projections="projections" in needs)
    fetched = [(weights.file_name(name), weights.listed_as(name).nbytes) for name in wanted]
    fetched = [(file, size) for file, size in fetched if file in missing]
    return Fetch(len({file for file, _ in fetched}), sum(size for _, size in fetched) + weights.bytes_read)
