"""Pages in a real browser, for the tests of the web page."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.reports._analysis import analyse
from lm_probe.reports._document import document
from lm_probe.reports._load import load
from lm_probe.reports._web import page as page_of
from lm_probe.sweeps import RunStore
from tests.reporting import record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Opened:
    """A page in the browser with all that it complained of and asked for."""

    def __init__(self, browser: Browser, path: Path, before: str = "", **looks: Any) -> None:
        self.context = browser.new_context(offline=True, **looks)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.troubles: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.troubles.append(said.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.troubles.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.add_init_script(before)
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def line(self, figure: str, place: int = 0) -> dict[str, Any]:
        """A named trace of a figure, as plotly has it."""
        found = self.page.evaluate(
            "name => document.querySelector(`#figure-${name} .plot`).data.filter(one => one.showlegend !== false)"
            ".map(({name, x, y, z, text}) => ({name, x: x && [...x], y: y && [...y], z, text}))",
            figure,
        )
        assert place < len(found), found
        return dict(found[place])

    def axis(self, figure: str, which: str) -> dict[str, Any]:
        return dict(
            self.page.evaluate(
                "([name, which]) => document.querySelector(`#figure-${name} .plot`)._fullLayout[which]", [figure, which]
            )
            or {}
        )


def write_run(folder: Path) -> None:
    """A rendered run of two models, with a task of another package and two checkpoints that failed."""
    record(folder, "demo-d32", width=32, turn=128)
    record(folder, "demo-d16", width=16, extra=[Reading("acc", 0.625, component="lambada", stderr=0.01, n=900)])
    with RunStore.create(folder) as store:
        for step in (1024, 2048):
            store.record_failure("demo-d16", f"step{step}", step, "", f"file {step} is cut short")
    write_report([folder])


def write_page(runs: Sequence[Path], folder: Path) -> Path:
    """The page without the drawings beside it, which take longer."""
    data = load(runs)
    path = folder / "report.html"
    path.write_bytes(page_of(data, document(data, analyse(data), [])))
    return path


def stored(run: Path, model: str, metric: str, **where: object) -> list[float]:
    with RunStore(run) as store:
        values = store.values()
    rows = values[(values.model == model) & (values.metric == metric)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return [float(value) for value in rows.value]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without one the test is skipped at the desk and fails where all tests must run."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: apt-get install chromium")
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()
