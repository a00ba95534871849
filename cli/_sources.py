"""The SOURCE argument and `--revisions`, which commands that look at checkpoints share."""

import argparse


def add_source_arguments(parser: argparse.ArgumentParser, revisions: str | None, usually: str) -> None:
    """Adds them.

    Args:
        parser: of the command.
        revisions: the default of `--revisions`.
        usually: how the help says that default.
    """
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="Hub repository (user/name or user/name@revision), checkpoint folder, or folder of checkpoints step<N>/ "
        "or checkpoint-<N>/; series/step* are one series, of which --revisions selects",
    )
    parser.add_argument(
        "--revisions",
        metavar="WHICH",
        default=revisions,
        help=f"all; log2: the first step, the last, and those nearest to 1, 2, 4, 8, ...; start:stop:stride in steps, "
        f"stop included; or a list such as step0,step1000 (default: {usually})",
    )
