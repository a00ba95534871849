"""Nothing that comes in with a run is run by its page."""

import re
from pathlib import Path

from playwright.sync_api import Browser

from lm_probe.probes import Reading
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore
from tests.browsing import Opened, write_page
from tests.reporting import record

EVIL = (
    "<img src=x onerror=pwn()> %{x} <script>pwn()</script> </script><script>pwn()</script> <!-- {{7*7}} {% x %} "
    "${7*7} [l](javascript:pwn()) ![p](http://e.example/p.png) <a href='http://e.example'>b</a> **bold** "
    "\" onclick='pwn()'"
)


def test_nothing_that_came_in_is_run(browser: Browser, tmp_path: Path) -> None:
    extra = [Reading(f"m{EVIL}", 0.5, component=EVIL, stderr=0.1, n=9), Reading("acc", 0.5, component=f"t{EVIL}", n=9)]
    extra.append(Reading("perplexity", 50.0, component=f"p{EVIL}", stderr=1.0, n=9))
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
    (line,) = page.evaluate("[...document.querySelectorAll('[data-late] .plot')].map(one => one.data.at(-1).text[0])")
    assert "perplexity (p&lt;img" in line
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
