"""`lm-probe export`: the values as one tidy table."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lm_probe.model_adapters import say_on_stderr

if TYPE_CHECKING:
    import pandas as pd

NAME = "export"
HELP = "write the values of a run as one tidy table"
EXAMPLE = "lm-probe export runs/pythia --format csv > values.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--format", choices=("csv", "jsonl", "parquet"), default="csv", help="default: %(default)s")
    parser.add_argument(
        "--provenance",
        action="store_true",
        help="add columns: identity of the weights, and settings, which tells apart what was asked differently",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write; - is standard output (default)")


def run(args: argparse.Namespace) -> int:
    """Exports."""
    from lm_probe.sweeps import RunStore, UserError

    out = None if args.out == Path("-") else args.out
    if out is None and args.format == "parquet" and sys.stdout.isatty():
        raise UserError("parquet is binary: add --out values.parquet, or send the output to a file")
    with RunStore(args.run) as store:
        values = store.values(provenance=True)
    mixed = values.groupby(["model", "probe", "component", "metric"], dropna=False).settings.nunique().gt(1)
    if mixed.any() and not args.provenance:
        model, probe = mixed[mixed].index[0][:2]
        say_on_stderr(
            f"lm-probe export: {probe} of {model} was measured under more than one setting, which do not compare; "
            f"--provenance adds a column that tells them apart"
        )
    if not args.provenance:
        values = values.drop(columns=["identity", "settings"])
    target = sys.stdout.buffer if out is None else out
    try:
        if args.format == "parquet":
            values.to_parquet(target, index=False)
        else:
            text = values.to_csv(index=False) if args.format == "csv" else _json_lines(values)
            sys.stdout.write(text) if out is None else out.write_text(text, encoding="utf-8")
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        reason = error.strerror or str(error)  # pyarrow's have no strerror
        raise UserError(f"{out or 'standard output'} cannot be written ({reason}): choose another --out") from error
    return 0


def _json_lines(values: "pd.DataFrame") -> str:
    """One object a line; pandas' own writer keeps 15 digits, and a float64 needs 17."""
    rows = values.astype(object).where(values.notna(), None).to_dict("records")
    return "".join(json.dumps(row) + "\n" for row in rows)
