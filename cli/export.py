"""`lm-probe export`: the values as one tidy table."""

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lm_probe.model_adapters import counted, say_on_stderr

if TYPE_CHECKING:
    import pandas as pd

NAME = "export"
HELP = "write the values of a run as one tidy table"
EXAMPLE = "lm-probe export runs/pythia --out values.csv"

_FORMATS = ("csv", "jsonl", "parquet")
_PACKED = ".gz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--format", choices=_FORMATS, help="default: what --out ends in, else csv")
    parser.add_argument(
        "--provenance",
        action="store_true",
        help="add columns: identity of the weights, and settings, which tells apart what was asked differently",
    )
    parser.add_argument(
        "--all-settings",
        action="store_true",
        help="also what was measured before with other settings, with the columns of --provenance and arguments, "
        "those of a command line that give the settings; a text, and which documents and version of a task, only "
        "settings tells apart",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to write: .csv, .jsonl (also .gz) or .parquet; - is standard output (default)",
    )


def run(args: argparse.Namespace) -> int:
    """Exports."""
    from lm_probe.sweeps import RunStore, UserError

    out = None if args.out == Path("-") else args.out
    kind = _format(args.format, out)
    if out is None and kind == "parquet" and sys.stdout.isatty():
        raise UserError("parquet is binary: add --out values.parquet, or send the output to a file")
    with RunStore(args.run) as store:
        values = store.values(provenance=True, all_settings=args.all_settings)
        not_shown = 0 if args.all_settings else store.not_shown()
    told_apart = args.provenance or args.all_settings
    mixed = values.groupby(["model", "probe", "component", "metric"], dropna=False).settings.nunique().gt(1)
    if mixed.any() and not told_apart:
        model, probe = mixed[mixed].index[0][:2]
        say_on_stderr(
            f"lm-probe export: {probe} of {model} was measured under more than one setting, which do not compare; "
            f"--provenance adds a column that tells them apart"
        )
    if not_shown:
        say_on_stderr(
            f"lm-probe export: without {counted(not_shown, 'finished measurement')} whose place was taken by what was "
            f"asked for later (other settings, versions, weights of that name or course of a training); --all-settings "
            f"adds them"
        )
    if not told_apart:
        values = values.drop(columns=["identity", "settings"])
    try:
        _write(values, kind, out)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        reason = error.strerror or str(error)  # pyarrow's have no strerror
        raise UserError(f"{out or 'standard output'} cannot be written ({reason}): choose another --out") from error
    return 0


def _format(given: str | None, out: Path | None) -> str:
    """What is to be written.

    Raises:
        UserError: the file's name says another format, or none that there is.
    """
    from lm_probe.sweeps import UserError

    if out is None:
        return given or "csv"
    name = out.name.lower()
    packed = name.endswith(_PACKED)
    said = Path(name.removesuffix(_PACKED)).suffix.removeprefix(".")
    if said not in _FORMATS:
        if given is None and said:
            raise UserError(f"--out {out}: .{said} is no format: end it in .csv, .jsonl or .parquet, or add --format")
        said = given or "csv"
    if given not in (None, said):
        raise UserError(f"--out {out} says {said} and --format says {given}: leave --format out, or rename the file")
    if packed and said == "parquet":
        raise UserError(f"--out {out}: parquet is packed inside: leave out {_PACKED}")
    return said


def _write(values: "pd.DataFrame", kind: str, out: Path | None) -> None:
    if kind == "parquet":
        values.to_parquet(sys.stdout.buffer if out is None else out, index=False)
        return
    text = values.to_csv(index=False) if kind == "csv" else _json_lines(values)
    if out is None:
        sys.stdout.write(text)
    elif out.name.lower().endswith(_PACKED):
        out.write_bytes(gzip.compress(text.encode(), mtime=0))  # the same values give the same bytes
    else:
        out.write_text(text, encoding="utf-8")


def _json_lines(values: "pd.DataFrame") -> str:
    """One object a line; pandas' own writer keeps 15 digits, and a float64 needs 17."""
    rows = values.astype(object).where(values.notna(), None).to_dict("records")
    return "".join(json.dumps(row) + "\n" for row in rows)
