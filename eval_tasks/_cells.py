"""The cells of the grid: which questions are asked, over how many different words, answered how."""

from typing import NamedTuple

from lm_probe.eval_tasks import _count_query, _most_frequent_count, _most_frequent_word
from lm_probe.eval_tasks._kind import Kind

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (_count_query.KIND, _most_frequent_word.KIND, _most_frequent_count.KIND)
}
SIZES = (5, 10, 20, 35, 50, 75, 100, 125, 150)
SMALL = (5, 10, 20)  # for models of 14M to 410M parameters
HOW = {"": "by log-likelihood", "gen": "generated at once", "gen_cot": "generated after reasoning"}


class Cell(NamedTuple):
    """One task: a kind of question, m different words, lists of 10 m words, a style of answer."""

    kind: str
    m: int
    style: str  # "": log-likelihoods; "gen": generated at once; "gen_cot": generated after reasoning

    @property
    def n(self) -> int:
        """Words in a list: each occurs 10 times on average."""
        return 10 * self.m

    @property
    def name(self) -> str:
        """The task's name."""
        return f"{self.base}_m{self.m}" if not self.style else f"{self.kind}_m{self.m}_{self.style}"

    @property
    def base(self) -> str:
        """The name of what the cells of one kind and style share."""
        return f"{self.kind}_{self.style}" if self.style else self.kind


CELLS: tuple[Cell, ...] = tuple(Cell(kind, m, style) for style in HOW for kind in KINDS for m in SIZES)

GROUPS: dict[str, tuple[Cell, ...]] = {
    "word_counting": tuple(cell for cell in CELLS if not cell.style),
    "word_counting_small": tuple(cell for cell in CELLS if not cell.style and cell.m in SMALL),
    **{kind: tuple(cell for cell in CELLS if not cell.style and cell.kind == kind) for kind in KINDS},
    "word_counting_gen": tuple(cell for cell in CELLS if cell.style == "gen"),
    "word_counting_gen_cot": tuple(cell for cell in CELLS if cell.style == "gen_cot"),
}


def cell_of(name: str) -> Cell:
    """The cell of a task's name.

    Raises:
        KeyError: no task of ours has the name.
    """
    return {cell.name: cell for cell in CELLS}[name]
