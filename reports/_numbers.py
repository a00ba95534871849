"""Every value of a run in columns: millions of them fit, and become objects only where somebody looks at them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
Row = tuple[Any, ...]
_KEPT = 200_000
"""Values that are kept as objects for the next look."""
_MOST = 1 << 32
"""More pairs of metric and component than any run has."""
_ROUNDING = 1e-13
"""Of a value: a standard error below it is what sums of equal numbers leave over in float64, here or in a file."""
_ROW = np.dtype([("address", "i8"), ("owner", "i4"), ("place", "i4"), ("value", "f8"), ("stderr", "f8"), ("n", "i8")])


class Checkpoint(NamedTuple):
    """A model at one point of its training."""

    model: str
    revision: str | None
    step: int | None

    @property
    def when(self) -> str:
        """How it is called among the checkpoints of its model."""
        return f"step {self.step:,}" if self.step is not None else self.revision or "only checkpoint"


class Score(NamedTuple):
    """A stored value without its address."""

    value: float
    stderr: float | None
    n: int | None


class Place(NamedTuple):
    """A site in a model."""

    layer: int
    site: str


class Address(NamedTuple):
    """Which quantity."""

    probe: str
    metric: str
    component: str | None


Owner = tuple[Checkpoint, str]
Scores = dict[Checkpoint, Score]
Profiles = dict[Checkpoint, dict[Place, Score]]


class Grid(NamedTuple):
    """One quantity of one model, as arrays; NaN where there is none."""

    checkpoints: list[Checkpoint]
    """By step."""
    places: list[Place]
    """From the embedding up."""
    value: Float[np.ndarray, "checkpoints places"]
    stderr: Float[np.ndarray, "checkpoints places"]
    n: Float[np.ndarray, "checkpoints places"]


class _Codes(dict[K, int]):
    """Numbers for things, in the order in which they are first asked for."""

    def __missing__(self, thing: K) -> int:
        self[thing] = len(self)
        return self[thing]

    def of(self, things: Iterable[K]) -> Int[np.ndarray, " v"]:
        return np.array(list(map(self.__getitem__, things)), dtype=np.int64)


class Numbers(Mapping[Address, Profiles]):
    """Values by address, then checkpoint, then place; checkpoints by step, places from the embedding up."""

    def __init__(
        self, runs: Iterable[tuple[Iterable[Sequence[Row]], Mapping[int, tuple[Checkpoint, str]]]] = ()
    ) -> None:
        """Reads and sorts them.

        Args:
            runs: for each run its values as `RunStore.value_rows` gives them, and checkpoint and probe of its
                measurements; values of others are left out.
        """
        quantities: _Codes[tuple[str, str | None]] = _Codes()
        places: _Codes[tuple[int | None, str | None]] = _Codes()
        probes: _Codes[str] = _Codes()
        checkpoints: _Codes[Checkpoint] = _Codes()
        parts = [np.zeros(0, dtype=_ROW)]
        for chunks, measurements in runs:
            # By row of `measurements`.
            owners, kinds = np.zeros((2, max(measurements, default=0) + 1), dtype=np.int64)
            for number, (checkpoint, probe) in measurements.items():
                owners[number], kinds[number] = checkpoints[checkpoint], probes[probe]
            for chunk in chunks:
                if not (rows := [row for row in chunk if row[0] in measurements]):
                    continue
                of, metric, layer, site, component, *numbers = zip(*rows, strict=True)
                made = np.array(of)
                part = np.empty(len(rows), dtype=_ROW)
                part["owner"] = owners[made]
                part["address"] = kinds[made] * _MOST + quantities.of(zip(metric, component, strict=True))
                part["place"] = places.of(zip(layer, site, strict=True))
                part["value"], part["stderr"], n = (np.array(one, dtype=float) for one in numbers)
                part["stderr"][part["stderr"] < _ROUNDING * np.abs(part["value"])] = 0
                part["n"] = np.nan_to_num(n, nan=-1)
                parts.append(part)
        table = np.concatenate(parts)
        del parts
        found, table["address"] = np.unique(table["address"], return_inverse=True)
        named, kinds_of = list(quantities), list(probes)
        self._addresses = {
            Address(kinds_of[code // _MOST], *named[code % _MOST]): number for number, code in enumerate(found.tolist())
        }
        known = [Place(-1 if layer is None else int(layer), site or "") for layer, site in places]
        self._places, ranks = _sorted(known, from_below)
        table["place"] = ranks[table["place"]]
        self._names, ranks = _sorted(list(checkpoints), by_step)
        table["owner"] = ranks[table["owner"]]
        self._checkpoints = {one: number for number, one in enumerate(self._names)}
        key = table["address"] * max(len(self._names), 1) + table["owner"]
        key = key * max(len(self._places), 1) + table["place"]
        self._table = table[np.argsort(key, kind="stable")]
        self._starts = np.searchsorted(self._table["address"], np.arange(len(self._addresses) + 1))
        self._cache: OrderedDict[Address, Profiles] = OrderedDict()

    def __len__(self) -> int:
        return len(self._addresses)

    def __iter__(self) -> Iterator[Address]:
        return iter(self._addresses)

    def __contains__(self, address: object) -> bool:
        return address in self._addresses

    def __getitem__(self, address: Address | tuple[str, str, str | None]) -> Profiles:
        wanted = Address(*address)
        if wanted not in self._cache:
            self._cache[wanted] = self._profiles(self._rows(wanted))
            while len(self._cache) > 1 and sum(len(self._rows(one)) for one in self._cache) > _KEPT:
                self._cache.popitem(last=False)
        self._cache.move_to_end(wanted)
        return self._cache[wanted]

    @property
    def checkpoints(self) -> Sequence[Checkpoint]:
        """All that have a value, or could have one."""
        return self._names

    def holders(self, address: Address) -> list[Checkpoint]:
        """The checkpoints that have this quantity, by step."""
        return [self._names[at] for at in dict.fromkeys(self._rows(address)["owner"].tolist())]

    def profile(self, address: Address, checkpoint: Checkpoint) -> dict[Place, Score]:
        """One checkpoint's values of a quantity, without making objects of the others."""
        rows = self._rows(address)
        return self._profiles(rows[rows["owner"] == self._checkpoints[checkpoint]]).get(checkpoint, {})

    def grids(self, address: Address) -> dict[str, Grid]:
        """A quantity of each model that has it as arrays, without making objects of its values."""
        rows = self._rows(address)
        models = [self._names[owner].model for owner in rows["owner"].tolist()]
        starts = [place for place, model in enumerate(models) if place == 0 or model != models[place - 1]]
        return {
            models[start]: self._grid(rows[start:stop])
            for start, stop in zip(starts, [*starts[1:], len(models)], strict=True)
        }

    def _grid(self, rows: np.ndarray) -> Grid:
        owners, row = np.unique(rows["owner"], return_inverse=True)
        places, column = np.unique(rows["place"], return_inverse=True)
        cells = np.full((3, len(owners), len(places)), np.nan)
        sizes = np.where(rows["n"] < 0, np.nan, rows["n"])
        cells[:, row, column] = rows["value"], rows["stderr"], sizes
        return Grid([self._names[at] for at in owners], [self._places[at] for at in places], *cells)

    def _rows(self, address: Address) -> np.ndarray:
        code = self._addresses[address]
        return self._table[self._starts[code] : self._starts[code + 1]]

    def _profiles(self, rows: np.ndarray) -> Profiles:
        found: Profiles = {}
        columns = (rows[name].tolist() for name in ("owner", "place", "value", "stderr", "n"))
        for owner, place, value, stderr, n in zip(*columns, strict=True):
            score = Score(value, None if stderr != stderr else stderr, None if n < 0 else n)
            found.setdefault(self._names[owner], {})[self._places[place]] = score
        return found


def by_step(checkpoint: Checkpoint) -> tuple[str, bool, int, str]:
    """Orders checkpoints: by model, then step; those without one last."""
    return checkpoint.model, checkpoint.step is None, checkpoint.step or 0, checkpoint.revision or ""


def from_below(place: Place) -> tuple[int, int]:
    """Orders places: in that of a forward pass."""
    sites = ("embedding", "block", "final_norm")
    return place.layer, sites.index(place.site) if place.site in sites else len(sites)


def _sorted(things: Sequence[T], key: Callable[[T], tuple[Any, ...]]) -> tuple[list[T], Int[np.ndarray, " t"]]:
    """Things in order, and the place of each in it."""
    order = sorted(range(len(things)), key=lambda at: key(things[at]))
    ranks = np.zeros(len(things), dtype=np.int64)
    ranks[order] = np.arange(len(things))
    return [things[at] for at in order], ranks
