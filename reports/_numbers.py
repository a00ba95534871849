"""Every value of a run in columns: millions of them fit, and become objects only where somebody looks at them."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Int

T = TypeVar("T")
Row = tuple[Any, ...]
_KEPT = 200_000
"""Values that are kept as objects for the next look."""
_MOST = 1 << 15
"""More metrics, components or sites than any run has."""
_COLUMNS = ["of", "metric", "layer", "site", "component", "value", "error", "n"]
_ROW = np.dtype([("address", "i8"), ("owner", "i4"), ("place", "i4"), ("value", "f8"), ("stderr", "f8"), ("n", "i8")])


class Checkpoint(NamedTuple):
    """A model at one point of its training."""

    model: str
    revision: str | None
    step: int | None

    @property
    def when(self) -> str:
        """How it is called among the checkpoints of its model."""
        return f"step {self.step}" if self.step is not None else self.revision or "only checkpoint"


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


class _Codes:
    """Numbers for names."""

    def __init__(self) -> None:
        self._numbers: dict[str | None, int] = {}

    def code(self, name: str | None) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def of(self, column: "pd.Series[Any]") -> Int[np.ndarray, " v"]:
        codes, names = pd.factorize(column, use_na_sentinel=False)
        return np.asarray(np.array([self.code(None if pd.isna(one) else one) for one in names], dtype=int)[codes])

    def name(self, code: int) -> str | None:
        return list(self._numbers)[code]


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
        metrics, components, sites, probes = (_Codes() for _ in range(4))
        checkpoints: dict[Checkpoint, int] = {}
        parts = [np.zeros(0, dtype=_ROW)]
        for chunks, measurements in runs:
            # By row of `measurements`; -1 for what is left out.
            owners, kinds = np.full((2, max(measurements, default=0) + 1), -1)
            for number, (checkpoint, probe) in measurements.items():
                owners[number] = checkpoints.setdefault(checkpoint, len(checkpoints))
                kinds[number] = probes.code(probe)
            for rows in chunks:
                frame = pd.DataFrame(rows, columns=_COLUMNS)
                frame = frame[np.isin(frame["of"], list(measurements))]
                part = np.empty(len(frame), dtype=_ROW)
                of = frame["of"].to_numpy(int)
                names = metrics.of(frame["metric"]) * _MOST + components.of(frame["component"])
                part["owner"], part["address"] = owners[of], kinds[of] * _MOST**2 + names
                part["place"] = (frame["layer"].fillna(-1).to_numpy(int) + 1) * _MOST + sites.of(frame["site"])
                part["value"], part["stderr"] = frame["value"], frame["error"].to_numpy(float)
                part["n"] = frame["n"].fillna(-1)
                parts.append(part)
        table = np.concatenate(parts)
        del parts
        found, table["address"] = np.unique(table["address"], return_inverse=True)
        where, table["place"] = np.unique(table["place"], return_inverse=True)
        self._addresses = {
            Address(
                probes.name(int(code) // _MOST**2) or "",
                metrics.name(int(code) // _MOST % _MOST) or "",
                components.name(int(code) % _MOST),
            ): number
            for number, code in enumerate(found)
        }
        self._places = [Place(int(code) // _MOST - 1, sites.name(int(code) % _MOST) or "") for code in where]
        self._checkpoints = checkpoints
        self._names = list(checkpoints)
        ranks = _rank(checkpoints, by_step), _rank({one: at for at, one in enumerate(self._places)}, _from_below)
        key = table["address"] * max(len(checkpoints), 1) + ranks[0][table["owner"]]
        key = key * max(len(self._places), 1) + ranks[1][table["place"]]
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
        """All that have a value, or could have one, in no order."""
        return self._names

    def holders(self, address: Address) -> list[Checkpoint]:
        """The checkpoints that have this quantity, by step."""
        return [self._names[at] for at in dict.fromkeys(self._rows(address)["owner"].tolist())]

    def profile(self, address: Address, checkpoint: Checkpoint) -> dict[Place, Score]:
        """One checkpoint's values of a quantity, without making objects of the others."""
        rows = self._rows(address)
        return self._profiles(rows[rows["owner"] == self._checkpoints[checkpoint]]).get(checkpoint, {})

    def _rows(self, address: Address) -> np.ndarray:
        code = self._addresses[address]
        return self._table[self._starts[code] : self._starts[code + 1]]

    def _profiles(self, rows: np.ndarray) -> Profiles:
        found: Profiles = {}
        for _, owner, place, value, stderr, n in rows.tolist():
            score = Score(value, None if stderr != stderr else stderr, None if n < 0 else n)
            found.setdefault(self._names[owner], {})[self._places[place]] = score
        return found


def by_step(checkpoint: Checkpoint) -> tuple[str, bool, int, str]:
    """Orders checkpoints: by model, then step; those without one last."""
    return checkpoint.model, checkpoint.step is None, checkpoint.step or 0, checkpoint.revision or ""


def _from_below(place: Place) -> tuple[int, int]:
    sites = ("embedding", "block", "final_norm")
    return place.layer, sites.index(place.site) if place.site in sites else len(sites)


def _rank(numbered: Mapping[T, int], key: Callable[[T], tuple[Any, ...]]) -> Int[np.ndarray, " t"]:
    """The place of each in sorted order, by its number."""
    ranks = np.zeros(len(numbered), dtype=np.int64)
    ranks[[numbered[one] for one in sorted(numbered, key=key)]] = np.arange(len(numbered))
    return ranks
