"""Reads one or several runs into what a report works on."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm_probe.reports._audit import Audited, read_audits
from lm_probe.reports._comparable import beside, left_out, lines, of_token_rows, other_rows, rows_for_tokens
from lm_probe.reports._data import Checkpoint, Failed, HeatMap, LeftOut, Made, NotAsked, RunData, Vectors
from lm_probe.reports._numbers import Numbers, by_step
from lm_probe.reports._outcomes import Samples, sample_files
from lm_probe.reports._sizes import in_run
from lm_probe.reports._statistics import final
from lm_probe.sweeps import RunStore

_AT_A_TIME = 2_000  # values: of more live tuples the garbage collector looks through the whole heap again and again
# Each with the probe that it is taken from: the embedding has singular values too.
_VECTORS = {"singular_values": "head_spectrum", "nats_by_cluster": "loss", "tokens_by_cluster": "loss"}


class _Run:
    """One run, whose models may get its label behind their names."""

    def __init__(self, store: RunStore, label: str) -> None:
        self._store = store
        self._label = label
        self._failures = list(_records(store.failures()))
        measured = [row | {"run": label} for row in _records(store.measurements())]
        self._left_out = left_out(measured)
        omitted = {row["id"] for row, _ in self._left_out}
        self._measured = [row for row in measured if row["id"] not in omitted]
        self._other_rows = other_rows(self._measured)
        self._left_out += beside(_records(store.measurements(on_any_prompts=True)), measured, self._measured)
        self.models = {str(row["model"]) for row in (*measured, *self._failures)}
        self.shared: set[str] = set()
        """Models that other runs hold as well."""

    def checkpoint(self, row: Mapping[str, Any]) -> Checkpoint:
        step = row["step"]
        return Checkpoint(self._name(str(row["model"])), row["revision"], None if step is None else int(step))

    def _name(self, model: str) -> str:
        return in_run(model, self._label) if model in self.shared else model

    @property
    def owners(self) -> dict[int, tuple[Checkpoint, str]]:
        return {row["id"]: (self.checkpoint(row), str(row["probe"])) for row in self._measured}

    def value_rows(self) -> Iterator[list[tuple[Any, ...]]]:
        """As `RunStore.value_rows`, without the components that are over other rows than elsewhere."""
        parts = {row["id"]: of_token_rows(row) for row, _ in self._other_rows}
        for chunk in self._store.value_rows(_AT_A_TIME):
            yield [row for row in chunk if row[4] not in parts.get(row[0], ())] if parts else chunk

    def vectors(self, metric: str) -> Vectors:
        kept = {(row["model"], row["revision"], row["probe"], row["config_hash"]) for row in self._measured}
        return {
            self.checkpoint(at): vector
            for at, vector in self._store.vectors(metric, layers=False)
            if at["probe"] == _VECTORS[metric]
            and at["component"] in (None, "all_rows")
            and (at["model"], at["revision"], at["probe"], at["settings"]) in kept
        }

    def made(self) -> list[Made]:
        return [Made(self.checkpoint(row), *(row[name] for name in Made._fields[1:])) for row in self._measured]

    def failed(self) -> list[Failed]:
        return self._failed(self._failures)

    def failed_earlier(self) -> list[Failed]:
        return self._failed(_records(self._store.failures(earlier=True)))

    def _failed(self, rows: Iterable[Mapping[str, Any]]) -> list[Failed]:
        return [
            Failed(self.checkpoint(row), str(row["probe"]), str(row["error"]), int(row["measurements"])) for row in rows
        ]

    def not_asked(self) -> list[NotAsked]:
        """Checkpoints of a model that lack the same tasks together, with the first of the reasons."""
        steps = {(row["model"], row["revision"]): row["step"] for row in (*self._measured, *self._failures)}
        lacking: dict[tuple[str, str | None], dict[str, str]] = {}
        for row in _records(self._store.left_out()):
            lacking.setdefault((row["model"], row["revision"]), {})[row["task"]] = row["why"]
        alike: dict[tuple[str, tuple[str, ...]], list[tuple[str, str | None]]] = {}
        for where, reasons in lacking.items():
            alike.setdefault((where[0], tuple(reasons)), []).append(where)
        return [
            NotAsked(
                sorted(
                    (
                        self.checkpoint({"model": model, "revision": at, "step": steps.get((model, at))})
                        for _, at in all_
                    ),
                    key=by_step,
                ),
                tasks,
                lacking[all_[0]][tasks[0]],
            )
            for (model, tasks), all_ in alike.items()
        ]

    def omitted(self) -> list[LeftOut]:
        whole = [
            LeftOut([self.checkpoint(row) for row in rows], name, how) for _, name, rows, how in lines(self._left_out)
        ]
        return whole + [
            LeftOut([self.checkpoint(row) for row in rows], name, how, sorted(of_token_rows(rows[0])))
            for _, name, rows, how in lines(self._other_rows, rows_for_tokens)
        ]

    def audits(self) -> list[Audited]:
        return [row._replace(model=self._name(row.model)) for row in read_audits(self._store)]

    def heat_maps(self) -> list[HeatMap]:
        """Of the first and the last checkpoint of each model."""
        known: dict[str, list[Checkpoint]] = {}
        keys = {}
        for row in self._measured:
            if row["probe"] == "condensation":
                one = self.checkpoint(row)
                known.setdefault(one.model, []).append(one)
                keys[one] = row["model"], row["revision"]
        ends: dict[Checkpoint, None] = {}
        for own in known.values():
            ordered = sorted(own, key=by_step)
            ends |= dict.fromkeys((ordered[0], final(ordered)))
        return [
            HeatMap(one, int(address["layer"]), str(address["component"]), cosines)
            for one in ends
            for address, cosines in self._store.vectors("heat_map_cosines", keys[one])
            if address["layer"] is not None
        ]

    def samples(self) -> dict[tuple[Checkpoint, str], Path]:
        return sample_files(self._store.folder, ((self.checkpoint(row), row) for row in self._measured))

    def places(self) -> Iterable[tuple[tuple[str, int | str | None], Checkpoint]]:
        for row in self._measured:
            at = row["revision"] if row["step"] is None else int(row["step"])
            yield (str(row["model"]), at), self.checkpoint(row)


def load(runs: Sequence[Path]) -> RunData:
    """Reads runs; a model that several of them hold gets its run's name behind its own.

    Raises:
        UserError: a folder holds no run.
    """
    folders = list({folder.resolve(): folder for folder in runs})
    with ExitStack() as stack:
        stores = [stack.enter_context(RunStore(folder)) for folder in folders]
        parts = [_Run(store, label) for store, label in zip(stores, _labels(folders), strict=True)]
        holders = Counter(model for part in parts for model in part.models)
        for part in parts:
            part.shared = {model for model in part.models if holders[model] > 1}
        return RunData(
            indexed=Numbers((part.value_rows(), part.owners) for part in parts),
            vectors={
                metric: {one: vector for part in parts for one, vector in part.vectors(metric).items()}
                for metric in _VECTORS
            },
            made=[row for part in parts for row in part.made()],
            failed=[row for part in parts for row in part.failed()],
            failed_earlier=[row for part in parts for row in part.failed_earlier()],
            not_asked=[row for part in parts for row in part.not_asked()],
            heat_maps=[row for part in parts for row in part.heat_maps()],
            left_out=[row for part in parts for row in part.omitted()],
            audits=[row for part in parts for row in part.audits()],
            samples=Samples({key: path for part in parts for key, path in part.samples().items()}),
            twins=_twins(parts),
        )


def of_values(values: pd.DataFrame) -> RunData:
    """What a table with the columns of `Value` holds: no vectors, and nothing on how it was measured."""
    numbers: dict[tuple[Checkpoint, str], int] = {}
    rows = []
    for row in _records(values):
        step = row["step"]
        checkpoint = Checkpoint(str(row["model"]), row["revision"], None if step is None else int(step))
        number = numbers.setdefault((checkpoint, str(row["probe"])), len(numbers))
        rows.append((number, *(row[name] for name in ("metric", "layer", "site", "component", "value", "stderr", "n"))))
    owners = {number: owner for owner, number in numbers.items()}
    return RunData(Numbers([([rows] if rows else [], owners)]), {metric: {} for metric in _VECTORS}, [], [])


def _twins(parts: Sequence[_Run]) -> list[tuple[Checkpoint, Checkpoint]]:
    """The same model at the same step in two runs; with more than two each later one beside the first."""
    first: dict[tuple[str, int | str | None], Checkpoint] = {}
    found: dict[tuple[Checkpoint, Checkpoint], None] = {}
    for part in parts:
        for where, one in part.places():
            other = first.setdefault(where, one)
            if other.model != one.model:
                found[other, one] = None
    return list(found)


def _labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    longest = max((len(folder.parts) for folder in folders), default=1)
    for length in range(1, longest + 1):
        labels = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(labels)) == len(labels):
            break
    return labels


def _records(frame: pd.DataFrame) -> Iterable[dict[str, Any]]:
    """Rows as dictionaries, with None for everything that is missing."""
    columns = [str(column) for column in frame.columns]
    for row in frame.itertuples(index=False, name=None):
        yield {
            column: None if cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)) else cell
            for column, cell in zip(columns, row, strict=True)
        }
