"""Balanced half-samples: standard errors of statistics that bend, from groups of documents."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lm_probe.probes._jackknife import FEWEST_GROUPS, Estimate

# One more than a prime that leaves 3 divided by 4 (or than 1): Paley's construction needs no more.
_ORDERS = (20, 12, 8, FEWEST_GROUPS)


class HalfSamples(NamedTuple):
    """All groups, then halves of them, then the other halves: a statistic of each gives its value and its error."""

    members: Float[Tensor, "r g"]
    """1 where a group belongs, 0 where not."""
    sizes: Float[Tensor, " r"]
    """How many vectors each holds."""

    def estimates(self, values: Float[Tensor, "r k"]) -> list[Estimate]:
        r"""The values over everything, with errors from the halves.

        Over pairs of halves S, S', $a = \overline{((\theta_S - \theta_{S'})/2)^2}$ is McCarthy's variance (1969): for a
        statistic that is linear in the groups, the delete-a-group jackknife. What interacts between groups it counts
        twice, as that does (Efron and Stein 1981); $b = \overline{((\theta_S + \theta_{S'})/2 - \theta)^2}$ is 0 for a
        linear statistic and what was counted too much for one of pure interaction, such as a mean cosine near 0. The
        variance is $a^2 / (a + 2b)$: right for both, at most a ninth below $a - b$ between them, and never negative.
        Where documents are unequal so are halves; a bias of order 1/n, which would make that a difference, is taken
        from them first. Halves also see a rank change its holder, which leaving out one group does not.

        None for the error with fewer than four groups, or where a half has no value.
        """
        whole, halves = values[0], values[1:]
        if not len(halves):
            return [Estimate(float(value)) for value in whole]
        excess = (self.sizes[1:].reciprocal() - self.sizes[0].reciprocal())[:, None]
        first, second = (halves - excess * ((halves - whole).mean(0) / excess.mean())).chunk(2)
        linear = ((first - second) / 2).square().mean(0)
        bent = ((first + second) / 2 - whole).square().mean(0)
        errors = linear / (linear + 2 * bent).clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        return [
            Estimate(float(value), float(error) if bool(torch.isfinite(error)) else None)
            for value, error in zip(whole, errors, strict=True)
        ]


def estimates_of_sums(
    statistic: Callable[..., Float[Tensor, "r k"]], totals: Sequence[Float[Tensor, "g ..."]], sizes: Float[Tensor, " g"]
) -> list[Estimate]:
    """Values of a statistic of sums over groups, with errors from half-samples of them.

    Args:
        statistic: takes the totals summed over r choices of groups and gives k values for each choice.
        totals: sums for each group.
        sizes: what each group counts for.
    """
    halves = half_samples(sizes)
    return halves.estimates(statistic(*(torch.tensordot(halves.members, total, 1) for total in totals)))


def half_samples(sizes: Float[Tensor, " g"]) -> HalfSamples:
    """Halves of the groups that hold anything: rows of a Hadamard matrix, so each two groups meet in half of them.

    Such matrices have 4, 8, 12 or 20 columns here; of other numbers some groups go together. Fewer than four groups are
    not halved.

    Args:
        sizes: vectors in each group.
    """
    used = sizes > 0
    number = int(used.sum())
    members = used[None].double()
    if number >= FEWEST_GROUPS:
        order = next(order for order in _ORDERS if order <= number)
        column = torch.zeros(len(used), dtype=torch.int64)
        column[used] = torch.arange(number) % order
        halves = (_hadamard(order)[1:, column] > 0) & used
        members = torch.cat([members, halves.double(), (~halves & used).double()])
    return HalfSamples(members, members @ sizes)


@cache
def _hadamard(order: int) -> Float[Tensor, "h h"]:
    """Entries +-1, orthogonal rows, the first all +1 (Paley 1933)."""
    prime = order - 1
    squares = {x * x % prime for x in range(1, prime)}
    matrix = torch.ones(order, order)
    matrix[1:, 0] = -1
    for i in range(prime):
        for j in range(prime):
            if i != j:
                matrix[i + 1, j + 1] = 1 if (i - j) % prime in squares else -1
    return matrix
