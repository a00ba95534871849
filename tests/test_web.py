"""The web page says what the report says, asks no network, and copes with runs of every kind."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from lm_probe.model_adapters import install_words
from lm_probe.probes import Reading, VectorReading
from lm_probe.reports import write_report
from lm_probe.reports._data import RunData
from lm_probe.reports._document import Document, Section
from lm_probe.reports._markdown import fold
from lm_probe.reports._numbers import Numbers
from lm_probe.reports._web import page as page_of
from lm_probe.reports._web_text import rendered
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore
from tests.browsing import Opened, write_page
from tests.reporting import record


def test_it_opens_from_disk_and_asks_no_network(wide: Opened, web_run: Path) -> None:
    assert wide.troubles == []
    assert wide.asked == [(web_run / "report.html").as_uri()]
    assert not re.search(r"(src|href)=\"?(https?:)?//", re.sub(r'href="https://arxiv[^"]*"', "", page_text(web_run)))


def page_text(web_run: Path) -> str:
    """The page without its two blocks of data."""
    said = (web_run / "report.html").read_text(encoding="utf-8")
    return re.sub(r'<script type="text/plain".*?</script>', "", said, flags=re.DOTALL)


def test_its_words_are_those_of_the_report(wide: Opened, web_run: Path) -> None:
    report = (web_run / "report.md").read_text(encoding="utf-8")
    headings = [line[3:] for line in report.splitlines() if line.startswith("## ")]
    shown = wide.page.locator("main h2").all_text_contents()
    assert shown == [*headings, "Any measure", "Every number"]
    assert "2 measurements failed" in wide.page.locator("main > p:visible").first.inner_text()
    for link in wide.page.locator("a").evaluate_all("links => links.map(one => one.getAttribute('href'))"):
        if link.startswith("#"):
            assert wide.page.locator(f"[id='{link[1:]}']").count() == 1, link
        elif not link.startswith("https:"):
            assert (web_run / link).is_file(), link


def test_runs_with_little_in_them(browser: Browser, web_run: Path, tmp_path: Path) -> None:
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


def test_two_runs_in_one_page(browser: Browser, web_run: Path, tmp_path: Path) -> None:
    record(tmp_path / "other", "demo-d16", (0, 1, 2, 3), layers=3)
    opened = Opened(browser, write_page([web_run, tmp_path / "other"], tmp_path))
    names = opened.page.locator("#models label").all_inner_texts()
    assert names == ["demo-d16 (run other)", "demo-d16 (run run)", "demo-d32"]
    slider = opened.page.locator("#figure-anisotropy_depth input[type=range]")
    assert opened.line("anisotropy_depth")["name"] == "demo-d16 (run other), step 3"  # it has no step 512
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
        ratio = Reading("mean_abs_cosine_over_gaussian", 2.0, 1, "block", "query")
        measured = [Measurement("condensation", {}, [ratio, pairs])]
        store.record(CheckpointKey("demo", "step1", 1, "sha256:1", "demo"), measured)
    write_report([tmp_path])
    opened = Opened(browser, tmp_path / "report.html")
    image = opened.page.get_by_role("img", name="Neurons of the most condensed projection")
    assert image.evaluate("one => one.naturalWidth") > 100 and opened.troubles == []
    opened.context.close()


def test_without_the_extra_there_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    RunStore.create(tmp_path).close()
    write_report([tmp_path], say=said.append)
    assert (tmp_path / "report.html").is_file() and said == []
    monkeypatch.delitem(sys.modules, "lm_probe.reports._web")
    monkeypatch.delitem(sys.modules, "lm_probe.reports._web_text")
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    write_report([tmp_path], say=said.append)
    assert (tmp_path / "report.md").is_file()
    assert not (tmp_path / "report.html").exists()  # the earlier one may say something else
    assert said == [f"no report.html, because markdown_it is not installed: {install_words('web')}, adds the page"]


def test_markdown_has_no_html_and_few_links() -> None:
    said = rendered(["a <b>b</b> [x](javascript:y) [c](tables/a.csv) ![i](x.png)", fold("more | x", "*in* it")], "name")
    assert "&lt;b&gt;" in said and "javascript:y)" in said and 'href="tables/a.csv"' in said and "<img" not in said
    assert "<details><summary>more | x</summary><p><em>in</em> it</p>" in said
    assert 'aria-label="Table: &lt;n&quot;"' in rendered(["| a |\n| --- |\n| b |"], '<n"')


def test_without_javascript_there_are_no_empty_frames(browser: Browser, web_run: Path) -> None:
    context = browser.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto((web_run / "report.html").as_uri())
    assert "lm-probe export" in page.locator(".note:visible").inner_text()
    assert page.locator(".plot:visible, .controls:visible, .words:visible, fieldset:visible").count() == 0
    assert page.locator("#figure-loss figcaption").is_visible() and page.locator("#numbers").is_hidden()
    context.close()


def test_a_section_of_anybody_appears(web_run: Path) -> None:
    said = Document("t", [], [Section("Audit", ["| checkpoint | finding |\n| --- | --- |\n| a | same head |"])])
    made = page_of(RunData(Numbers(), {"singular_values": {}}, [], []), said).decode()
    assert '<h2 id="audit">Audit</h2>' in made and "<td>same head</td>" in made and 'href="#audit"' in made
