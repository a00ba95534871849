"""Delete-a-group jackknife for values that are functions of sums over documents."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# Fewer say next to nothing of their spread: of two, alike by chance, the error would be 0.
FEWEST_GROUPS = 4


class Estimate(NamedTuple):
    """A value, its standard error where it has one, and the number of vectors behind it."""

    value: float
    stderr: float | None = None
    n: int | None = None


def jackknife(
    statistic: Callable[..., Float[Tensor, " k"]], totals: Sequence[Float[Tensor, "g ..."]]
) -> list[Estimate]:
    r"""Values of a statistic of sums, with the error from leaving out one group of documents after the other.

    $\sqrt{(g-1)/g \sum_j (\theta_{-j} - \bar\theta)^2}$ (Shao and Tu 1995, eq. 1.10), over the groups that hold
    anything. None for the error of fewer than four groups, and where a left-out value does not exist.

    Args:
        statistic: takes the totals summed over groups and gives k values.
        totals: sums for each group; the first holds counts, and tells which groups hold anything.
    """
    used = totals[0].flatten(1).sum(1) > 0 if totals[0].ndim > 1 else totals[0] > 0
    kept = [total[used] for total in totals]
    sums = [total.sum(0) for total in kept]
    values = statistic(*sums)
    groups = int(used.sum())
    if groups < FEWEST_GROUPS:
        return [Estimate(float(value)) for value in values]
    left_out = torch.stack(
        [statistic(*(whole - total[g] for whole, total in zip(sums, kept, strict=True))) for g in range(groups)]
    )
    return [Estimate(float(value), error) for value, error in zip(values, spread_of_left_out(left_out), strict=True)]


def spread_of_left_out(left_out: Float[Tensor, "g k"]) -> list[float | None]:
    """Jackknife standard errors from the values without each group; None where one of those is not finite."""
    groups = len(left_out)
    errors = ((groups - 1) / groups * (left_out - left_out.mean(0)).square().sum(0)).sqrt()
    return [float(error) if bool(torch.isfinite(error)) else None for error in errors]
