"""Whether the standard errors of `geometry` are right: reported over true, on drawn corpora of dependent tokens.

    python benchmarks/geometry_errors.py [--corpora 300]

Draws corpora from a population and measures each. True is the standard deviation of a value over the corpora, reported
the root of the mean squared standard error; at 300 corpora their ratio is itself known to about 5 %. A corpus is of
documents of 10 to 30 tokens with Zipf-like types, of which some come again, and states in 64 dimensions: a common mean,
and a falling spectrum of type, document and token, turned away from the axes. The spiked population has a rogue
dimension, a long first token, and documents that differ in six directions only; the plain one has none of these, and
the aimless one neither a common mean nor types: its mean cosine is near 0.

`anew` takes the frequency strata and the followed types from each corpus, as a sweep of another text would; elsewhere
they are the population's. Where only some corpora have an error, their share is given, from 5 % up.
"""

import argparse
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lm_probe.model_adapters import Site
from lm_probe.probes import Batch, GeometryState, Reading, Sampled

WIDTH, TYPES, SHORTEST, LONGEST = 64, 2000, 10, 30
COLUMNS = (  # population, documents, strata anew, share of the corpora
    ("spiked", 24, False, 1.0),
    ("spiked", 250, False, 1.0),
    ("spiked", 2500, False, 0.3),
    ("plain", 24, False, 1.0),
    ("plain", 250, False, 1.0),
    ("aimless", 250, False, 1.0),
    ("spiked", 250, True, 1.0),
)


class Population:
    """What all corpora are drawn from."""

    def __init__(self, kind: str) -> None:
        self._generator = torch.Generator().manual_seed(0)
        self._spiked = kind == "spiked"
        turn = torch.linalg.qr(self._normal(WIDTH, WIDTH)).Q
        self._axes = (torch.arange(1, WIDTH + 1).double() ** -0.5)[:, None] * turn
        self._mean = 0.25 * self._normal(WIDTH)
        self._types = self._normal(TYPES, WIDTH) @ self._axes
        self._first = 3 * self._normal(WIDTH) @ self._axes
        self.shares = 1 / (torch.arange(TYPES).double() + 3)
        if self._spiked:
            self._mean[7] = 1.2
        if kind == "aimless":
            self._mean, self._types = torch.zeros_like(self._mean), torch.zeros_like(self._types)

    def corpus(self, documents: int, seed: int) -> tuple[Batch, Tensor]:
        """Tokens and their states."""
        self._generator.manual_seed(seed)
        ids = torch.multinomial(self.shares, documents * LONGEST, True, generator=self._generator)
        ids = ids.view(documents, LONGEST)
        for position in range(1, LONGEST):  # a token in four comes again
            again = torch.rand(documents, generator=self._generator) < 0.25
            earlier = torch.randint(0, position, (documents,), generator=self._generator)
            ids[:, position] = torch.where(again, ids[torch.arange(documents), earlier], ids[:, position])
        lengths = torch.randint(SHORTEST, LONGEST + 1, (documents, 1), generator=self._generator)
        mask = torch.arange(LONGEST) < lengths
        spread = 6 if self._spiked else WIDTH
        topic = 0.6 * self._normal(documents, 1, spread) @ self._axes[:spread]
        states = self._mean + self._types[ids] + topic + 0.7 * self._normal(documents, LONGEST, WIDTH) @ self._axes
        if self._spiked:
            states[:, 0] = self._mean + self._first + topic[:, 0]
        return Batch(ids * mask, mask, torch.arange(documents), None), states

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._generator, dtype=torch.float64)


class Ratio(NamedTuple):
    """Reported over true standard error, and the share of corpora in which one was reported."""

    value: float
    share: float

    def __str__(self) -> str:
        return "-" if self.share < 0.05 else f"{self.value:.2f}" + f" ({self.share:.0%})" * (self.share < 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    columns = {}
    for name, documents, anew, share in COLUMNS:
        title = f"{name}, {documents * (SHORTEST + LONGEST) // 2}{', anew' * anew}"
        columns[title] = ratios(Population(name), documents, anew, round(share * args.corpora))
    print(f"{'reported / true at about n tokens':36}" + "".join(f"{title:>20}" for title in columns))
    for metric in next(iter(columns.values())):
        print(f"{metric:36}" + "".join(f"{column.get(metric, '-')!s:>20}" for column in columns.values()))


def ratios(population: Population, documents: int, anew: bool, corpora: int) -> dict[str, Ratio]:
    """By metric."""
    usual = (1e6 * population.shares / population.shares.sum()).long()
    values, errors = defaultdict(list), defaultdict(list)
    for seed in range(corpora):
        batch, states = population.corpus(documents, seed)
        counts = torch.bincount(batch.token_ids[batch.mask], minlength=TYPES) if anew else usual
        state = GeometryState(Sampled(documents, "cpu", False, counts), 512)
        state.see_hidden(Site(1, "block"), states, batch)
        for reading in state.result():
            assert isinstance(reading, Reading)
            values[reading.metric].append(reading.value)
            errors[reading.metric].append(np.nan if reading.stderr is None else reading.stderr)
    found = {}
    for metric, given in errors.items():
        known = ~np.isnan(given)
        squares = np.square(given)[known]
        ratio = np.sqrt(squares.mean()) / np.std(np.array(values[metric])[known]) if known.sum() > 1 else np.nan
        found[metric] = Ratio(float(ratio), float(known.mean()))
    return found


if __name__ == "__main__":
    main()
