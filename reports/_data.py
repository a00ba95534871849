"""What one or several runs hold, indexed for statistics and figures; no text and no picture is made here."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from lm_probe.reports._audit import Audited, read_audits
from lm_probe.reports._comparable import left_out, lines
from lm_probe.reports._sizes import Size, size_in_name
from lm_probe.sweeps import RunStore


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


class Made(NamedTuple):
    """How one measurement was made."""

    checkpoint: Checkpoint
    probe: str
    identity: str
    dtype: str
    device: str
    attention: str
    seed: int
    seconds: float
    peak_memory: int
    versions: dict[str, str]
    config: dict[str, Any]
    details: dict[str, Any]
    config_hash: str
    id: int
    """Row of the table `measurements` in the run's `run.db`."""
    run: str
    """Which run, as briefly as tells several apart."""


class Failed(NamedTuple):
    """What went wrong; `probe` is '' where the checkpoint did not open."""

    checkpoint: Checkpoint
    probe: str
    error: str


class LeftOut(NamedTuple):
    """Checkpoints of a model where a probe or task ran under other settings than on most of its checkpoints."""

    checkpoints: Sequence[Checkpoint]
    probe: str
    how: str


class HeatMap(NamedTuple):
    """Cosines between neurons of one projection, in sorted order."""

    checkpoint: Checkpoint
    layer: int
    role: str
    cosines: Float[np.ndarray, " pairs"]
    """The upper triangle, row by row."""


Scores = dict[Checkpoint, Score]
Vectors = dict[Checkpoint, Float[np.ndarray, " k"]]
Profiles = dict[Checkpoint, dict[Place, Score]]
_Address = tuple[str, str, str | None]  # probe, metric, component


@dataclass(frozen=True)
class RunData:
    """Everything a report reads."""

    indexed: Mapping[_Address, Profiles]
    vectors: Mapping[str, Vectors]
    """By metric; of several components the one over all rows."""
    made: Sequence[Made]
    failed: Sequence[Failed]
    heat_maps: Sequence[HeatMap] = ()
    """Of the last checkpoint of each model: all of a long series would be hundreds of megabytes."""
    left_out: Sequence[LeftOut] = ()
    """Measurements that no figure or table shows beside the others, because they were asked otherwise."""
    audits: Sequence[Audited] = ()
    """By model, what the audit in front of the sweep looked at and found."""

    def scores(self, probe: str, metric: str, component: str | None = None) -> Scores:
        """The values of a metric that has no layer."""
        profiles = self.indexed.get((probe, metric, component), {})
        return {checkpoint: next(iter(places.values())) for checkpoint, places in profiles.items()}

    def profiles(self, probe: str, metric: str) -> Profiles:
        """The values of a metric at every layer and site."""
        return self.indexed.get((probe, metric, None), {})

    @cached_property
    def checkpoints(self) -> dict[str, list[Checkpoint]]:
        """The checkpoints of each model by step, also those that failed; narrow models first, then small ones."""
        seen = {made.checkpoint for made in self.made} | {failed.checkpoint for failed in self.failed}
        seen |= {checkpoint for profiles in self.indexed.values() for checkpoint in profiles}
        width = {checkpoint.model: len(sigma) for checkpoint, sigma in self.vectors["singular_values"].items()}
        found: dict[str, list[Checkpoint]] = {}
        for checkpoint in sorted(seen, key=_order):
            found.setdefault(checkpoint.model, []).append(checkpoint)
        size = {model: self._size(model) for model in found}

        def order(model: str) -> tuple[int, float, str]:
            known = size[model]
            return width.get(model, 0), known.parameters if known else 0.0, model

        return {model: found[model] for model in sorted(found, key=order)}

    @cached_property
    def sizes(self) -> dict[str, Size]:
        """The models whose size is known, smallest first: counted when they were measured, else as named."""
        known = {model: size for model in self.models if (size := self._size(model))}
        return dict(sorted(known.items(), key=lambda one: one[1].parameters))

    def _size(self, model: str) -> Size | None:
        count = self._parameters.get(model)
        return size_in_name(model) if count is None else Size(float(count), counted=True)

    @cached_property
    def _parameters(self) -> dict[str, int]:
        return {made.checkpoint.model: made.details["parameters"] for made in self.made if "parameters" in made.details}

    def sample(self, checkpoint: Checkpoint) -> str | None:
        """Digest of the tokens on which a checkpoint's loss was measured."""
        return self._samples.get(checkpoint)

    @cached_property
    def _samples(self) -> dict[Checkpoint, str | None]:
        return {made.checkpoint: made.details.get("sample") for made in self.made if made.probe == "loss"}

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return list(self.checkpoints)


def _order(checkpoint: Checkpoint) -> tuple[str, bool, int, str]:
    return checkpoint.model, checkpoint.step is None, checkpoint.step or 0, checkpoint.revision or ""


def load(runs: Sequence[Path]) -> RunData:
    """Reads runs; a model that several of them hold gets its run's name before its own.

    Raises:
        UserError: a folder holds no run.
    """
    folders = list({folder.resolve(): folder for folder in runs})
    labels = _labels(folders)
    parts = []
    for folder, label in zip(folders, labels, strict=True):
        with RunStore(folder) as store:
            parts.append(_read(store, label))
    holders = Counter(model for part in parts for model in part.models)
    index: dict[_Address, Profiles] = {}
    vectors: dict[str, Vectors] = {metric: {} for metric in _VECTORS}
    made: list[Made] = []
    failed: list[Failed] = []
    omitted: list[LeftOut] = []
    maps: list[HeatMap] = []
    audits: list[Audited] = []
    for part, label in zip(parts, labels, strict=True):

        def renamed(checkpoint: Checkpoint, label: str = label) -> Checkpoint:
            shared = holders[checkpoint.model] > 1
            return checkpoint._replace(model=f"{label}: {checkpoint.model}") if shared else checkpoint

        for address, profiles in part.indexed.items():
            index.setdefault(address, {}).update({renamed(key): places for key, places in profiles.items()})
        for metric, found in part.vectors.items():
            vectors[metric].update({renamed(key): vector for key, vector in found.items()})
        made += [row._replace(checkpoint=renamed(row.checkpoint)) for row in part.made]
        failed += [row._replace(checkpoint=renamed(row.checkpoint)) for row in part.failed]
        omitted += [row._replace(checkpoints=list(map(renamed, row.checkpoints))) for row in part.left_out]
        maps += [row._replace(checkpoint=renamed(row.checkpoint)) for row in part.heat_maps]
        audits += [row._replace(model=renamed(Checkpoint(row.model, None, None)).model) for row in part.audits]
    return RunData(index, vectors, made, failed, maps, omitted, audits)


_VECTORS = ("singular_values", "nats_by_cluster", "tokens_by_cluster")


def _labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    longest = max((len(folder.parts) for folder in folders), default=1)
    for length in range(1, longest + 1):
        labels = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(labels)) == len(labels):
            break
    return labels


def _read(store: RunStore, label: str) -> RunData:
    measurements = [row | {"run": label} for row in _records(store.measurements())]
    pairs = left_out(measurements)
    omitted = {(_checkpoint(row), row["probe"], row["config_hash"]) for row, _ in pairs}
    rows = _records(store.values(provenance=True))
    index = _index(row for row in rows if (_checkpoint(row), row["probe"], row["settings"]) not in omitted)
    return RunData(
        indexed=index,
        vectors={
            metric: {
                _checkpoint(address): vector
                for address, vector in store.vectors(metric)
                if address["component"] in (None, "all_rows")
                and (_checkpoint(address), address["probe"], address["settings"]) not in omitted
            }
            for metric in _VECTORS
        },
        made=[
            Made(_checkpoint(row), *(row[name] for name in Made._fields[1:]))
            for row in measurements
            if (_checkpoint(row), row["probe"], row["config_hash"]) not in omitted
        ],
        failed=[Failed(_checkpoint(row), str(row["probe"]), str(row["error"])) for row in _records(store.failures())],
        heat_maps=_heat_maps(store, measurements),
        left_out=[LeftOut(list(map(_checkpoint, rows)), name, how) for _, name, rows, how in lines(pairs)],
        audits=read_audits(store),
    )


def of_values(values: pd.DataFrame) -> RunData:
    """What a table with the columns of `Value` holds: no vectors, and nothing on how it was measured."""
    return RunData(_index(_records(values)), {metric: {} for metric in _VECTORS}, [], [])


def _index(rows: Iterable[Mapping[str, Any]]) -> dict[_Address, Profiles]:
    index: dict[_Address, Profiles] = {}
    for row in rows:
        address = (str(row["probe"]), str(row["metric"]), row["component"])
        place = Place(-1 if row["layer"] is None else int(row["layer"]), row["site"] or "")
        score = Score(float(row["value"]), row["stderr"], None if row["n"] is None else int(row["n"]))
        index.setdefault(address, {}).setdefault(_checkpoint(row), {})[place] = score
    return index


def _heat_maps(store: RunStore, measurements: Sequence[Mapping[str, Any]]) -> list[HeatMap]:
    last = {row["model"]: row for row in measurements if row["probe"] == "condensation"}
    return [
        HeatMap(_checkpoint(address), int(address["layer"]), str(address["component"]), cosines)
        for row in last.values()
        for address, cosines in store.vectors("heat_map_cosines", (row["model"], row["revision"]))
        if address["layer"] is not None
    ]


def _checkpoint(row: Mapping[str, Any]) -> Checkpoint:
    step = row["step"]
    return Checkpoint(str(row["model"]), row["revision"], None if step is None else int(step))


def _records(frame: pd.DataFrame) -> Iterable[dict[str, Any]]:
    """Rows as dictionaries, with None for everything that is missing."""
    columns = [str(column) for column in frame.columns]
    for row in frame.itertuples(index=False, name=None):
        yield {
            column: None if cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)) else cell
            for column, cell in zip(columns, row, strict=True)
        }
