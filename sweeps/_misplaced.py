"""Which checkpoint of a series does not belong where its step puts it: pure mathematics on distances."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

NEARER = 0.5
"""How much smaller the squared distance to another step must be than that to the nearer neighbour."""
FITS = 0.25
"""How much smaller the detour at another place must be than the detour at its own."""

ASIDE = 0.4
"""The least cosine between the ways to its own neighbours: 0 where noise has no direction, 1 from far aside."""


class Misplaced(NamedTuple):
    """A checkpoint and the two between which (or beside which) its weights lie."""

    place: int
    between: tuple[int, int]


def misplaced(vectors: Float[np.ndarray, "n k"]) -> list[Misplaced]:
    """The vectors of a series, in order, that lie elsewhere than their neighbours.

    Formula: the detour of vector i by way of two others a and b is `<w_i - w_a, w_i - w_b>`. On a straight path it is
    negative between a and b, for a random walk it is 0 there; outside it is the squared distance to the nearer one.
    Noise of a or b cancels, because the two differences share only i: a noisy, a spiked or a converged series has the
    same detour (i's own noise) everywhere. Vector i is misplaced where both hold:

    - another vector is nearer than both neighbours, with less than `NEARER` of the squared distance;
    - two vectors that follow each other elsewhere have less than `FITS` of the detour of its own neighbours;
    - its own neighbours lie on one side of it: the cosine of the two ways is more than `ASIDE`. Around a quiet
      vector, loud neighbours would else make a detour of either sign by chance.

    The worst is named and taken out, and the rest is looked at again, since its neighbours suffer from it. An end of
    the series has its two nearest as neighbours.

    Range: at most n - 3 findings; none for n < 4. Invariances: translation, rotation, scale, reversal of the order.
    Cost: O(n^2 k + n^3) time, n^2 + n k numbers beside the vectors. Paper: none, the bars are chosen so that simulated
    random walks, lines, and noise around a point raise nothing.

    What it does not show: that a series is right. Two neighbours that are exchanged keep one true neighbour each and
    go unseen (see `exchanged`), and so does whatever lies within the noise. Where steps grow threefold or more from one
    to the next, a moved vector may go unseen, or the first of the series be named in its stead. A path that comes back
    to where it was looks misplaced, and so may noise that has few directions (below about 64).
    """
    wide = np.asarray(vectors, dtype=np.float64)
    # Not from inner products: checkpoints that stand still differ by less than the rounding of those.
    squares = np.array([np.square(wide - one).sum(1) for one in wide]).reshape(len(wide), len(wide))
    left, found = list(range(len(wide))), []
    while len(left) >= 4:
        worst = max((_one(squares, left, place) for place in range(len(left))), key=lambda one: one[0])
        if not worst[0]:
            break
        found.append(worst[1])
        left.remove(worst[1].place)
    return sorted(found)


def _one(squares: Float[np.ndarray, "n n"], left: list[int], place: int) -> tuple[float, Misplaced]:
    """How much a vector gains at its best other place (0 where it is not misplaced), and that place."""
    here, others = left[place], np.array(left[:place] + left[place + 1 :])
    distances = squares[here, others]
    first, second = others[:-1], others[1:]
    detours = (distances[:-1] + distances[1:] - squares[first, second]) / 2
    # The pair of its neighbours; at an end that of the two nearest.
    own = min(max(place - 1, 0), len(detours) - 1)
    best = int(detours.argmin())
    answer = Misplaced(here, (int(first[best]), int(second[best])))
    neighbours = [at for at in (place - 1, place) if 0 <= at < len(others)]
    elsewhere = np.delete(distances, neighbours).min()
    nearer = elsewhere < NEARER * distances[neighbours].min()
    fits = detours[best] < FITS * detours[own]
    aside = detours[own] > ASIDE * np.sqrt(distances[own] * distances[own + 1])
    return (float(detours[own] - detours[best]) if nearer and fits and aside else 0.0), answer
