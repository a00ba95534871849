"""The command line: one file per command, thin."""

from lm_probe.cli._main import main

__all__ = ["main"]
