"""The command line: one file per command, thin."""

from lm_probe.cli._main import main
from lm_probe.cli._process import command

__all__ = ["command", "main"]
