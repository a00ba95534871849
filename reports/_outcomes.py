"""Answers document by document, from the samples beside a run's lm-eval results; read when they are asked for."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lm_probe.reports._choice_metrics import chance_of, choice_metrics
from lm_probe.reports._numbers import Checkpoint
from lm_probe.sweeps import UserError, read_samples_file

_FILE = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl(\.gz)?")


@dataclass(frozen=True)
class Outcomes:
    """One task on one checkpoint, in the order of its documents."""

    documents: tuple[str, ...]
    """Which question each is: equal ones are equal in every checkpoint that was asked it."""
    scores: Mapping[str, Float[np.ndarray, " n"]]
    """lm-eval's own metrics, those that are one number a document, under the names of the run store."""
    recomputed: Mapping[str, Float[np.ndarray, " n"]]
    """`choice_metrics` of the log-likelihoods; empty where there are none, or where they contradict lm-eval's `acc`."""
    chance: Mapping[str, float]


class Samples(Mapping[tuple[Checkpoint, str], Outcomes]):
    """Outcomes by checkpoint and task; a file is read at the first look, and one that cannot be read is left out."""

    def __init__(self, files: Mapping[tuple[Checkpoint, str], Path]) -> None:
        """Reads nothing yet."""
        self._files = dict(files)
        self._read: dict[tuple[Checkpoint, str], Outcomes | None] = {}
        self.unread: list[str] = []
        """Lines on files that could not be read so far."""

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[tuple[Checkpoint, str]]:
        return iter(self._files)

    def __getitem__(self, key: tuple[Checkpoint, str]) -> Outcomes:
        if key not in self._read:
            path = self._files[key]
            try:
                self._read[key] = outcomes_of(read_samples_file(path))
            except UserError as error:
                self._read[key] = None
                self.unread.append(f"{error}; until then its documents are not compared")
        found = self._read[key]
        if found is None:
            raise KeyError(key)
        return found


def sample_files(run: Path, rows: Iterable[tuple[Checkpoint, Mapping[str, Any]]]) -> dict[tuple[Checkpoint, str], Path]:
    """Where the answers behind measurements of tasks lie.

    That is the file which the measurement names; else, in the folder of its checkpoint, the latest
    `samples_<task>_<time>.jsonl` (or .jsonl.gz) of lm-eval 0.4.

    Args:
        run: the run's folder.
        rows: of `RunStore.measurements()`, each with its checkpoint.
    """
    found: dict[tuple[Checkpoint, str], Path] = {}
    folders: dict[Path, dict[str, Path]] = {}
    for checkpoint, row in rows:
        task = row["config"].get("task")
        if task is None:
            continue
        if "samples" in row["details"]:
            found[checkpoint, task] = run / row["details"]["samples"]
            continue
        folder = run / "lm_eval" / str(row["model"]).replace("/", "__") / (row["revision"] or "checkpoint")
        if folder not in folders:
            named = [(one, _FILE.fullmatch(one.name)) for one in folder.glob("samples_*")]
            timed = sorted((match["time"], match["task"], one) for one, match in named if match)
            folders[folder] = {name: one for _, name, one in timed}
        if task in folders[folder]:
            found[checkpoint, task] = folders[folder][task]
    return found


def shared(outcomes: Sequence[Outcomes]) -> bool:
    """Whether all are over the same documents in the same order."""
    return len({one.documents for one in outcomes}) == 1


def outcomes_of(samples: pd.DataFrame) -> Outcomes | None:
    """The rows of one samples file; None where they are no independent documents (several questions on one list)."""
    ordered = samples.sort_values("doc_id", kind="stable")
    first = ordered.drop_duplicates("doc_id")
    lists = Counter(doc["list_id"] for doc in first["doc"] if isinstance(doc, dict) and "list_id" in doc)
    if len(first) < 2 or max(lists.values(), default=1) > 1:
        return None
    scores = dict(_scores(ordered, len(first)))
    recomputed, chance = _recomputed(first)
    if "accuracy" in recomputed and not ("acc" in scores and np.array_equal(recomputed["accuracy"], scores["acc"])):
        recomputed, chance = {}, {}
    repeats: Counter[str] = Counter()
    documents = []
    for name in map(str, first["doc_hash"]):
        documents.append(f"{name} {repeats[name]}")
        repeats[name] += 1
    return Outcomes(tuple(documents), scores, recomputed, chance)


def _scores(ordered: pd.DataFrame, documents: int) -> Iterator[tuple[str, Float[np.ndarray, " n"]]]:
    """With several filters a document has a row for each; metrics of all but `none` carry the filter's name."""
    fields = {"doc_id", "doc_hash", "doc", "target", "filter", "prompts", "answers", "responses"}
    for name, rows in ordered.groupby("filter", sort=False):
        for metric in (column for column in rows.columns if column not in fields):
            column = rows[metric]
            if len(rows) == documents and all(isinstance(one, int | float) for one in column) and column.notna().all():
                yield metric if name == "none" else f"{metric},{name}", column.to_numpy(dtype=float)


def _recomputed(first: pd.DataFrame) -> tuple[dict[str, Float[np.ndarray, " n"]], dict[str, float]]:
    answers = [_choices(row) for row in first[["doc", "target", "responses"]].itertuples(index=False, name=None)]
    known = [one for one in answers if one is not None]
    if len(known) < len(answers):
        return {}, {}
    likelihoods = [[likelihood for likelihood, _ in responses] for responses, _ in known]
    greedy = [responses[right][1] for responses, right in known]
    found = choice_metrics(likelihoods, [right for _, right in known], greedy=greedy)
    if max(map(len, likelihoods)) == 1:  # nothing to choose from: LAMBADA
        own = found["log_likelihood"]
        only = {"exact_match": found["exact_match"], "probability": np.exp(own), "log_likelihood": own}
        return only, {"exact_match": 0.0}
    return found, chance_of(likelihoods)


def _choices(row: tuple[Any, Any, Any]) -> tuple[list[tuple[float, bool]], int] | None:
    """Log-likelihood of each answer, whether it is the greedy one, and which is right."""
    doc, target, responses = row
    if not responses or not all(isinstance(one, tuple) for one in responses):
        return None
    if isinstance(doc, dict) and "binary_choices" in doc:  # ours: the control's answers come after the full list's
        responses, right = responses[: len(doc["choices"])], int(doc["gold"])
    elif len(responses) == 1:
        right = 0
    else:
        right = int(target) if str(target).isdigit() else -1
    return (responses, right) if 0 <= right < len(responses) else None
