"""`python -m lm_probe.cli`."""

from lm_probe.cli import command

command()
