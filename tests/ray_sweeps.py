"""Sweeps over a Ray: the series, the settings and the count that the tests of one share."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lm_probe.sweeps import Spread, Summary, SweepConfig, sweep
from tests.conftest import make_model

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


def twelve_checkpoints(folder: Path, tokenizer: Any) -> Path:
    """A series of the steps."""
    for step in STEPS:
        make_model("gpt_neox", seed=step).save_pretrained(folder / f"step{step}")
        tokenizer.save_pretrained(folder / f"step{step}")
    return folder


def sweep_over(source: Path, out: Path, text: Path, spread: Spread | None, **changed: Any) -> Summary:
    """A small sweep of one source, without tasks."""
    small = dict(text=str(text), tokens=600, context=32, tasks=(), device="cpu", batch_size=4)
    return sweep(SweepConfig(sources=(str(source),), out=out, **{**small, **changed}), spread=spread, silent=True)


def measurements(run: Path) -> int:
    """How many a run holds, also while it is written."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM measurements").fetchone()[0])
    return 0
