"""`lm-probe audit`: are the checkpoints of a series what their names say?"""

import argparse

from lm_probe.cli._sources import add_source_arguments
from lm_probe.model_adapters import counted, say_on_stdout, say_on_terminal

NAME = "audit"
HELP = "check a series before any compute: copies, missing weights, wrong shapes, NaN, wrong steps, partial uploads"
EXAMPLE = "lm-probe audit EleutherAI/pythia-70m --revisions log2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add_source_arguments(parser, "all", "all")


def run(args: argparse.Namespace) -> int:
    """Prints one line for each finding; only headers and heads are read."""
    from lm_probe.sweeps import refuse_local

    refuse_local(args.sources, args.revisions)
    say_on_terminal("lm-probe audit: loading torch and transformers ...")
    from lm_probe.sweeps import audit

    found = audit(args.sources, args.revisions)
    for finding in found.findings:
        say_on_stdout(f"{finding.checkpoint}: {finding.line}")
    said = counted(len(found.findings), "finding") if found.findings else "nothing found"
    say_on_stdout(f"{counted(found.checkpoints, 'checkpoint')}, {found.bytes_read / 1e6:,.1f} MB read: {said}")
    return 1 if found.findings else 0
