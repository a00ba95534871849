"""Which two neighbours of a series have taken each other's place: pure mathematics on distances."""

import numpy as np
from jaxtyping import Float

BACKWARDS = -0.4
"""The most that the cosine between the way from one to the other and the way past both may be."""
NEARER = 0.75
"""How much smaller the squared distance across must be than that to the neighbour."""
FORWARDS = 0.2
"""The least that the same cosine must be where the series goes on, before and after."""
AROUND = 10
"""How far from the pair that is asked for."""
FEWEST = 4
"""At how many places at least."""
_APART = 3  # from here on neither of the two is among the four that a cosine is of


def exchanged(vectors: Float[np.ndarray, "n k"]) -> list[int]:
    """The places i at which vectors i and i + 1 of a series, in order, have been exchanged.

    Formula: with a = i - 1 before and d = i + 2 behind, the cosine of w_{i+1} - w_i and w_d - w_a. Whatever moves on
    has it positive, a random walk too (its step is part of the way past both), and noise around a point has 0; of
    exchanged neighbours it is as much below 0. They are named where all of this holds:

    - the cosine is below `BACKWARDS`;
    - each of the two is nearer to the far one of a and d: with less than `NEARER` of the squared distance;
    - up to `AROUND` places before and behind, wherever the pair takes no part, and that is at `FEWEST` or more, the
      cosine is above `FORWARDS`: the series has a direction there, and does not swing.

    Range: places 1 to n - 4, and none for n < 9: with less around them a swing cannot be told from an exchange.
    Invariances: translation, rotation, scale, reversal of the order. Cost: O(n k). Paper: none, the bars are chosen so
    that simulated random walks, lines and noise raise nothing.

    What it does not show: an exchange of the first two or the last two, of two pairs close to each other, within noise,
    or where steps grow about fourfold.
    """
    wide = np.asarray(vectors, dtype=np.float64)
    cosines = np.array([_cosine(*wide[at - 1 : at + 3]) for at in range(1, len(wide) - 2)])
    found = []
    for at in range(1, len(wide) - 2):
        beside = cosines[[other - 1 for other in range(1, len(wide) - 2) if _APART <= abs(other - at) <= AROUND]]
        a, one, other, d = wide[at - 1 : at + 3]
        across = _square(a - other) < NEARER * _square(a - one) and _square(d - one) < NEARER * _square(d - other)
        if cosines[at - 1] < BACKWARDS and across and len(beside) >= FEWEST and beside.min() > FORWARDS:
            found.append(at)
    return found


def _cosine(a: np.ndarray, one: np.ndarray, other: np.ndarray, d: np.ndarray) -> float:
    lengths = np.sqrt(_square(other - one) * _square(d - a))
    return float((other - one) @ (d - a) / lengths) if lengths else 0.0


def _square(vector: np.ndarray) -> float:
    return float(vector @ vector)
