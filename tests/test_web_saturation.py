"""Figures of the verdicts, and models whose training ended at different steps, on the web page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from lm_probe.probes import Reading
from lm_probe.reports._analysis import analyse
from lm_probe.reports._load import load
from lm_probe.reports._noise import late_from
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore
from tests.browsing import Opened, write_page
from tests.reporting import record

STEPS = [0, *(1 << power for power in range(10)), *range(1000, 21_000, 1000)]
ENDS = {"long": 20_000, "short": 12_000}
TASKS = ("arc", "piqa")
PERPLEXITY, MEAN = "saturation_0_lambada_ppl", "saturation_1_mean_of_2_tasks_acc"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, one trained for longer: a perplexity from a billion down to 94 and up again, and two accuracies."""
    folder = tmp_path_factory.mktemp("evaluated")
    rng = np.random.default_rng(0)
    with RunStore.create(folder / "run") as store:
        for model, end in ENDS.items():
            for step in (step for step in STEPS if step <= end):
                perplexity = 1e9 / (1 + step) ** 1.7 + 90 + 0.002 * step + rng.standard_normal()
                scores = [Reading("ppl", perplexity, component="lambada", stderr=1.0, n=5000)]
                scores += [Reading("acc", 0.3 + step / 1e5, component=task, stderr=0.01, n=2000) for task in TASKS]
                key = CheckpointKey(model, f"step{step}", step, f"sha256:{step}", "drawn")
                store.record(key, [Measurement("lm_eval", {"task": one.component}, [one]) for one in scores])
    return folder


@pytest.fixture(scope="module")
def opened(evaluated: Path, browser: Browser) -> Iterator[Opened]:
    with Opened(browser, write_page([evaluated / "run"], evaluated)) as made:
        yield made


def test_figures_of_verdicts_open_on_the_late_part(opened: Opened, evaluated: Path) -> None:
    data = load([evaluated / "run"])
    found = {(one.series.model, one.series.measure.name): one.series for one in analyse(data).headline}
    for figure, measure in ((PERPLEXITY, "lambada ppl"), (MEAN, "mean of 2 tasks acc")):
        for place, model in enumerate(ENDS):
            series, line = found[model, measure], opened.line(figure, place)
            late = late_from(series.steps)
            assert late > 0 and line["name"] == model
            assert line["x"] == list(series.steps[late:])
            assert line["y"] == pytest.approx(list(series.values[late:]), rel=5e-7)
    assert opened.axis(PERPLEXITY, "xaxis")["type"] == opened.axis(PERPLEXITY, "yaxis")["type"] == "linear"
    assert opened.axis(PERPLEXITY, "yaxis")["range"][1] < 10_000
    assert opened.page.locator(f"#said-figure-{MEAN}").inner_text().startswith("Last nine tenths of training. long: ")
    assert opened.page.locator("section[aria-labelledby=saturation] img").count() == 0


def test_one_click_shows_the_whole_training_on_axes_that_suit_it(opened: Opened) -> None:
    figure = opened.page.locator(f"#figure-{PERPLEXITY}")
    figure.get_by_label("last nine tenths only").uncheck()
    assert len(opened.line(PERPLEXITY)["x"]) == len(STEPS) and opened.line(PERPLEXITY)["x"][0] == 0.5
    assert opened.axis(PERPLEXITY, "xaxis")["type"] == opened.axis(PERPLEXITY, "yaxis")["type"] == "log"
    assert figure.get_by_label("log values").is_checked() and figure.get_by_label("log steps").is_checked()
    figure.get_by_label("log values").uncheck()
    assert opened.axis(PERPLEXITY, "yaxis")["type"] == "linear"
    figure.get_by_label("last nine tenths only").check()
    assert len(opened.line(PERPLEXITY)["x"]) < len(STEPS)
    assert not figure.get_by_label("log steps").is_checked()
    figure.get_by_label("log values").check()
    ticks = figure.locator(".ytick text").all_text_contents()
    assert {"200", "500", "1000"} <= set(ticks) and "9" not in ticks


def test_models_are_chosen_and_points_tell_what_they_are(opened: Opened) -> None:
    box = opened.page.locator("#models").get_by_label("long")
    box.uncheck()
    assert [opened.line(figure)["name"] for figure in (PERPLEXITY, MEAN)] == ["short", "short"]
    box.check()
    stored, mean = (opened.line(figure)["text"][-1] for figure in (PERPLEXITY, MEAN))
    assert "long, step 20,000<br>ppl (lambada)<br>value" in stored
    assert "n = 5,000" in stored and "measurement" in stored and "95 % interval" in stored
    assert mean.startswith(
        "long, step 20,000<br>acc (mean of 2 tasks)<br>value 0.500000<br>95 % interval 0.486141 to 0.5138"
    )
    assert mean.endswith("computed for the report from stored scores")
    assert "mean of 2" not in opened.page.locator("#numbers").inner_text()
    assert "mean of 2" not in opened.page.locator("#quantity").inner_text()
    assert opened.troubles == []


def _counted(m: int, step: int) -> Measurement:
    task = f"count_query_m{m}"
    arms = {"mae": 9 - step / 1e3, "mae_binary": 7 - step / 1e3, "mae_gap": 2.0, "floor_constant_mae": 8.0}
    return Measurement(
        "lm_eval", {"task": task}, [Reading(name, arms[name], component=task, stderr=0.1, n=200) for name in arms]
    )


def test_each_model_stands_with_its_last_checkpoint_up_to_there(browser: Browser, tmp_path: Path) -> None:
    known = {"other": (100, 450), "small": (100, 600), "solo": (1000,)}
    with RunStore.create(tmp_path / "run") as store:
        for model, steps in known.items():
            for step in steps:
                profile = [Reading("mean_cosine", step / 1e3, layer, "block", stderr=0.01, n=50) for layer in (1, 2)]
                tasks = [_counted(m, step) for m in (5, 10) if (model, step, m) != ("small", 600, 10)]
                key = CheckpointKey(model, f"step{step}", step, f"sha256:{model}{step}", "drawn")
                store.record(key, [Measurement("anisotropy", {}, profile), *tasks])
    with Opened(browser, write_page([tmp_path / "run"], tmp_path)) as opened:
        named = {"other, step 450": 0.45, "small, step 600": 0.6, "solo": 1.0}
        shown = [opened.line("anisotropy_depth", place) for place in range(3)]
        assert {line["name"]: line["y"][0] for line in shown} == pytest.approx(named)
        assert shown[1]["text"][0].startswith("small, step 600 (its last up to step 1,000)<br>")
        assert shown[2]["text"][0].startswith("solo, step 1,000<br>")
        gaps = [opened.line("counting_gap", place) for place in range(3)]
        assert [line["name"].removesuffix(", full less control") for line in gaps] == list(named)
        assert len(gaps[1]["y"]) == 1  # what step 600 has, without an earlier answer to m = 10 beside it
        full = [opened.line("counting_error", place) for place in range(9)]
        arms = {line["name"]: line["y"][0] for line in full if line["name"].endswith(", full list")}
        assert arms["other, step 450, full list"] == pytest.approx(8.55) and arms["solo, full list"] == pytest.approx(8)
        assert full[0]["text"][0].startswith("other, step 450 (its last up to step 1,000)<br>")
        slider = opened.page.locator("#figure-counting_gap input[type=range]")
        slider.focus()
        slider.press("Home")
        assert [opened.line("counting_gap", place)["name"] for place in range(2)] == [
            "other, full less control",
            "small, full less control",
        ]
        said = opened.page.locator("#said-figure-counting_gap").inner_text()
        assert "solo" not in said and "(its last" not in said
        assert opened.troubles == []


def test_spectra_too_stand_with_the_last_checkpoint_up_to_there(browser: Browser, tmp_path: Path) -> None:
    record(tmp_path / "run", "short", (0, 8), probes=("head_spectrum",))
    record(tmp_path / "run", "long", (0, 512), probes=("head_spectrum",))
    with Opened(browser, write_page([tmp_path / "run"], tmp_path)) as opened:
        lines = [opened.line("head_spectrum", place) for place in range(2)]
        assert sorted(line["name"] for line in lines) == ["long", "short, step 8"]
        caption = opened.page.locator("#figure-head_spectrum figcaption").inner_text()
        assert "Pale, behind the chosen checkpoint: the first one dotted, the last one heavy." in caption
        short = next(line for line in lines if "short" in line["name"])
        assert short["text"][0].startswith("short, step 8 (its last up to step 512)<br>rank 1<br>")


def test_captions_speak_only_of_what_there_is(browser: Browser, tmp_path: Path) -> None:
    readings = [Reading("mean_cosine", 0.5, layer, "block", stderr=0.01, n=50) for layer in (1, 2)]
    with RunStore.create(tmp_path / "run") as store:
        key = CheckpointKey("gpt2", None, None, "sha256:0", "drawn")
        store.record(key, [Measurement("anisotropy", {}, readings)])
    with Opened(browser, write_page([tmp_path / "run"], tmp_path)) as opened:
        caption = opened.page.locator("#figure-anisotropy_depth figcaption").inner_text()
        assert "Blocks 1 to L" in caption and "slider" not in caption and "dotted" not in caption
        assert opened.page.locator("#figure-anisotropy_depth input[type=range]").count() == 0
        assert opened.axis("anisotropy_depth", "xaxis")["dtick"] == 1  # no layer 1.5
