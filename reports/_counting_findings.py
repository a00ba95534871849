"""Whether a model counts, and what the vocabulary adds to the length: one verdict for each model and question."""

from typing import NamedTuple

from lm_probe.reports._counting import Cell, beats, last_counted
from lm_probe.reports._data import RunData
from lm_probe.reports._intervals import interval

QUESTIONS = (
    ("count_query", "mae", "mae"),
    ("most_frequent_word", "acc", "acc"),
    ("most_frequent_count", "mae", "mae_relative"),
)
"""Kind, the metric that a blind answer must be beaten in, and the one of the gap: counts of the two arms of
`most_frequent_count` differ in size, so that only errors relative to them compare."""


class Counted(NamedTuple):
    """One question at the last checkpoint of a model that was asked it."""

    model: str
    kind: str
    sizes: list[int]
    """The m at which the control is better than an answer without counting."""
    widest: Cell | None
    """The gap at the largest of them."""
    gap_metric: str

    @property
    def counts(self) -> bool:
        """Whether it is seen to count in lists of two words."""
        return bool(self.sizes)

    @property
    def harder(self) -> bool | None:
        """Whether the full list is harder than the control at the largest m; None where that cannot be told from 0."""
        if self.widest is None or self.widest.gap is None:
            return None
        ends = interval(f"{self.gap_metric}_gap", self.widest.gap)
        return None if ends is None or ends.low <= 0 <= ends.high else ends.low > 0


def counted_questions(data: RunData) -> list[Counted]:
    """All that can be judged: those whose control was measured, and what a blind answer reaches in it."""
    found = []
    for model, known in data.checkpoints.items():
        for kind, metric, gap_metric in QUESTIONS:
            own = last_counted(data, kind, metric, known)
            if not own or not all(cell.binary and cell.binary_floor for cell in own):
                continue
            gaps = {cell.m: cell for cell in last_counted(data, kind, gap_metric, known) if cell.gap}
            able = [cell.m for cell in own if beats(f"{metric}_binary", cell.binary, cell.binary_floor)]
            found.append(Counted(model, kind, able, gaps.get(able[-1]) if able else None, gap_metric))
    return found
