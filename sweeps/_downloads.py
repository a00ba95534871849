"""Which checkpoints a sweep is going to download, and whether the disk takes them."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from lm_probe.model_adapters import UserError, cached_file, free_space, list_files, weight_files
from lm_probe.sweeps._job import Job, key_of
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._store import RunStore


def to_download(job: Job, store: RunStore) -> list[Visit]:
    """The checkpoints on the Hub of which something that needs the model is not finished."""
    found = []
    for visit in job.visits:
        if visit.commit is not None:
            with suppress(UserError):  # told at its own turn
                checkpoint = visit.locate()
                key, units = key_of(visit, checkpoint), job.units(visit, checkpoint)
                if job.needs_model([unit.name for unit in units if not store.has(key, unit.probe, unit.config)]):
                    found.append(visit)
    return found


def shortage(visits: Sequence[Visit], cache_gb: float | None) -> str | None:
    """One line where the disk is too small for the Hub checkpoints that are going to be downloaded; else None.

    The first of each repository stands for the others. With a bound on the cache, one checkpoint beyond it is there
    while another comes.
    """
    sizes, total, largest = {}, 0, 0
    for source, number in Counter(visit.source for visit in visits).items():
        first = next(visit for visit in visits if visit.source == source)
        sizes[source] = _size(first)
        total += number * sizes[source]
        largest = max(largest, sizes[source])
    wanted = total if cache_gb is None else min(total, int(cache_gb * 1e9) + 2 * largest)
    free = free_space()
    if wanted <= free:
        return None
    mend = "give --cache-gb, which deletes what is finished" if cache_gb is None else "lower --cache-gb"
    return (
        f"about {wanted / 1e9:,.1f} GB are going to be downloaded into the Hub cache, whose disk has {free / 1e9:,.1f} "
        f"GB free: {mend}, or set HF_HOME to another disk"
    )


def _size(visit: Visit) -> int:
    checkpoint = visit.locate()
    try:
        files = list_files(checkpoint.source, checkpoint.identity) or {}
    except UserError:  # told at its own turn
        return 0
    missing = (name for name in weight_files(files) if not cached_file(checkpoint.source, checkpoint.identity, name))
    return sum(files[name] for name in missing)
