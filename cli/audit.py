"""`lm-probe audit`: are the checkpoints of a series what their names say?"""

import argparse

NAME = "audit"
HELP = "check a series before any compute: copies, missing weights, wrong shapes, NaN, wrong steps, partial uploads"
EXAMPLE = "lm-probe audit EleutherAI/pythia-70m --revisions log2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="Hub repository (user/name or user/name@revision), checkpoint folder, or folder of step<N> checkpoints",
    )
    parser.add_argument(
        "--revisions",
        metavar="WHICH",
        default="all",
        help="all, log2, start:stop:stride in steps, or a list such as step0,step1000 (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Prints one line for each finding; only headers and heads are read."""
    from lm_probe.sweeps import audit

    found = audit(args.sources, args.revisions)
    for finding in found.findings:
        print(f"{finding.checkpoint}: {finding.line}")
    said = f"{len(found.findings)} findings" if found.findings else "nothing found"
    print(f"{found.checkpoints} checkpoints, {found.bytes_read / 1e6:,.1f} MB read: {said}")
    return 1 if found.findings else 0
