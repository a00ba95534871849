"""`lm-probe report`: renders a run again."""

import argparse
from pathlib import Path

NAME = "report"
HELP = "write the report of a run again, or of several runs side by side"
EXAMPLE = "lm-probe report runs/pythia"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, help="where to write (default: into the first run)")


def run(args: argparse.Namespace) -> int:
    """Renders."""
    from lm_probe.reports import write_report

    print(f"report: {write_report(args.runs, out=args.out)}")
    return 0
