"""Tables of the web page: numbers to the digits it promises, each with its row in the store; and the page's size."""

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser

from lm_probe import reports
from lm_probe.probes import Reading
from lm_probe.reports._data import Checkpoint, Made, Place, RunData
from lm_probe.reports._document import Document
from lm_probe.reports._intervals import interval
from lm_probe.reports._load import load
from lm_probe.reports._markdown import number
from lm_probe.reports._numbers import Numbers
from lm_probe.reports._web import page as page_of
from lm_probe.reports._web_pack import shortened
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore
from tests.browsing import Opened, stored, write_page
from tests.reporting import PYTHIA


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


def test_every_number_leads_to_its_row_in_the_store(wide: Opened, web_run: Path) -> None:
    section = wide.page.locator("section[aria-labelledby=every-number]")
    with RunStore(web_run) as store:
        values = store.values(provenance=True)
    assert f"of {len(values):,} numbers" in section.inner_text()
    section.get_by_label("Measure").select_option(label="mean_cosine")
    section.get_by_label("Model").select_option(label="demo-d16")
    section.get_by_label("Place").select_option(label="final norm")
    cosines = stored(web_run, "demo-d16", "mean_cosine", site="final_norm")
    column = "rows => rows.map(row => row.cells[5].textContent)"
    rows = section.locator("tbody tr")
    assert [float(text) for text in rows.evaluate_all(column)] == [float(f"{cosine:.6g}") for cosine in cosines]
    section.get_by_role("columnheader", name="value").get_by_role("button").click()
    section.get_by_role("columnheader", name="value").get_by_role("button").click()
    descending = sorted(cosines, reverse=True)
    assert [float(text) for text in rows.evaluate_all(column)] == [float(f"{cosine:.6g}") for cosine in descending]
    section.get_by_label("Checkpoint has").fill("step 32")
    assert rows.count() == 1
    rows.first.get_by_role("button").click()
    dialog = wide.page.get_by_role("dialog")
    said = dict(zip(dialog.locator("dt").all_text_contents(), dialog.locator("dd").all_text_contents(), strict=True))
    (query,) = re.findall(r"measurement = .*", said["row in the run store"])
    with sqlite3.connect(web_run / "run.db") as db:
        found = db.execute(
            f"SELECT value, n, identity, config_hash FROM vals JOIN measurements m ON m.id = measurement "
            f"JOIN checkpoints c ON c.id = m.checkpoint WHERE {query}"
        ).fetchall()
    ((value, n, identity, settings),) = found
    assert said["value"] == f"{value:.6g} (all digits are in its row)" and said["n"] == str(n)
    assert identity == said["identity"] and said["settings"].startswith(f"{settings}: {{")
    assert "torch" in said["versions"] and said["dtype, device"] == "float32, cpu"
    wide.page.keyboard.press("Escape")
    assert dialog.count() == 0
    section.get_by_label("Checkpoint has").fill("")


def test_the_interval_of_a_share_is_the_reports(wide: Opened, web_run: Path) -> None:
    section = wide.page.locator("section[aria-labelledby=every-number]")
    section.get_by_label("Place").select_option(label="all")
    section.get_by_label("Measure").select_option(label="acc")
    section.get_by_label("Model").select_option(label="demo-d32")
    section.get_by_label("Component has").fill("most_frequent_word_m20")
    section.locator("tbody tr").first.get_by_role("button").click()
    dialog = wide.page.get_by_role("dialog")
    score = load([web_run]).scores("lm_eval", "acc", "most_frequent_word_m20")[Checkpoint("demo-d32", "step512", 512)]
    ends = interval("acc", score)
    assert ends is not None
    assert f"{ends.low:.5g}"[:6] in dialog.inner_text() and f"{ends.high:.5g}"[:6] in dialog.inner_text()
    dialog.get_by_role("button", name="Close").click()


MEASURES, WITH_ERROR = 264, 42  # as many numbers as all probes store


@pytest.fixture(scope="module")
def long_series() -> RunData:
    """154 checkpoints of a model of 24 layers, with 1 % of noise from one to the next, every digit of it used."""
    rng = np.random.default_rng(0)
    checkpoints = [Checkpoint("pythia-410m", f"step{step}", step) for step in PYTHIA]
    places = [Place(0, "embedding"), *(Place(layer, "block") for layer in range(1, 25)), Place(24, "final_norm")]
    shape = (MEASURES, len(checkpoints), len(places))
    values = rng.standard_normal((MEASURES, 1, len(places))) * (1 + 0.01 * rng.standard_normal(shape))
    errors = 0.05 + 0.01 * rng.random(shape)
    rows = [
        (number, f"measure_{name}", place.layer, place.site, None, value, error if name < WITH_ERROR else None, 50_000)
        for name in range(MEASURES)
        for number in range(len(checkpoints))
        for place, value, error in zip(
            places, values[name, number].tolist(), errors[name, number].tolist(), strict=True
        )
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
    made = page_of(long_series, said)
    assert len(made) < 5_000_000
    (tmp_path / "report.html").write_bytes(made)
    opened = Opened(browser, tmp_path / "report.html")
    assert opened.troubles == []
    scores = long_series.profiles("geometry", "measure_0")
    last = Checkpoint("pythia-410m", "step143000", 143_000)
    assert opened.line("any-profile")["y"] == pytest.approx([score.value for score in scores[last].values()], rel=5e-7)
    assert f"of {MEASURES * 154 * 26:,} numbers" in opened.page.locator("#numbers").inner_text()
    opened.context.close()


EXTREMES = [-1.5, 0.0, 1e-300, -2e300, 1e43, 123_456.0, 2_097_151.0, -7.654321e-9, 0.1, 1.0]


@given(st.lists(st.floats(allow_infinity=False, allow_nan=False), min_size=2, max_size=9), st.sampled_from([0, 7]))
def test_shortened_numbers_keep_their_order_and_their_digits(numbers: list[float], dropped: int) -> None:
    array = np.array(sorted(numbers))
    codes = shortened(array, dropped).astype(np.int64)
    assert (np.diff(codes) >= 0).all() and (codes > 0).all()
    half = 2**31 >> dropped
    assert ((codes > half) <= (array > 0)).all() and ((codes < half) <= (array < 0)).all()
    assert shortened(-array, dropped).tolist() == (2 * half - codes).tolist()
    assert shortened(np.array([np.nan]), dropped).tolist() == [0]


@pytest.mark.parametrize("digits", [3, 4, 6])
def test_the_page_writes_numbers_for_people_as_the_report_does(browser: Browser, digits: int) -> None:
    values = [0.0, 0.5, 1.0, -0.25, 3.8, 1024.0, 9999.6, 0.99996, 123_456.7, 999_999.9, 1e6, -2.5e7, 1.2e-4, 9.9e-5]
    source = (Path(reports.__file__).with_name("web") / "data.js").read_text(encoding="utf-8")
    page = browser.new_page()
    written = f"([values, many]) => {{ {source}; return values.map((one) => shown(one, many)); }}"
    said = page.evaluate(written, [values, digits])
    page.close()
    assert said == [number(value, digits) for value in values]


def test_errors_and_what_is_made_of_them_have_no_digits_that_are_not_stored(browser: Browser, tmp_path: Path) -> None:
    pairs = [(1_600_000.0, 1_536_425.14), (5.0, 12_345.67), (7.25, 0.0), (0.123456, 0.0012345678)]
    readings = [Reading("odd", value, layer, "block", stderr=error) for layer, (value, error) in enumerate(pairs, 1)]
    with RunStore.create(tmp_path / "run") as store:
        key = CheckpointKey("tiny", "step0", 0, "sha256:0", "drawn")
        store.record(key, [Measurement("geometry", {}, readings, Conditions("float32", "cpu"))])
    with Opened(browser, write_page([tmp_path / "run"], tmp_path)) as opened:
        rows = opened.page.locator("#numbers tbody tr")
        cells = rows.evaluate_all("all => all.map(one => one.cells[6].textContent)")
        assert cells == ["1536000", "12346", "0", "0.001235"]
        hovers = [text.split("interval ")[1].split("<br>")[0] for text in opened.line("any-profile")["text"]]
        assert hovers[0] == "\N{MINUS SIGN}1,411,000 to 4,611,000" and hovers[3] == "0.121036 to 0.125876"
        rows.first.get_by_role("button").click()
        assert hovers[0] in opened.page.get_by_role("dialog").inner_text()


def test_the_page_has_six_digits_of_numbers_of_any_size(browser: Browser, tmp_path: Path) -> None:
    readings = [Reading("odd", value, layer, "block") for layer, value in enumerate(EXTREMES, 1)]
    with RunStore.create(tmp_path / "run") as store:
        for step, some in ((0, readings), (1, readings[::2]), (2, readings)):
            key = CheckpointKey("tiny", f"step{step}", step, f"sha256:{step}", "drawn")
            store.record(key, [Measurement("geometry", {}, some, Conditions("float32", "cpu"))])
    with Opened(browser, write_page([tmp_path / "run"], tmp_path)) as opened:
        assert opened.line("any-profile")["y"] == pytest.approx(EXTREMES, rel=5e-7, abs=0)
        cells = opened.page.locator("#numbers tbody tr").evaluate_all("all => all.map(one => one.cells[5].textContent)")
        shown = [EXTREMES, EXTREMES[::2], EXTREMES]
        assert [float(text) for text in cells] == [
            float(f"{one:.6g}") if one % 1 else one for row in shown for one in row
        ]
        assert opened.troubles == []
