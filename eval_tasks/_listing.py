"""What tasks there are, for people: kinds with their sizes, ways of answering, and groups."""

from collections.abc import Sequence

from lm_probe.eval_tasks._cells import CELLS, GROUPS, HOW, KINDS

Row = tuple[str, str]
"""A name, or a pattern of names, and what it stands for."""


def listing() -> dict[str, list[Row]]:
    """All tasks and groups under headings. In a pattern `<m>` is a number and `*` a kind of question."""
    kinds = [
        (f"{name}_m<m>", f"{kind.description}: m = {_numbers([cell.m for cell in GROUPS[name]])}")
        for name, kind in KINDS.items()
    ]
    styles = [
        (f"*_m<m>_{style}", f"each of these {how}, e.g. {next(cell.name for cell in CELLS if cell.style == style)}")
        for style, how in HOW.items()
        if style
    ]
    groups = []
    for name, cells in GROUPS.items():
        named, sizes = dict.fromkeys(cell.kind for cell in cells), sorted({cell.m for cell in cells})
        which = "all kinds" if len(named) == len(KINDS) else ", ".join(named)
        groups.append((name, f"{len(cells)} tasks {HOW[cells[0].style]}: {which}, m = {_numbers(sizes)}"))
    return {
        f"tasks {HOW['']}, on a list of n = 10 m words, m of them different, and on a control with 2": kinds,
        "the same with another way of answering": styles,
        "groups": groups,
    }


def _numbers(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))
