"""Which checkpoints of a path lie where they should not: on paths whose truth is known."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from lm_probe.sweeps._exchanged import exchanged
from lm_probe.sweeps._misplaced import misplaced


def _walk(rng: np.random.Generator, steps: np.ndarray, width: int) -> np.ndarray:
    moves = rng.normal(size=(len(steps), width)) * np.sqrt(np.diff(steps, prepend=steps[0]))[:, None]
    return moves.cumsum(0)


_PACES = {
    "even": np.arange(20.0),
    "doubling": np.r_[0, 2.0 ** np.arange(19)],
    "fourfold": np.r_[0, 4.0 ** np.arange(9)],
}
_CLEAN: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "walk": lambda rng, t: _walk(rng, t, 512),
    "line": lambda rng, t: np.outer(t, rng.normal(size=512)),
    "converged": lambda rng, t: rng.normal(size=(len(t), 512)),
    "spikes": lambda rng, t: rng.normal(size=(len(t), 512)) * rng.choice([0.1, 10], size=(len(t), 1)),
    "rounded to nothing": lambda rng, t: np.ones((len(t), 512)) + 1e-12 * rng.normal(size=(len(t), 512)),
    "stands still": lambda rng, t: (
        np.outer(np.minimum(t, t[len(t) // 2]), rng.normal(size=512)) * (1 + 1e-10 * rng.normal(size=(len(t), 512)))
    ),
    "the same": lambda rng, t: np.ones((len(t), 512)),
    "noisy walk": lambda rng, t: _walk(rng, t, 512) + rng.normal(size=(len(t), 512)) * np.sqrt(t[-1] / 9),
}


@pytest.mark.parametrize("pace", sorted(_PACES))
@pytest.mark.parametrize("kind", sorted(_CLEAN))
def test_no_clean_path_is_suspected(kind: str, pace: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        path = _CLEAN[kind](rng, _PACES[pace])
        for length in (1, 2, 3, 4, len(path)):
            assert misplaced(path[:length]) == [] == exchanged(path[:length])


@pytest.mark.parametrize("pace", ["even", "doubling"])
def test_what_was_moved_is_named_with_its_place(pace: str) -> None:
    """And not those that lose a neighbour by it."""
    rng, steps = np.random.default_rng(2), _PACES[pace]
    for place, origin in itertools.permutations(range(len(steps)), 2):
        if abs(place - origin) < 5 or origin == 0:  # before the first there is only its copy
            continue
        between = steps[max(0, origin - 1) : origin + 1].mean()
        path = _walk(rng, np.insert(steps, origin, between), 512)
        moved, path = path[origin], np.delete(path, origin, 0)
        path[place] = moved
        (found,) = misplaced(path)
        assert exchanged(path) == []
        assert found.place == place and {max(0, origin - 1), origin} & set(found.between)
        assert [one.place for one in misplaced(3 - 2 * path[::-1])] == [len(steps) - 1 - place]


@pytest.mark.parametrize("pace", ["even", "doubling"])
def test_exchanged_neighbours_are_named(pace: str) -> None:
    """Nearly all but the first two and the last two, which cannot be told, and no others."""
    rng, steps, hits = np.random.default_rng(3), _PACES[pace], 0
    for _ in range(3):
        path = _walk(rng, steps, 512) + np.outer(steps, rng.normal(size=512)) * rng.choice([0, 0.5])
        for place in range(len(steps) - 1):
            turned = path.copy()
            turned[[place, place + 1]] = path[[place + 1, place]]
            found = exchanged(turned)
            assert not found or found == [place]
            hits += len(found)
    assert hits > 0.95 * 3 * (len(steps) - 3)


@pytest.mark.parametrize("directions", [1, 64])
def test_a_swing_is_no_exchange(directions: int) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        path = _walk(rng, np.arange(60.0), 512)
        path[20:, :directions] += 40 * rng.choice([-1, 1], size=(40, 1)) / np.sqrt(directions)
        assert exchanged(path) == []
