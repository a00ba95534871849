"""Which checkpoints of a source `--revisions` selects."""

import re
from collections.abc import Callable, Sequence

from lm_probe.model_adapters import UserError, counted, step_in_series

KEYWORDS = ("all", "log2")
_LISTED = 12  # steps in a line
_RANGE = re.compile(r"(\d*):(\d*)(?::(\d+))?")


def chosen_steps(source: str, wanted: str, steps: dict[str, int], say: Callable[[str], None]) -> list[str]:
    """The names that `wanted` selects of a source.

    Args:
        source: what messages call it.
        wanted: `all`, `log2`, a list of names or steps, or `start:stop:stride`.
        steps: its checkpoints by name.
        say: takes a line where there are only some of the steps that a range names.

    Raises:
        UserError: nothing is selected, or `wanted` is no rule.
    """
    chosen = _by_rule(wanted, steps)
    if not chosen:
        some = ", ".join(list(steps)[:4]) + (", ..." if len(steps) > 4 else "")
        has = f"{counted(len(steps), 'step')} ({some})" if steps else "no steps"
        raise UserError(f"--revisions {wanted} selects nothing of {source}: it has {has}")
    named = _named(wanted, steps)
    if named > len(chosen):
        say(
            f"--revisions {wanted} names {counted(named, 'step')}, and {source} has {len(chosen)} of them: "
            f"{few_of(sorted(steps[name] for name in chosen))}; its steps are {few_of(sorted(steps.values()))}"
        )
    return chosen


def _named(wanted: str, steps: dict[str, int]) -> int:
    """How many steps a range with a stride names, without a stop up to the last that there is; 0 of anything else."""
    found = _RANGE.fullmatch(wanted)
    if found is None or not found.group(3):
        return 0
    start, stop, stride = (int(part) if part else None for part in found.groups())
    last = max(steps.values()) if stop is None else stop
    return len(range(start or 0, last + 1, stride or 1))


def few_of(steps: Sequence[int | str]) -> str:
    """Steps or names in a line, of many the first and the last."""
    shown = list(map(str, steps))
    return ", ".join(shown if len(shown) <= _LISTED else [*shown[: _LISTED - 2], "...", shown[-1]])


def needs_listing(wanted: str) -> bool:
    """Whether it must be known which checkpoints there are."""
    return wanted in KEYWORDS or _RANGE.fullmatch(wanted) is not None


def listed_names(wanted: str, steps: dict[str, int]) -> list[str]:
    """The names in a comma-separated list; `60` and `step60` are `checkpoint-60` where that is how `steps` has it.

    Raises:
        UserError: it is empty.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        raise UserError("--revisions is empty: give all, log2, start:stop:stride, or a list such as step0,step1000")
    names = [f"step{name}" if name.isdigit() else name for name in names]
    known: dict[int | None, str] = {step: name for name, step in steps.items()}
    return [name if name in steps else known.get(step_in_series(name), name) for name in names]


def _by_rule(wanted: str, steps: dict[str, int]) -> list[str]:
    ordered = sorted(steps, key=lambda name: (steps[name], name))
    if wanted == "all":
        return ordered
    if wanted == "log2":
        return _nearest_powers(ordered, steps)
    found = _RANGE.fullmatch(wanted)
    if found is None:
        return listed_names(wanted, steps)
    start, stop, stride = (int(part) if part else None for part in found.groups())
    if stride == 0:
        raise UserError(f"--revisions {wanted} has a stride of 0: give start:stop:stride, e.g. 0:143000:10000")
    first = start or 0
    return [
        name
        for name in ordered
        if steps[name] >= first
        and (stop is None or steps[name] <= stop)
        and (stride is None or (steps[name] - first) % stride == 0)
    ]


def _nearest_powers(ordered: list[str], steps: dict[str, int]) -> list[str]:
    """The first, the last, and for each power of two between them the nearest step."""
    if not ordered:
        return []
    chosen = {ordered[0], ordered[-1]}
    power = 1
    while power <= steps[ordered[-1]]:
        chosen.add(min(ordered, key=lambda name: (abs(steps[name] - power), steps[name])))
        power *= 2
    return [name for name in ordered if name in chosen]
