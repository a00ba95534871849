"""Training steps on a logarithmic axis that also holds step 0."""

from collections.abc import Collection
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

_MOST_TICKS = 9


class StepAxis(NamedTuple):
    """Where steps stand; step 0 at half of the first step after it."""

    first: int
    last: int
    has_zero: bool

    def place(self, step: int) -> float:
        """The position of a step."""
        return float(step) if step > 0 else self.first / 2

    def ticks(self, most: int = _MOST_TICKS) -> list[int]:
        """Steps that get a label: 0, and powers of ten, in a short range with twice and five times them.

        Of many the first are left out.
        """
        steps: list[int] = []
        for multiples in ((1,), (1, 2, 5)):
            if len(steps) < 3:
                steps = [by * 10**power for power in range(19) for by in multiples]
                steps = [step for step in steps if self.first <= step <= self.last]
        if len(steps) < 2:
            steps = sorted({self.first, self.last})
        while len(steps) > most:
            steps = steps[::-2][::-1]
        return [0, *steps] if self.has_zero else steps

    def apply(self, axes: Axes, most: int = _MOST_TICKS) -> None:
        """Sets the horizontal axis."""
        axes.set_xscale("log")
        ticks = self.ticks(most)
        axes.xaxis.set_major_locator(FixedLocator([self.place(step) for step in ticks]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([short(step) for step in ticks])
        low = self.place(0) if self.has_zero else self.first
        margin = 1.12 if self.last > self.first else 1.5
        axes.set_xlim(low / margin, max(self.last, self.first) * margin)


def step_axis(steps: Collection[int]) -> StepAxis:
    """An axis for these steps (at least one)."""
    positive = [step for step in steps if step > 0] or [1]
    return StepAxis(min(positive), max(positive), len(positive) < len(steps) or 0 in steps)


def short(step: int) -> str:
    """A step, or another whole number, as a tick label: 143k, or 1,024 where that would cut it."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if step >= size and step % (size // 10) == 0:
            return f"{step / size:g}{letter}"
    return f"{step:,}"
