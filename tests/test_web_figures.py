"""Figures of the web page show what the store holds, on axes that fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from lm_probe.probes import Reading, VectorReading
from lm_probe.reports._data import Checkpoint
from lm_probe.reports._intervals import interval
from lm_probe.reports._load import load
from lm_probe.reports._pictures import anisotropy_pictures, loss_picture, spectrum_pictures
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore
from tests.browsing import Opened, stored, write_page
from tests.reporting import record


def near(stored: Sequence[float]) -> Any:
    """The six digits that a page has."""
    return pytest.approx(stored, rel=5e-7)


def test_the_slider_moves_the_profile(wide: Opened, web_run: Path) -> None:
    slider = wide.page.locator("#figure-anisotropy_depth input[type=range]")
    assert wide.line("anisotropy_depth")["y"] == near(stored(web_run, "demo-d16", "mean_cosine", step=512))
    slider.focus()
    slider.press("Home")
    assert wide.line("anisotropy_depth")["y"] == near(stored(web_run, "demo-d16", "mean_cosine", step=0))
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert wide.line("anisotropy_depth", 1)["y"] == near(stored(web_run, "demo-d32", "mean_cosine", step=2))
    assert slider.get_attribute("aria-valuetext") == "step 2"
    said = wide.page.locator("#said-figure-anisotropy_depth").inner_text()
    assert said.startswith("step 2: demo-d16: 0.02000 at embedding")
    slider.press("End")


def test_figures_show_what_is_stored(wide: Opened, web_run: Path) -> None:
    assert wide.line("loss", 1)["y"] == near(stored(web_run, "demo-d32", "loss"))
    assert wide.line("loss")["x"][:3] == [0.5, 1, 2]  # step 0 at half of the first step after it
    cells = wide.line("anisotropy_heat_map")["z"]
    assert len(cells) == 7
    assert cells[0] == near(stored(web_run, "demo-d16", "mean_cosine", site="embedding"))
    assert cells[6] == near(stored(web_run, "demo-d16", "mean_cosine", site="final_norm"))
    ratios = wide.line("head_spectrum", 1)["y"]
    sigma = load([web_run]).vectors["singular_values"][Checkpoint("demo-d32", "step512", 512)]
    assert ratios == pytest.approx(list(sigma / sigma.max()), rel=6.2e-5)  # four digits
    full, control = (
        [stored(web_run, "demo-d16", metric, step=512, component=f"count_query_m{m}")[0] for m in (5, 10, 20)]
        for metric in ("mae", "mae_binary")
    )
    assert wide.line("counting_error")["y"] == near(full) and wide.line("counting_error", 1)["y"] == near(control)
    assert wide.line("counting_error", 1)["name"] == "demo-d16, control"
    assert wide.line("counting_error", 3)["name"] == "demo-d16, blind, control"
    assert wide.line("most_frequent_word", -1)["name"] == "blind, control"
    assert wide.line("most_frequent_word", -1)["y"] == [0.5, 0.5]  # one of two words


def test_any_measure_and_any_models(wide: Opened, web_run: Path) -> None:
    measure = wide.page.locator("#quantity").get_by_label("Measure")
    measure.select_option(label="effective_rank")
    assert wide.line("any-trend")["y"] == near(stored(web_run, "demo-d16", "effective_rank", component="all_rows"))
    assert wide.axis("any-trend", "yaxis")["title"]["text"].startswith("effective_rank")
    assert wide.page.locator("#figure-any-profile").is_hidden()  # it has no layers
    measure.select_option(label="mean_cosine")
    wide.page.locator("#figure-any-trend").get_by_label("Place").select_option(label="block 3")
    assert wide.line("any-trend")["y"] == near(stored(web_run, "demo-d16", "mean_cosine", layer=3))
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


def test_hovering_tells_value_interval_size_and_checkpoint(wide: Opened, web_run: Path) -> None:
    figure = wide.page.locator("#figure-loss")
    figure.scroll_into_view_if_needed()
    figure.locator(".scatterlayer .trace path.point").last.hover(force=True)
    said = figure.locator(".hoverlayer").text_content(timeout=5000) or ""
    data = load([web_run])
    one = Checkpoint("demo-d32", "step512", 512)
    score = data.scores("loss", "loss")[one]
    (made,) = (row for row in data.made if row.checkpoint == one and row.probe == "loss")
    ends = interval("loss", score)
    assert ends is not None and score.n is not None
    assert "demo-d32, step 512" in said and f"value {score.value:.6g}" in said
    assert (
        score.stderr is not None and 0.1 <= score.stderr < 1
    )  # so that the last of its four digits is the fourth place
    assert f"95 % interval {ends.low:.4f} to {ends.high:.4f}" in said
    assert f"n = {score.n:,}" in said and f"checkpoint {made.identity[:19]}" in said
    assert f"measurement {made.id}" in said


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


def test_models_stand_beside_one_another_with_the_layers_of_the_literature(browser: Browser, tmp_path: Path) -> None:
    run = tmp_path / "run"
    record(run, "gpt2", [None], layers=4)
    record(run, "pythia-14m", (0, 8, 512), layers=6)
    record(run, "pythia-31m", (0, 8, 512), layers=6, width=32)
    with Opened(browser, write_page([run], tmp_path)) as opened:
        slider = opened.page.locator("#figure-anisotropy_models input[type=range]")
        gpt2, pythia = (opened.line("anisotropy_models", place) for place in (0, 1))
        assert [gpt2["name"], pythia["name"]] == ["gpt2", "pythia-14m, step 512"]
        assert gpt2["x"] == [0, 0.25, 0.5, 0.75, 1] and pythia["x"][-1] == 1
        blocks = stored(run, "pythia-14m", "mean_cosine", step=512)
        assert pythia["y"] == near([*blocks[:6], blocks[7]])  # the final norm in the place of block 6
        slider.focus()
        slider.press("Home")
        named = [opened.line("anisotropy_models", place)["name"] for place in range(3)]
        assert named == ["gpt2", "pythia-14m, step 0", "pythia-31m, step 0"]
        opened.page.locator("#models").get_by_label("gpt2").uncheck()
        assert opened.line("anisotropy_models")["name"] == "pythia-14m, step 0"
        assert opened.troubles == []


def test_the_page_and_its_drawings_have_the_same_axes(browser: Browser, tmp_path: Path) -> None:
    """Names, kinds of scale, rows and colours come from one place each."""
    depths = {"small": 2, "large": 4}
    with RunStore.create(tmp_path) as store:
        for model, depth in depths.items():
            for step in (0, 1000, 2000):
                sites = [(0, "embedding"), *((layer, "block") for layer in range(1, depth + 1)), (depth, "final_norm")]
                cosines = [Reading("mean_cosine", 0.9 + 0.01 * place, *site) for place, site in enumerate(sites)]
                entropy = Reading("singular_entropy", 1e-3 * (1 + step), component="all_rows")
                sigma = VectorReading("singular_values", np.linspace(2, 1, 64), component="all_rows")
                loss = Reading("loss", 9 - step / 1000, stderr=0.1, n=90)
                probes = {"loss": [loss], "anisotropy": cosines, "head_spectrum": [entropy, sigma]}
                measured = [Measurement(probe, {}, list(found)) for probe, found in probes.items()]
                store.record(CheckpointKey(model, f"step{step}", step, f"sha256:{model}{step}", model), measured)
    data = load([tmp_path])
    drawn = {one.name: one for one in (*loss_picture(data), *anisotropy_pictures(data), *spectrum_pictures(data))}
    assert len(drawn) == 5
    with Opened(browser, write_page([tmp_path], tmp_path)) as opened:
        for name, picture in drawn.items():
            axes = picture.draw().axes[0]
            assert opened.axis(name, "xaxis")["title"]["text"] == axes.get_xlabel(), name
            if name == "anisotropy_heat_map":
                opened.page.locator(f"#figure-{name}").get_by_label("Model").select_option(label=axes.get_title())
                rows = opened.axis(name, "yaxis")["ticktext"]
                assert rows == [one.get_text() for one in axes.get_yticklabels()]
                assert rows[-2:] == [f"block {depths[axes.get_title()]}", "final norm"]
                colours = (
                    "() => {const [one] = document.querySelector('#figure-%s .plot').data; return [one.zmin, one.zmax]}"
                )
                assert opened.page.evaluate(colours % name) == pytest.approx(axes.images[0].get_clim())
                continue
            for which, label, scale in (
                ("xaxis", axes.get_xlabel(), axes.get_xscale()),
                ("yaxis", axes.get_ylabel(), axes.get_yscale()),
            ):
                seen = opened.axis(name, which)
                assert (seen["title"]["text"], seen["type"]) == (label, scale), (name, which)
        assert opened.axis("singular_entropy", "yaxis")["type"] == "log"
        assert opened.axis("loss", "yaxis")["type"] == "linear"
        assert opened.troubles == []


def test_what_follows_the_last_block_is_at_its_layer(wide: Opened, web_run: Path) -> None:
    line = wide.line("anisotropy_depth")
    assert line["x"] == [0, 1, 2, 3, 4, 5, 5]
    assert line["y"][-2:] == near(stored(web_run, "demo-d16", "mean_cosine", step=512, layer=5))
    symbols = wide.page.evaluate(
        "() => document.querySelector('#figure-anisotropy_depth .plot').data.find(one => one.text).marker.symbol"
    )
    assert [symbol.endswith("-open") for symbol in symbols] == [False] * 6 + [True]


def test_negative_cosines_are_seen(browser: Browser, tmp_path: Path) -> None:
    readings = [Reading("mean_cosine", -0.01 * layer, layer, "block", stderr=0.002) for layer in range(1, 5)]
    with RunStore.create(tmp_path / "run") as store:
        for step in (0, 1000):
            key = CheckpointKey("tiny", f"step{step}", step, f"sha256:{step}", "drawn")
            store.record(key, [Measurement("anisotropy", {}, readings, Conditions("float32", "cpu"))])
    with Opened(browser, write_page([tmp_path / "run"], tmp_path)) as opened:
        low, high = opened.axis("anisotropy_depth", "yaxis")["range"]
        assert low < -0.044 and -0.006 < high < 0


def test_a_slider_keeps_what_was_zoomed_into_and_a_button_shows_all(wide: Opened) -> None:
    figure = wide.page.locator("#figure-anisotropy_depth")
    figure.scroll_into_view_if_needed()
    box = figure.locator(".draglayer .nsewdrag").bounding_box()
    assert box
    wide.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    wide.page.mouse.down()
    wide.page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    wide.page.mouse.up()
    wide.page.wait_for_function(
        "() => document.querySelector('#figure-anisotropy_depth .plot')._fullLayout.xaxis.range[0] > 0.5"
    )
    zoomed = wide.axis("anisotropy_depth", "xaxis")["range"]
    slider = figure.locator("input[type=range]")
    slider.focus()
    slider.press("ArrowLeft")
    assert wide.axis("anisotropy_depth", "xaxis")["range"] == zoomed
    figure.get_by_role("button", name="Whole range").press("Enter")
    low, high = wide.axis("anisotropy_depth", "xaxis")["range"]
    assert low < 0 and high > 5
    slider.press("End")
    with wide.page.expect_download() as download:
        figure.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "figure-anisotropy_depth.png" and wide.troubles == []


def test_ranks_are_read_off_the_axis_of_a_spectrum(wide: Opened) -> None:
    box = wide.page.locator("#figure-head_spectrum").get_by_label("log ranks")
    box.check()
    low, high = wide.axis("head_spectrum", "xaxis")["range"]
    ticks = wide.page.locator("#figure-head_spectrum .xtick text").all_text_contents()
    assert 10**low > 0.8 and 10**high < 40 and ticks == ["1", "2", "5", "10", "20"]
    box.uncheck()


def test_the_axis_of_a_flat_spectrum_can_be_read(browser: Browser, tmp_path: Path) -> None:
    values = [VectorReading("singular_values", np.linspace(2, 1.4, 16), component="all_rows")]
    with RunStore.create(tmp_path / "run") as store:
        for step in (1, 2):
            key = CheckpointKey("tiny", f"step{step}", step, f"sha256:{step}", "flat")
            store.record(key, [Measurement("head_spectrum", {}, values, Conditions("float32", "cpu"))])
    with Opened(browser, write_page([tmp_path / "run"], tmp_path)) as opened:
        ticks = opened.page.locator("#figure-head_spectrum .ytick text").all_text_contents()
        assert len(set(ticks)) >= 3 and all(0.6 < float(tick) < 1.1 for tick in ticks)


def test_models_at_one_step_stand_side_by_side(browser: Browser, tmp_path: Path) -> None:
    for place, model in enumerate(("big", "middle", "small")):
        record(tmp_path / "run", model, (1000,), width=8 << place, probes=("loss",))
    with Opened(browser, write_page([tmp_path / "run"], tmp_path)) as opened:
        assert [opened.line("loss", place)["x"] for place in range(3)] == [[0], [1], [2]]
        names = {opened.line("loss", place)["name"] for place in range(3)}
        assert set(opened.axis("loss", "xaxis")["ticktext"]) == names == {"big", "middle", "small"}
        assert "step 1,000" in opened.line("loss")["text"][0]
        assert opened.page.locator("#figure-loss").get_by_label("log steps").count() == 0
        assert opened.troubles == []


def test_nothing_lies_over_a_figure(wide: Opened) -> None:
    assert wide.page.locator(".modebar-container .modebar-btn").count() == 0
