"""`lm-probe report`: renders a run again."""

import argparse
from collections.abc import Sequence
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
    render(args.runs, args.out)
    return 0


def render(runs: Sequence[Path], out: Path | None = None) -> None:
    """Writes the report of runs and says where it is."""
    from lm_probe.reports import write_report

    report = write_report(runs, out=out)
    page = report.with_suffix(".html")
    print(f"report: {report}{f' and {page}' if page.is_file() else ''}")
