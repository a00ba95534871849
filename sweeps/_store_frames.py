"""What is read out of a run as pandas frames: which columns, and of which types."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from lm_probe.sweeps._arguments import arguments_of
from lm_probe.sweeps._records import Value

_NAMES = ("model", "revision", "probe", "metric", "site", "component")
_INTEGERS = ("step", "layer", "n")
_NUMBERS = ("value", "stderr")
_BESIDE = ("identity", "settings")
_DOCUMENTS = ("config", "versions", "details")
"""Columns of a measurement that are JSON."""

Row = sqlite3.Row


def values_frame(rows: Sequence[Row], configs: Iterable[Row] | None = None, *, beside: bool = False) -> pd.DataFrame:
    """Values, one a row, with the columns of `Value`.

    Args:
        rows: of the query `VALUES` or another with its columns.
        configs: of the query `CONFIGS`: adds `arguments`, what a command line calls the settings.
        beside: keep `identity` and `settings`.
    """
    frame = pd.DataFrame(rows, columns=[*Value._fields, *_BESIDE])
    if configs is not None:
        said = {
            row["config_hash"]: arguments_of(json.loads(row["config"]), seed=row["seed"], documents=row["documents"])
            for row in configs
        }
        frame["arguments"] = frame.settings.map(said).astype("object")
    if not beside:
        frame = frame[[*Value._fields]]
    return frame.astype(
        {
            **dict.fromkeys(_NAMES, "object"),
            **dict.fromkeys(_INTEGERS, "Int64"),
            **dict.fromkeys(_NUMBERS, "float64"),
        }
    )


def measurements_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """How each measurement was made, with what is JSON in the run read."""
    frame = pd.DataFrame([dict(row) for row in rows])
    for column in _DOCUMENTS:
        if len(frame):
            frame[column] = frame[column].map(json.loads)
    return frame


def failures_frame(
    rows: Iterable[Row],
    measurements: Mapping[tuple[str, str, str], int],
    marked: set[tuple[str, ...]],
    *,
    earlier: bool,
) -> pd.DataFrame:
    """Failures by model, revision, step, probe, error, measurements.

    Args:
        rows: of the table `failures`, in order.
        measurements: how many failed with a checkpoint, by model, revision and the probe ''; one with any other.
        marked: model, revision and probe of those that the last sweep did not ask for again.
        earlier: give those instead of all others.
    """
    found = [
        (row["model"], row["revision"] or None, row["step"], row["probe"], row["error"], measurements.get(which, 1))
        for row in rows
        if ((which := (row["model"], row["revision"], row["probe"])) in marked) == earlier
    ]
    return stepped_frame(found, ["model", "revision", "step", "probe", "error", "measurements"])


def stepped_frame(rows: Sequence[object], columns: Sequence[str]) -> pd.DataFrame:
    """Rows with a column `step`, which may be missing and is a whole number."""
    return pd.DataFrame(rows, columns=[*columns]).astype({"step": "Int64"})
