"""The web page in a real browser: it shows what the store holds, asks no network, and runs nothing that came in."""

import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lm_probe.probes import Reading, VectorReading
from lm_probe.reports import write_report
from lm_probe.reports._analysis import analyse
from lm_probe.reports._data import Checkpoint, Made, Place, RunData
from lm_probe.reports._document import Document, Section, document
from lm_probe.reports._intervals import interval
from lm_probe.reports._load import load
from lm_probe.reports._markdown import fold
from lm_probe.reports._numbers import Numbers
from lm_probe.reports._web import page as page_of
from lm_probe.reports._web_colours import DARK, LIGHT
from lm_probe.reports._web_text import rendered
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore
from tests.reporting import PYTHIA, record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Opened:
    """A page in the browser with all that it complained of and asked for."""

    def __init__(self, browser: Browser, path: Path, **looks: Any) -> None:
        self.context = browser.new_context(offline=True, **looks)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.troubles: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.troubles.append(said.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.troubles.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]")

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: apt-get install chromium")
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "run"
    record(folder, "demo-d32", width=32, turn=128)
    record(folder, "demo-d16", width=16, extra=[Reading("acc", 0.625, component="lambada", stderr=0.01, n=900)])
    with RunStore.create(folder) as store:
        for step in (1024, 2048):
            store.record_failure("demo-d16", f"step{step}", step, "", f"file {step} is cut short")
    write_report([folder])
    return folder


@pytest.fixture(scope="module")
def wide(browser: Browser, run: Path) -> Iterator[Opened]:
    """One page for all tests that change it only where they look."""
    opened = Opened(browser, run / "report.html", viewport={"width": 1200, "height": 900}, color_scheme="light")
    yield opened
    opened.context.close()


def write_page(runs: Sequence[Path], folder: Path) -> Path:
    """The page without the drawings beside it, which take longer."""
    data = load(runs)
    path = folder / "report.html"
    path.write_bytes(page_of(data, document(data, analyse(data), []), lambda picture: b""))
    return path


@pytest.fixture(scope="module")
def small(browser: Browser, run: Path) -> Iterator[Opened]:
    """A telephone at night."""
    looks = {"viewport": {"width": 360, "height": 740}, "reduced_motion": "reduce", "color_scheme": "dark"}
    opened = Opened(browser, run / "report.html", **looks)
    yield opened
    opened.context.close()


def stored(run: Path, model: str, metric: str, **where: object) -> list[float]:
    with RunStore(run) as store:
        values = store.values()
    rows = values[(values.model == model) & (values.metric == metric)]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return [float(value) for value in rows.value]


def test_it_opens_from_disk_and_asks_no_network(wide: Opened, run: Path) -> None:
    assert wide.troubles == []
    assert wide.asked == [(run / "report.html").as_uri()]
    assert not re.search(r"(src|href)=\"?(https?:)?//", re.sub(r'href="https://arxiv[^"]*"', "", page_text(run)))


def page_text(run: Path) -> str:
    """The page without its two blocks of data."""
    said = (run / "report.html").read_text(encoding="utf-8")
    return re.sub(r'<script type="text/plain".*?</script>', "", said, flags=re.DOTALL)


def test_its_words_are_those_of_the_report(wide: Opened, run: Path) -> None:
    report = (run / "report.md").read_text(encoding="utf-8")
    headings = [line[3:] for line in report.splitlines() if line.startswith("## ")]
    shown = wide.page.locator("main h2").all_text_contents()
    assert shown == [*headings, "Any measure", "Every number"]
    assert "2 measurements failed" in wide.page.locator("main > p:visible").first.inner_text()
    for link in wide.page.locator("a").evaluate_all("links => links.map(one => one.getAttribute('href'))"):
        if link.startswith("#"):
            assert wide.page.locator(f"[id='{link[1:]}']").count() == 1, link
        elif not link.startswith("https:"):
            assert (run / link).is_file(), link


def test_the_slider_moves_the_profile(wide: Opened, run: Path) -> None:
    slider = wide.page.locator("#figure-anisotropy_depth input[type=range]")
    assert wide.line("anisotropy_depth")["y"] == stored(run, "demo-d16", "mean_cosine", step=512)
    slider.focus()
    slider.press("Home")
    assert wide.line("anisotropy_depth")["y"] == stored(run, "demo-d16", "mean_cosine", step=0)
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert wide.line("anisotropy_depth", 1)["y"] == stored(run, "demo-d32", "mean_cosine", step=2)
    assert slider.get_attribute("aria-valuetext") == "step 2"
    said = wide.page.locator("#said-figure-anisotropy_depth").inner_text()
    assert said.startswith("step 2: demo-d16: 0.02 at embedding")
    slider.press("End")


def test_figures_show_what_is_stored(wide: Opened, run: Path) -> None:
    assert wide.line("loss", 1)["y"] == stored(run, "demo-d32", "loss")
    assert wide.line("loss")["x"][:3] == [0.5, 1, 2]  # step 0 at half of the first step after it
    cells = wide.line("anisotropy_heat_map")["z"]
    assert len(cells) == 7
    assert cells[0] == stored(run, "demo-d16", "mean_cosine", site="embedding")
    assert cells[6] == stored(run, "demo-d16", "mean_cosine", site="final_norm")
    ratios = wide.line("head_spectrum", 1)["y"]
    sigma = load([run]).vectors["singular_values"][Checkpoint("demo-d32", "step512", 512)]
    assert ratios == pytest.approx(list(sigma / sigma.max()), rel=1e-6)
    full = [stored(run, "demo-d16", "mae", step=512, component=f"count_query_m{m}")[0] for m in (5, 10, 20)]
    control = [stored(run, "demo-d16", "mae_binary", step=512, component=f"count_query_m{m}")[0] for m in (5, 10, 20)]
    assert wide.line("counting_error")["y"] == full and wide.line("counting_error", 1)["y"] == control
    assert wide.line("counting_error", 1)["name"] == "demo-d16, control"


def test_any_measure_and_any_models(wide: Opened, run: Path) -> None:
    measure = wide.page.locator("#quantity").get_by_label("Measure")
    measure.select_option(label="effective_rank")
    assert wide.line("any-trend")["y"] == stored(run, "demo-d16", "effective_rank", component="all_rows")
    assert wide.axis("any-trend", "yaxis")["title"]["text"].startswith("effective_rank")
    assert wide.page.locator("#figure-any-profile").is_hidden()  # it has no layers
    measure.select_option(label="mean_cosine")
    wide.page.locator("#figure-any-trend").get_by_label("Place").select_option(label="block 3")
    assert wide.line("any-trend")["y"] == stored(run, "demo-d16", "mean_cosine", layer=3)
    measure.select_option(label="acc")
    wide.page.locator("#quantity").get_by_label("Component").select_option(label="lambada")
    assert set(wide.line("any-trend")["y"]) == {0.625}
    box = wide.page.locator("#models").get_by_label("demo-d16")
    box.uncheck()
    assert wide.line("loss")["name"] == "demo-d32"
    box.check()
    assert wide.line("loss")["name"] == "demo-d16"


def test_axes_are_linear_or_logarithmic(wide: Opened) -> None:
    figure = wide.page.locator("#figure-loss")
    assert wide.axis("loss", "xaxis")["type"] == "log"
    figure.get_by_label("log steps").uncheck()
    assert wide.axis("loss", "xaxis")["type"] == "linear" and wide.line("loss")["x"][0] == 0
    figure.get_by_label("log values").check()
    assert wide.axis("loss", "yaxis")["type"] == "log"
    figure.get_by_label("log values").uncheck()
    figure.get_by_label("log steps").check()


def test_hovering_tells_value_interval_size_and_checkpoint(wide: Opened, run: Path) -> None:
    figure = wide.page.locator("#figure-loss")
    figure.scroll_into_view_if_needed()
    figure.locator(".scatterlayer .trace path.point").last.hover(force=True)
    said = figure.locator(".hoverlayer").text_content(timeout=5000) or ""
    data = load([run])
    one = Checkpoint("demo-d32", "step512", 512)
    score = data.scores("loss", "loss")[one]
    (made,) = (row for row in data.made if row.checkpoint == one and row.probe == "loss")
    ends = interval("loss", score)
    assert ends is not None and score.n is not None
    assert "demo-d32, step 512" in said and f"value {score.value:.6g}" in said
    assert f"95 % interval {ends.low:.6g} to {ends.high:.6g}" in said
    assert f"n = {score.n:,}" in said and f"checkpoint {made.identity[:19]}" in said
    assert f"measurement {made.id}" in said


def test_tables_sort_by_number_and_by_keyboard(wide: Opened) -> None:
    table = wide.page.locator("section[aria-labelledby=summary] table").first
    head = table.get_by_role("columnheader", name="step")
    steps = "rows => rows.map(row => row.cells[0].textContent)"
    head.get_by_role("button").focus()
    wide.page.keyboard.press("Enter")
    wide.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    shown = table.locator("tbody tr").evaluate_all(steps)
    assert shown == ["2,048", "1,024", "512", "384", "256", "128", "64", "32", "16", "8", "4", "2", "1", "0"]
    loss = table.get_by_role("columnheader", name="loss")
    loss.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None and loss.get_attribute("aria-sort") == "ascending"
    losses = table.locator("tbody tr").evaluate_all("rows => rows.map(row => parseFloat(row.cells[1].textContent))")
    assert losses[:12] == sorted(losses[:12])  # two checkpoints failed and come last
    assert [str(value) for value in losses[12:]] == ["nan", "nan"]


def test_failures_can_be_filtered(wide: Opened) -> None:
    failures = wide.page.locator("section[aria-labelledby=failures]")
    assert failures.locator("tbody tr").count() == 2
    failures.get_by_label("Rows that contain").fill("2048 is cut")
    assert failures.locator("tbody tr:visible").count() == 1
    assert "1 of 2 rows" in failures.inner_text()
    failures.get_by_label("Rows that contain").fill("")


def test_every_number_is_exact_and_leads_to_its_row_in_the_store(wide: Opened, run: Path) -> None:
    section = wide.page.locator("section[aria-labelledby=every-number]")
    with RunStore(run) as store:
        values = store.values(provenance=True)
    assert f"of {len(values):,} numbers" in section.inner_text()
    section.get_by_label("Measure").select_option(label="mean_cosine")
    section.get_by_label("Model").select_option(label="demo-d16")
    section.get_by_label("Place").select_option(label="final norm")
    cosines = stored(run, "demo-d16", "mean_cosine", site="final_norm")
    column = "rows => rows.map(row => row.cells[5].textContent)"
    rows = section.locator("tbody tr")
    assert [float(text) for text in rows.evaluate_all(column)] == cosines
    section.get_by_role("columnheader", name="value").get_by_role("button").click()
    section.get_by_role("columnheader", name="value").get_by_role("button").click()
    assert [float(text) for text in rows.evaluate_all(column)] == sorted(cosines, reverse=True)
    section.get_by_label("Checkpoint has").fill("step 32")
    assert rows.count() == 1
    rows.first.get_by_role("button").click()
    dialog = wide.page.get_by_role("dialog")
    said = dict(zip(dialog.locator("dt").all_text_contents(), dialog.locator("dd").all_text_contents(), strict=True))
    (query,) = re.findall(r"measurement = .*", said["row in the run store"])
    with sqlite3.connect(run / "run.db") as db:
        found = db.execute(
            f"SELECT value, n, identity, config_hash FROM vals JOIN measurements m ON m.id = measurement "
            f"JOIN checkpoints c ON c.id = m.checkpoint WHERE {query}"
        ).fetchall()
    ((value, n, identity, settings),) = found
    assert repr(value) == said["value"] and str(n) == said["n"]
    assert identity == said["identity"] and said["settings"].startswith(f"{settings}: {{")
    assert "torch" in said["versions"] and said["dtype, device"] == "float32, cpu"
    wide.page.keyboard.press("Escape")
    assert dialog.count() == 0
    section.get_by_label("Checkpoint has").fill("")


def test_the_interval_of_a_share_is_the_reports(wide: Opened, run: Path) -> None:
    section = wide.page.locator("section[aria-labelledby=every-number]")
    section.get_by_label("Place").select_option(label="all")
    section.get_by_label("Measure").select_option(label="acc")
    section.get_by_label("Model").select_option(label="demo-d32")
    section.get_by_label("Component has").fill("most_frequent_word_m20")
    section.locator("tbody tr").first.get_by_role("button").click()
    dialog = wide.page.get_by_role("dialog")
    score = load([run]).scores("lm_eval", "acc", "most_frequent_word_m20")[Checkpoint("demo-d32", "step512", 512)]
    ends = interval("acc", score)
    assert ends is not None
    assert f"{ends.low:.5g}"[:6] in dialog.inner_text() and f"{ends.high:.5g}"[:6] in dialog.inner_text()
    dialog.get_by_role("button", name="Close").click()


def test_dark_and_light(small: Opened) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    font = "document.querySelector('#figure-loss .plot')._fullLayout.font.color"
    line = "document.querySelector('#figure-loss .plot').data.at(-1).line.color"
    assert small.page.evaluate(background) == "rgb(13, 17, 23)"
    assert (small.page.evaluate(font), small.page.evaluate(line)) == ("#e3e8ee", DARK[1])
    small.page.get_by_role("button", name="Light colours").click()
    assert small.page.evaluate(background) == "rgb(255, 255, 255)"
    assert (small.page.evaluate(font), small.page.evaluate(line)) == ("#1d2126", LIGHT[1])
    small.page.get_by_role("button", name="Dark colours").click()
    assert small.page.evaluate(background) == "rgb(13, 17, 23)" and small.troubles == []


def test_it_fits_a_telephone_and_reads_in_order(small: Opened) -> None:
    page = small.page
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, select, input')].filter(one => !one.closest('.plot') && "
        "!(one.labels?.length || one.textContent.trim() || one.ariaLabel)).length"
    )
    assert nameless == 0
    ids = page.locator("[id]").evaluate_all("all => all.filter(one => !one.closest('svg')).map(one => one.id)")
    assert len(ids) == len(set(ids))
    for plot in page.locator(".plot").all():
        assert plot.get_attribute("aria-label")
        assert page.locator(f"#{plot.get_attribute('aria-describedby')}").text_content()
    first = page.locator("a, button, input, select").first
    assert first.inner_text() == "Skip to the report"
    first.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


EVIL = (
    "<img src=x onerror=pwn()> %{x} <script>pwn()</script> </script><script>pwn()</script> <!-- {{7*7}} {% x %} "
    "${7*7} [l](javascript:pwn()) ![p](http://e.example/p.png) <a href='http://e.example'>b</a> **bold** "
    "\" onclick='pwn()'"
)


def test_nothing_that_came_in_is_run(browser: Browser, tmp_path: Path) -> None:
    extra = [Reading(f"m{EVIL}", 0.5, component=EVIL, stderr=0.1, n=9), Reading("acc", 0.5, component=f"t{EVIL}", n=9)]
    record(tmp_path, EVIL, (0, 1), text=EVIL, sample=EVIL, extra=extra)
    record(tmp_path, f"_{EVIL}", (None,), text=EVIL)
    key = CheckpointKey(EVIL, EVIL, 7, EVIL, EVIL)
    conditions = Conditions(EVIL, EVIL, EVIL, 1, 2.0, 3, 4, {"text": EVIL, EVIL: EVIL})
    with RunStore.create(tmp_path) as store:
        readings = [Reading("loss", 2.0, stderr=0.1, n=9), Reading(EVIL, 1.0, 1, EVIL)]
        store.record(key, [Measurement(EVIL, {EVIL: EVIL}, readings, conditions)])
        store.record(key, [Measurement("loss", {"seed": EVIL}, readings[:1], conditions)])
        store.record_failure(EVIL, EVIL, 2, EVIL, EVIL)
    opened = Opened(browser, write_page([tmp_path], tmp_path))
    page = opened.page
    section = page.locator("section[aria-labelledby=every-number]")
    for button in (section.locator("tbody button").first, section.locator("tbody button").last):
        button.click()
        page.keyboard.press("Escape")
    measure = page.locator("#quantity").get_by_label("Measure")
    for option in measure.locator("option").all():
        measure.select_option(value=option.get_attribute("value"))
    figure = page.locator("#figure-loss")
    figure.locator(".scatterlayer .trace path.point").first.hover(force=True)
    hover = figure.locator(".hoverlayer").text_content() or ""
    assert "<img src=x onerror=pwn()>" in hover and "%{x}" in hover
    assert opened.troubles == [] and len(opened.asked) == 1
    assert page.evaluate("typeof pwn") == "undefined"
    outside = "script[src], img:not([src^='data:']), iframe, object, embed, [onerror], [onclick], svg a"
    assert page.locator(outside).count() == 0
    drawn = page.locator("svg image").evaluate_all("all => all.map(one => one.href.baseVal.slice(0, 22))")
    assert set(drawn) == {"data:image/png;base64,"}  # the cells of the map
    links = page.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert all(re.match(r"#|tables/", link) for link in links), links
    assert page.locator("script").count() == 4  # two of data, one of ours, plotly
    said = page.locator("body").text_content() or ""
    for literal in ("<script>pwn()</script>", "{{7*7}} {% x %} ${7*7} ", "[l](javascript:pwn())", "**bold**"):
        assert literal in said
    assert "49" not in page.locator("h1").inner_text()
    opened.context.close()


def test_the_policy_stops_what_got_in_all_the_same(small: Opened) -> None:
    assert small.troubles == []
    reached = small.page.evaluate(
        """async () => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            const image = new Image();
            image.src = "http://127.0.0.1:9/x.png";
            const fetched = await fetch("http://127.0.0.1:9/").then(() => "reached", (error) => "refused");
            return [window.ran ?? false, fetched];
        }"""
    )
    assert reached == [False, "refused"]
    assert sum("Content Security Policy" in said for said in small.troubles) >= 3


@pytest.fixture(scope="module")
def long_series() -> RunData:
    """154 checkpoints of a model of 24 layers with 50 measures at 26 sites each, every digit of them used."""
    rng = np.random.default_rng(0)
    checkpoints = [Checkpoint("pythia-410m", f"step{step}", step) for step in PYTHIA]
    places = [Place(0, "embedding"), *(Place(layer, "block") for layer in range(1, 25)), Place(24, "final_norm")]
    values = rng.random((50, len(checkpoints), len(places), 2))
    rows = [
        (number, f"measure_{name}", place.layer, place.site, None, value, error / 100, 50_000)
        for name, measure in enumerate(values)
        for number, row in enumerate(measure)
        for place, (value, error) in zip(places, row.tolist(), strict=True)
    ]
    indexed = Numbers([([rows], {number: (one, "geometry") for number, one in enumerate(checkpoints)})])
    made = [
        Made(
            *(one, "geometry", rng.bytes(20).hex(), "float32", "cuda", "sdpa", 1234, rng.random(), 2**33),
            *({"torch": "2.13.0"}, {"tokens": 50_000}, {"sample": "f00d"}, "0123456789abcdef", place, "run"),
        )
        for place, one in enumerate(checkpoints)
    ]
    sigma = {one: np.sort(rng.random(1024))[::-1] for one in checkpoints}
    return RunData(indexed, {"singular_values": sigma}, made, [])


def test_a_long_series_stays_below_five_megabytes(long_series: RunData, browser: Browser, tmp_path: Path) -> None:
    said = Document("pythia-410m", ["word " * 20_000], [])
    made = page_of(long_series, said, lambda picture: b"")
    assert len(made) < 5_000_000
    (tmp_path / "report.html").write_bytes(made)
    opened = Opened(browser, tmp_path / "report.html")
    assert opened.troubles == []
    scores = long_series.profiles("geometry", "measure_0")
    last = Checkpoint("pythia-410m", "step143000", 143_000)
    assert opened.line("any-profile")["y"] == [score.value for score in scores[last].values()]
    assert f"of {50 * 154 * 26:,} numbers" in opened.page.locator("#numbers").inner_text()
    opened.context.close()


def test_error_bars_over_depth_lie_inside_the_axis(browser: Browser, tmp_path: Path) -> None:
    readings = [Reading("spread", 0.1 * layer, layer, "block", stderr=0.2) for layer in range(1, 9)]
    with RunStore.create(tmp_path / "run") as store:
        for step in (0, 1000):
            key = CheckpointKey("tiny", f"step{step}", step, "sha256:0", "drawn")
            store.record(key, [Measurement("geometry", {}, readings, Conditions("float32", "cpu"))])
    opened = Opened(browser, write_page([tmp_path / "run"], tmp_path))
    low, high = opened.axis("any-profile", "yaxis")["range"]
    bars = opened.page.evaluate(
        "() => document.querySelector('#figure-any-profile .plot').data.filter(one => one.error_y)"
        ".flatMap(({y, error_y}) => y.flatMap((at, i) => [at - error_y.arrayminus[i], at + error_y.array[i]]))"
    )
    assert max(bars) > 1.1 and low < min(bars) and max(bars) < high
    opened.context.close()


def test_runs_with_little_in_them(browser: Browser, run: Path, tmp_path: Path) -> None:
    RunStore.create(tmp_path / "empty").close()
    with RunStore.create(tmp_path / "failed") as store:
        store.record_failure("demo", None, None, "", "no such file")
    record(tmp_path / "single", "gpt2", [None], layers=3)
    record(tmp_path / "single", "opt", [None], layers=5)
    texts = {"empty": "no values yet", "failed": "no such file", "single": "1 checkpoint"}
    for name, said in texts.items():
        opened = Opened(browser, write_page([tmp_path / name], tmp_path))
        assert said in opened.page.locator("main").inner_text()
        assert opened.troubles == [], name
        opened.context.close()


def test_two_runs_in_one_page(browser: Browser, run: Path, tmp_path: Path) -> None:
    record(tmp_path / "other", "demo-d16", (0, 1, 2, 3), layers=3)
    opened = Opened(browser, write_page([run, tmp_path / "other"], tmp_path))
    names = opened.page.locator("#models label").all_inner_texts()
    assert names == ["demo-d16 (run other)", "demo-d16 (run run)", "demo-d32"]
    slider = opened.page.locator("#figure-anisotropy_depth input[type=range]")
    assert opened.line("anisotropy_depth")["name"] == "demo-d16 (run run)"  # the other has no step 512
    slider.focus()
    slider.press("Home")
    assert opened.line("anisotropy_depth")["name"] == "demo-d16 (run other)"
    opened.page.locator("#numbers tbody button").first.click()
    assert "run.db of " in opened.page.get_by_role("dialog").inner_text()
    assert opened.troubles == []
    opened.context.close()


def test_drawings_without_a_view_are_embedded(browser: Browser, tmp_path: Path) -> None:
    with RunStore.create(tmp_path) as store:
        pairs = VectorReading("heat_map_cosines", np.linspace(-1, 1, 15), 1, "block", "query")
        store.record(CheckpointKey("demo", "step1", 1, "sha256:1", "demo"), [Measurement("condensation", {}, [pairs])])
    write_report([tmp_path])
    opened = Opened(browser, tmp_path / "report.html")
    image = opened.page.get_by_role("img", name="Condensation of neurons")
    assert image.evaluate("one => one.naturalWidth") > 100 and opened.troubles == []
    opened.context.close()


def test_without_the_extra_there_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    RunStore.create(tmp_path).close()
    write_report([tmp_path], say=said.append)
    assert (tmp_path / "report.html").is_file() and said == []
    monkeypatch.delitem(sys.modules, "lm_probe.reports._web")
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.delitem(sys.modules, "plotly.offline")
    write_report([tmp_path], say=said.append)
    assert (tmp_path / "report.md").is_file()
    assert not (tmp_path / "report.html").exists()  # the earlier one may say something else
    assert said == ["no report.html, because plotly is not installed: pip install 'lm-probe[web]' adds the page"]


def test_markdown_has_no_html_and_few_links() -> None:
    said = rendered(["a <b>b</b> [x](javascript:y) [c](tables/a.csv) ![i](x.png)", fold("more | x", "*in* it")], "name")
    assert "&lt;b&gt;" in said and "javascript:y)" in said and 'href="tables/a.csv"' in said and "<img" not in said
    assert "<details><summary>more | x</summary><p><em>in</em> it</p>" in said
    assert 'aria-label="Table: &lt;n&quot;"' in rendered(["| a |\n| --- |\n| b |"], '<n"')


def test_a_section_of_anybody_appears(run: Path) -> None:
    said = Document("t", [], [Section("Audit", ["| checkpoint | finding |\n| --- | --- |\n| a | same head |"])])
    made = page_of(RunData(Numbers(), {"singular_values": {}}, [], []), said, lambda picture: b"").decode()
    assert '<h2 id="audit">Audit</h2>' in made and "<td>same head</td>" in made and 'href="#audit"' in made


# Machado, Oliveira and Fernandes 2009, severity 1.
_SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def _linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def _lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    bent = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * bent[1] - 16, 500 * (bent[0] - bent[1]), 200 * (bent[1] - bent[2])])


@pytest.mark.parametrize(("colours", "page"), [(LIGHT, "#ffffff"), (DARK, "#0d1117")])
@pytest.mark.parametrize("sight", sorted(_SIGHT))
def test_ten_models_are_told_apart_by_every_kind_of_sight(colours: Sequence[str], page: str, sight: str) -> None:
    assert len(colours) == 10
    seen = [_lab(np.array(_SIGHT[sight]) @ _linear(colour)) for colour in colours]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 20
    light = [float(_linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (*colours, page)]
    assert min(max(one, light[-1]) / min(one, light[-1]) for one in light[:-1]) > 3
