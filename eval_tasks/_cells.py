"""The cells of the grid: which questions are asked, over how many different words, in lists of what length."""

from typing import NamedTuple

from lm_probe.eval_tasks import _count_query, _most_frequent_word
from lm_probe.eval_tasks._kind import Kind

KINDS: dict[str, Kind] = {
    "count_query": _count_query.KIND,
    "most_frequent_word": _most_frequent_word.KIND,
}


class Cell(NamedTuple):
    """One task: a kind of question, m different words, lists of n words."""

    kind: str
    m: int
    n: int

    @property
    def name(self) -> str:
        """The task's name; the length is left out on the diagonal n = 10 m."""
        return f"{self.kind}_m{self.m}" + ("" if self.n == 10 * self.m else f"_n{self.n}")

    @property
    def description(self) -> str:
        """One line for a listing."""
        return f"{KINDS[self.kind].description}: m = {self.m} different words, n = {self.n}, control with 2"


SMALL = (5, 10, 20)

CELLS: tuple[Cell, ...] = tuple(Cell(kind, m, 10 * m) for kind in KINDS for m in SMALL)

GROUPS: dict[str, tuple[Cell, ...]] = {
    "word_counting_small": tuple(cell for cell in CELLS if cell.m in SMALL),
}
