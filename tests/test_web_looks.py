"""The web page in light and dark, on a telephone, and to every kind of sight."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from lm_probe.probes import Reading
from lm_probe.reports._data import Checkpoint, RunData
from lm_probe.reports._numbers import Numbers
from lm_probe.reports._web_colours import DARK, LIGHT
from lm_probe.reports._web_data import _Measurements, _model
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore
from tests.browsing import Opened, write_page
from tests.reporting import record


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


def test_long_names_fit_a_telephone(browser: Browser, tmp_path: Path) -> None:
    long = "a_task_with_a_name_that_goes_on_and_on" * 3
    scores = [Reading("acc", 0.5, component=f"{long}{place}", stderr=0.02, n=600) for place in range(2)]
    profiles = [Reading(f"spread_{long}", 0.1, layer, "block", component=long) for layer in (1, 2)]
    with RunStore.create(tmp_path / "run") as store:
        for model in (f"org/{long}", "other"):
            for step in (0, 1000):
                key = CheckpointKey(model, f"step{step}", step, f"sha256:{step}", "drawn")
                tasks = [Measurement("lm_eval", {"task": one.component}, [one]) for one in scores]
                store.record(key, [Measurement("geometry", {}, profiles), *tasks])
    page = write_page([tmp_path / "run"], tmp_path)
    for width in (360, 390):
        with Opened(browser, page, viewport={"width": width, "height": 740}) as opened:
            measure = opened.page.locator("#quantity").get_by_label("Measure")
            for option in measure.locator("option").all():
                measure.select_option(value=option.get_attribute("value"))
                assert opened.page.evaluate("document.documentElement.scrollWidth") == width
            assert opened.page.locator("#quantity").get_by_label("Component").count() == 1
            assert opened.troubles == []


def test_wide_tables_say_so_and_scroll_by_keyboard(small: Opened, wide: Opened) -> None:
    told = [
        opened.page.locator(".table").evaluate_all(
            "all => all.filter(one => one.checkVisibility())"
            ".map(one => [one.scrollWidth > one.clientWidth + 1, one.previousElementSibling.checkVisibility()])"
        )
        for opened in (small, wide)
    ]
    assert [True, True] in told[0] and [False, False] in told[1]
    assert all(wider == said for one in told for wider, said in one)
    small.page.locator("section[aria-labelledby=summary] .table").first.focus()
    small.page.keyboard.press("ArrowRight")
    small.page.wait_for_function("() => document.querySelector('[aria-labelledby=summary] .table').scrollLeft > 0")


def test_names_stay_where_a_table_scrolls(small: Opened, wide: Opened) -> None:
    moved = (
        "one => { one.scrollLeft = 1000; const left = one.getBoundingClientRect().left;"
        "return [one.scrollLeft, ...[...one.querySelector('tbody tr').cells].slice(0, 3)"
        ".map(cell => Math.round(cell.getBoundingClientRect().left - left))]; }"
    )
    for name in ("summary", "saturation", "every-number"):
        table = small.page.locator(f"section[aria-labelledby={name}] .table").first
        scrolled, first, second, third = table.evaluate(moved)
        assert scrolled > 50 and first == 0 and third < max(0, second), name
        if name != "every-number":  # model and measure are names, a loss is none
            assert (second > 0) == (name == "saturation"), name
    assert small.page.evaluate("document.documentElement.scrollWidth") == 360
    seen = "one => getComputedStyle(one.querySelector('td')).position"
    assert wide.page.locator("section[aria-labelledby=saturation] .table").first.evaluate(seen) == "static"


def test_tables_fit_a_page_of_1200_and_only_they_scroll_at_400(browser: Browser, tmp_path: Path) -> None:
    for model, width in (("pythia-70m-deduped", 512), ("pythia-160m-deduped (run second)", 768)):
        record(tmp_path / "run", model, (0, *range(1000, 144_000, 11_000)), width=width, turn=90_000)
    page = write_page([tmp_path / "run"], tmp_path)
    wide = "one.checkVisibility() && one.scrollWidth > one.clientWidth + 1"
    wider = f"all => all.filter(one => {wide}).map(one => one.ariaLabel)"
    with Opened(browser, page, viewport={"width": 1200, "height": 900}) as opened:
        assert opened.page.locator("main h2#saturation, main h2#counting, main h2#summary").count() == 3
        assert opened.page.locator(".table").evaluate_all(wider) == []
        # A number and its error stand on one line there.
        cells = opened.page.locator("[aria-label='Table: Summary'] td")
        heights = cells.evaluate_all("all => all.map(one => one.offsetHeight)")
        assert max(heights) - min(heights) <= 1
    with Opened(browser, page, viewport={"width": 400, "height": 740}) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 400


def test_a_telephone_shows_short_paragraphs_and_drawings_at_their_size(browser: Browser, tmp_path: Path) -> None:
    for place, size in enumerate((16, 24, 32)):
        record(tmp_path / "run", f"pythia-{size}m", width=size, turn=None if place else 128)
    page = write_page([tmp_path / "run"], tmp_path)
    high = "all => all.filter(one => one.checkVisibility() && one.offsetHeight > 300).map(one => one.textContent)"
    wide = "one => [one.scrollWidth, one.clientWidth, one.previousElementSibling.checkVisibility()]"
    with Opened(browser, page, viewport={"width": 400, "height": 740}) as opened:
        assert opened.page.locator("main p, main li").evaluate_all(high) == []  # twelve lines
        assert opened.page.evaluate("document.documentElement.scrollWidth") == 400
        assert not opened.page.locator("#figure-loss .words").evaluate("one => one.open")
        drawing = opened.page.locator("#figure-loss_by_size .drawing")
        opened.page.wait_for_function("() => document.querySelector('.drawing').scrollWidth > 700")
        assert drawing.evaluate(wide) == [797, 368, True]
        drawing.focus()
        opened.page.keyboard.press("ArrowRight")
        opened.page.wait_for_function("() => document.querySelector('.drawing').scrollLeft > 0")
        assert opened.troubles == []
    with Opened(browser, page, viewport={"width": 1200, "height": 900}) as opened:
        whole, shown, told = opened.page.locator("#figure-loss_by_size .drawing").evaluate(wide)
        assert whole == shown and not told
        assert opened.page.locator("#figure-loss .words").evaluate("one => one.open")


def test_a_drawing_has_the_colours_that_its_models_have_on_the_page(browser: Browser, tmp_path: Path) -> None:
    for width in (16, 24, 32):
        record(tmp_path / "run", f"pythia-{width}m", (0, 8), width=width, probes=("loss",))
    page = write_page([tmp_path / "run"], tmp_path)
    seen = "all => all.filter(one => one.checkVisibility()).map(one => atob(one.src.split(',')[1]))"
    for scheme, shown in (("light", LIGHT), ("dark", DARK)):
        with Opened(browser, page, color_scheme=scheme) as opened:
            (drawn,) = opened.page.locator("#figure-loss_by_size img").evaluate_all(seen)
            assert all(colour in drawn for colour in shown[:3]) and shown[3] not in drawn
            opened.page.locator("#theme").click()
            (turned,) = opened.page.locator("#figure-loss_by_size img").evaluate_all(seen)
            assert turned != drawn


def test_nothing_moves_when_figures_are_drawn(browser: Browser, web_run: Path) -> None:
    places = "Object.fromEntries([...document.querySelectorAll('h2')].map(one => [one.id, one.offsetTop]))"
    before = f"document.addEventListener('DOMContentLoaded', () => {{ window.before = {places}; }});"
    with Opened(browser, web_run / "report.html", before=before, viewport={"width": 1200, "height": 900}) as opened:
        earlier, later = opened.page.evaluate(f"[window.before, {places}]")
    fixed = [name for name in later if name != "every-number"]  # under figures of a measure that may have no layers
    assert len(fixed) > 8
    assert {name: later[name] - earlier[name] for name in fixed if abs(later[name] - earlier[name]) > 40} == {}


def test_fifty_models_are_told_apart_by_colour_and_dashes() -> None:
    known = [Checkpoint("model", "step0", 0)]
    made = _Measurements(RunData(Numbers(), {"singular_values": {}}, [], []))
    looks = [_model(number, "model", known, made) for number in range(50)]
    assert len({(look["colors"][0], look["dash"]) for look in looks}) == 50


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
