"""How often `measure_comovement` calls two series associated: pairs with nothing in common, and pairs with a share.

python benchmarks/comovement_alarms.py --pairs 600
"""

import argparse
from collections.abc import Callable

import numpy as np

from lm_probe.reports import measure_comovement

Pair = tuple[np.ndarray, np.ndarray]
EVEN = np.arange(1, 41) * 1000.0
PUBLISHED = np.r_[2.0 ** np.arange(10), np.arange(1, 40) * 1000.0]  # as the Pythia suite begins
THINNED = np.r_[0, 2.0 ** np.arange(10), 1000 + 9000.0 * np.arange(16)]  # the 27 of the published evaluations
SHORT = np.r_[0, 2.0 ** np.arange(10)]
TWELVE = np.r_[0, 2.0 ** np.arange(11)]
FORTY = np.r_[2.0 ** np.arange(10), np.arange(1, 31) * 1000.0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=600)
    pairs = parser.parse_args().pairs
    for name, (steps, drawn) in {**NOTHING_IN_COMMON, **SHARED}.items():
        called = 0
        for seed in range(pairs):
            first, second = drawn(steps, np.random.default_rng([7, seed]))
            called += measure_comovement(first, second, steps=steps, draws=199, seed=seed).p_value <= 0.05
        print(f"{name} ({len(steps)} checkpoints): {called / pairs:.1%}", flush=True)


def time(steps: np.ndarray) -> np.ndarray:
    return np.log1p(steps)


def decay(steps: np.ndarray, rate: float) -> np.ndarray:
    return 2 + 8 * np.exp(-time(steps) / rate)


def noise(steps: np.ndarray, generator: np.random.Generator, size: float = 0.01) -> np.ndarray:
    return size * generator.standard_normal(len(steps))


def walk(steps: np.ndarray, generator: np.random.Generator, correlation: float = 0.0) -> np.ndarray:
    """A random walk whose changes correlate with their neighbours."""
    return np.cumsum(own(steps, generator, correlation))


def own(steps: np.ndarray, generator: np.random.Generator, correlation: float) -> np.ndarray:
    drawn = generator.standard_normal(len(steps) + 40)
    return np.convolve(drawn, correlation ** np.arange(30.0))[40 : 40 + len(steps)]


def sharing(part: float, correlation: float = 0.0) -> Callable[[np.ndarray, np.random.Generator], Pair]:
    """Changes of which a part is common to both, about two drifts."""

    def drawn(steps: np.ndarray, generator: np.random.Generator) -> Pair:
        common = own(steps, generator, correlation)
        other = part * common + np.sqrt(1 - part**2) * own(steps, generator, correlation)
        return 0.05 * common.cumsum() - 0.1 * time(steps), 0.05 * other.cumsum() + 0.1 * time(steps)

    return drawn


def rises(steps: np.ndarray, at: float) -> np.ndarray:
    return 1 / (1 + np.exp(-3 * (time(steps) - at)))


def rising_together(steps: np.ndarray, generator: np.random.Generator) -> Pair:
    at = generator.uniform(8, 9.5)
    first = -rises(steps, at) - 0.05 * time(steps)
    return first + noise(steps, generator, 0.02), rises(steps, at) + noise(steps, generator, 0.02)


def two_decays(steps: np.ndarray, generator: np.random.Generator) -> Pair:
    return decay(steps, 3) + noise(steps, generator), decay(steps, 4) + noise(steps, generator)


def large_and_small_decay(steps: np.ndarray, generator: np.random.Generator) -> Pair:
    return decay(steps, 3) + noise(steps, generator), decay(steps, 4) / 8 + noise(steps, generator)


def decay_and_drift(steps: np.ndarray, generator: np.random.Generator) -> Pair:
    return decay(steps, 3) + noise(steps, generator), 0.1 * time(steps) + noise(steps, generator)


def step(steps: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return (np.arange(len(steps)) >= generator.integers(1, len(steps))).astype(float)


def deviating(steps: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The same value at all checkpoints but one."""
    return 0.5 + 0.05 * (np.arange(len(steps)) == generator.integers(len(steps)))


def loss(steps: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return 3 + 7 / (1 + steps) ** 0.3 + noise(steps, generator, 0.02)


def rounded_losses(steps: np.ndarray, generator: np.random.Generator) -> Pair:
    return loss(steps, generator).round(1), loss(steps, generator).round(1)


def rounded_walks(steps: np.ndarray, generator: np.random.Generator) -> Pair:
    """About every fourth change is 0."""
    return (1.5 * walk(steps, generator)).round() / 10, (1.5 * walk(steps, generator)).round() / 10


NOTHING_IN_COMMON: dict[str, tuple[np.ndarray, Callable[[np.ndarray, np.random.Generator], Pair]]] = {
    "two random walks": (PUBLISHED, lambda s, g: (walk(s, g), walk(s, g))),
    "a decay and a random walk": (PUBLISHED, lambda s, g: (decay(s, 3) + noise(s, g), walk(s, g))),
    "a decay and a drift": (PUBLISHED, decay_and_drift),
    "two decays": (PUBLISHED, two_decays),
    "two decays, thinned": (THINNED, two_decays),
    "two decays, short": (SHORT, two_decays),
    "a large and a small decay": (PUBLISHED, large_and_small_decay),
    "a large and a small decay, thinned": (THINNED, large_and_small_decay),
    "a large and a small decay, short": (SHORT, large_and_small_decay),
    "two decays over even steps": (
        EVEN,
        lambda s, g: (decay(s, 3) + noise(s, g), np.exp(-s / 8000) + noise(s, g)),
    ),
    "a decay and a rise elsewhere": (
        PUBLISHED,
        lambda s, g: (decay(s, 3) + noise(s, g), rises(s, g.uniform(2, 9)) + noise(s, g)),
    ),
    "noise without drift": (EVEN, lambda s, g: (noise(s, g), noise(s, g))),
    "walks, changes correlated 0.4": (EVEN, lambda s, g: (walk(s, g, 0.4), walk(s, g, 0.4))),
    "drifting walks, changes correlated 0.4": (
        PUBLISHED,
        lambda s, g: (decay(s, 3) + 0.02 * walk(s, g, 0.4), 0.1 * time(s) + 0.02 * walk(s, g, 0.4)),
    ),
    "a loss and a constant": (np.arange(80) * 1000.0, lambda s, g: (loss(s, g), np.full(len(s), 0.5))),
    "two single steps": (TWELVE, lambda s, g: (step(s, g), step(s, g))),
    "a loss and a single step": (TWELVE, lambda s, g: (loss(s, g), step(s, g))),
    "a loss and one deviating checkpoint": (TWELVE, lambda s, g: (loss(s, g), deviating(s, g))),
    "two losses, long": (np.r_[TWELVE, np.arange(2, 90) * 1000.0], lambda s, g: (loss(s, g), loss(s, g))),
    "two losses, rounded": (np.arange(40.0), rounded_losses),
    "two walks, rounded, short": (TWELVE, rounded_walks),
    "two walks, rounded": (FORTY, rounded_walks),
}
SHARED = {
    "changes that correlate 0.7": (PUBLISHED, sharing(0.7)),
    "the same, thinned": (THINNED, sharing(0.7)),
    "the same, neighbours correlated 0.4": (EVEN, sharing(0.7, 0.4)),
    "changes that correlate 0.9, short": (SHORT, sharing(0.9)),
    "a rise at the same place": (PUBLISHED, rising_together),
}

if __name__ == "__main__":
    main()
