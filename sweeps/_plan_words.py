"""What a plan says to people: a line for checkpoints of which the same is said, and what they come to."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from lm_probe.model_adapters import NO_TOKENIZER, counted
from lm_probe.sweeps._dry_run import Fetch, Planned
from lm_probe.sweeps._plan import Visit
from lm_probe.sweeps._ray import Spread

_WIRE = 12.5e6  # bytes a second; nothing is fetched in order to measure it

_CALCULATED = (
    "by operations, requests and a timed matrix product; loading and what probes do with hidden states come on top"
)


def lines_of(planned: Iterable[Planned]) -> Iterator[str]:
    """Checkpoints in lines: in one those of a model that come one after the other and of which the same is said."""
    for (_, problem, said), same in groupby(planned, lambda one: (one.visit.model, one.problem, _said(one))):
        visits = [one.visit for one in same]
        yield f"{_names(visits)}: {problem or ('each ' if len(visits) > 1 else '') + said}"


def _names(visits: Sequence[Visit]) -> str:
    first, last = visits[0], visits[-1]
    match len(visits):
        case 1:
            return first.name
        case 2:
            return f"{first.name} and {last.revision}"
    return f"{first.name} ... {last.revision}, {counted(len(visits), 'checkpoint')}"


def _said(one: Planned) -> str:
    fetched = "" if one.fetch is None else f", {_fetched(one.fetch)}"
    cannot = f"; {one.unmeasurable} cannot be measured: {NO_TOKENIZER}" if one.unmeasurable else ""
    return f"{one.finished} of {one.measurements} finished{fetched}{cannot}"


def summarised(planned: Sequence[Planned], spread: Spread | None = None) -> list[str]:
    """The whole plan: how much there is to do and to fetch, and about how long that takes."""
    fetches = [one.fetch for one in planned if one.fetch is not None]
    most = any(one.finished and not one.exact for one in planned)
    lines = [
        f"{counted(len(planned), 'checkpoint')}, {'at most ' if most else ''}{sum(one.finished for one in planned):,} "
        f"of {counted(sum(one.measurements for one in planned), 'measurement')} finished"
        f"{' (whether files have changed since is seen when they are read)' if most else ''}"
    ]
    if unmeasurable := sum(one.unmeasurable for one in planned):
        lines[0] += f"; {unmeasurable:,} cannot be measured, for want of a tokenizer"
    problems = [one.problem for one in planned if one.problem is not None]
    if problems:
        lines[0] += f"; {len(problems)} could not be looked at, the first: {problems[0]}"
    if fetches:
        disk, audit = sum(one.bytes for one in fetches if one.whole), sum(one.audit for one in fetches)
        lines[0] += (
            f"; to fetch {_size(fetches)} from {counted(sum(one.files for one in fetches), 'weight file')}, of which "
            f"{disk / 1e6:,.1f} MB stay in the Hub cache, and {audit / 1e6:,.1f} MB for the audit"
        )
    return [*lines, *_time(planned, sum(one.bytes + one.audit for one in fetches), spread)]


def _time(planned: Sequence[Planned], wire: int, spread: Spread | None) -> list[str]:
    recorded = sum(one.estimate.recorded for one in planned)
    calculated = sum(one.estimate.calculated for one in planned)
    unknown = sorted(set[str]().union(*(one.estimate.unknown for one in planned)))
    if not recorded and not calculated and not unknown and not wire:
        return []
    how = {"as this run has taken so far": recorded, _CALCULATED: calculated}
    said = [why for why, seconds in how.items() if seconds]
    parts = []
    if said:
        one_by_one = "" if spread is None else " on one worker"
        time = (_at_least if calculated else duration)(recorded + calculated)
        parts.append(f"{time} of measuring{one_by_one} ({', '.join(said)})")
    if wire:
        parts.append(f"{duration(wire / _WIRE)} of fetching at {_WIRE * 8 / 1e6:.0f} Mbit/s, which is assumed")
    if unknown:
        shown = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 4 else "")
        parts.append(f"without {shown}, told once a checkpoint is measured")
    return [f"estimated time: {'; '.join(parts)}"]


def duration(seconds: float) -> str:
    """A time in two units at most."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def _at_least(seconds: float) -> str:
    """A time to which something is to be added: no bound from above."""
    return f"at least {duration(seconds) if round(seconds / 60) else 'a few seconds'}"


def _fetched(fetch: Fetch) -> str:
    if not fetch.bytes and not fetch.audit:
        return "nothing to fetch"
    if not fetch.bytes:
        return f"to fetch {fetch.audit / 1e6:,.1f} MB for the audit"
    how = "all" if fetch.whole else "single tensors"
    audit = f", before that {fetch.audit / 1e6:,.1f} MB for the audit" if fetch.audit else ""
    return f"to fetch {_size([fetch])} from {counted(fetch.files, 'weight file')} ({how}){audit}"


def _size(fetches: Sequence[Fetch]) -> str:
    return f"{sum(fetch.bytes for fetch in fetches) / 1e6:,.1f} MB of {sum(fetch.size for fetch in fetches) / 1e6:,.1f}"
