"""Figures: drawings that stand on any page, and the sites and steps on their axes."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from lm_probe.probes import Reading, VectorReading
from lm_probe.reports import write_report
from lm_probe.reports._condensation_pictures import condensation_pictures
from lm_probe.reports._data import Checkpoint, Place, Score
from lm_probe.reports._figure_condensation import _square
from lm_probe.reports._figure_spectrum import spectra
from lm_probe.reports._figure_trend import trend
from lm_probe.reports._layers import all_layers, final_place, literature_layers, place_name
from lm_probe.reports._load import load
from lm_probe.reports._markdown import MISSING
from lm_probe.reports._step_axis import step_axis
from lm_probe.reports._style import COLOURS, GREY
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore
from tests.reporting import STEPS, record


def test_figures_are_drawings_on_any_page(two_models: Path) -> None:
    for path in sorted((two_models / "figures").iterdir()):
        root = ElementTree.fromstring(path.read_bytes())
        assert root.tag.endswith("svg")
        said = path.read_text(encoding="utf-8")
        assert GREY in said
        assert "<dc:date>" not in said
        # Nothing is filled over the page: no rectangle of the figure's size in white.
        assert not re.search(r"fill: ?(#ffffff|white)", said), path.name


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_colours_stand_out_from_the_page(page: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    def contrast(one: str, other: str) -> float:
        dark, light = sorted((luminance(one), luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    assert contrast(GREY, page) > 4
    assert min(contrast(colour, page) for colour in COLOURS) > 3


@pytest.mark.parametrize("smallest", [0.95, 0.6, 0.3, 0.05])
def test_the_axis_of_a_flat_spectrum_can_be_read(smallest: float) -> None:
    one = Checkpoint("demo", "step1", 1)
    figure = spectra({one: np.linspace(2, 2 * smallest, 16)}, {"demo": [one]})
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    low, high = axis.get_view_interval()
    shown = [tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert len(set(filter(None, shown))) >= 3


def test_the_hidden_states_of_geometry_are_drawn_where_anisotropy_was_not_measured(tmp_path: Path) -> None:
    sites = [(0, "embedding"), (1, "block"), (1, "final_norm")]
    readings = [Reading("mean_cosine", 0.2 + 0.1 * place, *site) for place, site in enumerate(sites)]
    with RunStore.create(tmp_path) as store:
        for step in (1, 2):
            key = CheckpointKey("demo", f"step{step}", step, f"sha256:{step}", "demo")
            store.record(key, [Measurement("geometry", {}, readings)])
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "## Hidden states" in report and "(figures/anisotropy_depth.svg)" in report
    assert "demo after the final norm at step 1 (0.400)" in report
    more = [Measurement("anisotropy", {}, [Reading("mean_cosine", 0.9, 1, "final_norm")])]
    with RunStore.create(tmp_path) as store:
        store.record(CheckpointKey("demo", "step1", 1, "sha256:1", "demo"), more)
    assert load([tmp_path]).mean_cosines == load([tmp_path]).profiles("anisotropy", "mean_cosine")


def test_the_last_site_follows_the_literature() -> None:
    def profile(*sites: tuple[int, str]) -> dict[Place, Score]:
        return {Place(*site): Score(float(place), None, None) for place, site in enumerate(sites)}

    normal = profile((0, "embedding"), (1, "block"), (2, "block"), (2, "final_norm"))
    assert [(place_name(layer.place), layer.depth) for layer in literature_layers(normal)] == [
        ("embedding", 0.0),
        ("block 1", 0.5),
        ("final norm", 1.0),
    ]
    assert [layer.place for layer in all_layers(normal)] == list(normal)
    assert final_place(profile((0, "embedding"), (1, "block"), (1, "head_input"))) == Place(1, "head_input")
    assert final_place(profile((0, "embedding"), (1, "block"))) == Place(1, "block")


def test_step_zero_stands_at_half_of_the_first_step() -> None:
    axis = step_axis([0, 1000, 2000, 143_000])
    assert axis.place(0) == 500 and axis.place(2000) == 2000
    assert axis.ticks() == [0, 1000, 10_000, 100_000]
    assert step_axis([64, 128]).ticks() == [64, 128]
    assert step_axis(range(1000, 17_000, 1000)).ticks() == [1000, 2000, 5000, 10_000]
    assert step_axis([8, 64, 512]).ticks() == [10, 20, 50, 100, 200, 500]
    assert step_axis([0]).ticks()[0] == 0


def test_series_and_single_checkpoints_of_different_depth(tmp_path: Path) -> None:
    record(tmp_path, "series", STEPS[:4], layers=3)
    record(tmp_path, "opt", [None], layers=7, width=64)
    record(tmp_path, "zero", [0], layers=1)
    write_report([tmp_path])
    assert (tmp_path / "figures" / "anisotropy_heat_map.svg").is_file()


def test_measures_without_a_section_are_folded_tables_and_condensation_is_drawn(tmp_path: Path) -> None:
    neurons = 6
    pairs = np.linspace(-1, 1, neurons * (neurons - 1) // 2)
    with RunStore.create(tmp_path) as store:
        for step in (0, 8):
            store.record(
                CheckpointKey("demo", f"step{step}", step, f"sha256:{step}", "demo"),
                [
                    Measurement(
                        "condensation",
                        {},
                        [
                            *(Reading("groups", layer + step, layer, "block", "query", n=9) for layer in (1, 2)),
                            Reading("mean_abs_cosine_over_gaussian", 1 + step / 8, 1, "block", "query", n=9),
                            VectorReading("heat_map_cosines", pairs + step / 100, 1, "block", "query"),
                        ],
                    ),
                    Measurement(
                        "geometry",
                        {},
                        [
                            Reading("isoscore", 0.25, 0, "embedding", stderr=0.01, n=50),
                            Reading("isoscore", 0.5, 2, "final_norm", stderr=0.02, n=50),
                        ],
                    ),
                ],
            )
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "<summary>condensation: 2 measures, mean over blocks (every block is in the export)</summary>" in report
    assert "| groups | query | demo | 0 | 1.500 | 8 | 9.500 |" in report
    assert "<summary>geometry: 1 measure, at the last site</summary>" in report
    assert f"| isoscore | {MISSING} | demo | 0 | 0.5000 ± 0.0200 | 8 | 0.5000 ± 0.0200 |" in report
    first, drawn = load([tmp_path]).heat_maps
    assert first.checkpoint.step == 0 and np.array_equal(first.cosines, pairs)
    assert (drawn.checkpoint.step, drawn.layer, drawn.role) == (8, 1, "query")
    assert np.array_equal(drawn.cosines, pairs + 0.08)
    square = _square(drawn)
    assert square.shape == (neurons, neurons) and np.array_equal(square, square.T)
    assert square[0, 1] == drawn.cosines[0] and square[1, 2] == drawn.cosines[neurons - 1]
    assert "(figures/condensation.svg)" in report and "(figures/condensed_neurons.svg)" in report


def test_models_with_one_and_the_same_step_stand_side_by_side() -> None:
    series = {f"m{i}": [Checkpoint(f"m{i}", "step8", 8)] for i in range(4)}
    scores = {own[0]: Score(3.0, 0.1, 10) for own in series.values()}
    (axes,) = trend(scores, series, "loss", {}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"m{i} (step8)" for i in range(4)]
    series["m0"].append(Checkpoint("m0", "step9", 9))
    scores[series["m0"][1]] = Score(2.9, 0.1, 10)
    assert len(trend(scores, series, "loss", {}).axes[0].lines) == 4


ROLES = ("query", "key", "value", "attention_output", "mlp_in", "mlp_out")
OVER_CHANCE = "mean_abs_cosine_over_gaussian"


def _condensed(run: Path, model: str, width: int, step: int | None, strongest: tuple[str, int]) -> None:
    """A checkpoint of two blocks; one projection is farther above chance than the others."""
    readings: list[Reading | VectorReading] = [Reading(OVER_CHANCE, 9.0, 0, "embedding", "embedding")]
    for layer in (1, 2):
        for role in ROLES:
            ratio = 1 + (1 if step is None else step) * (0.5 if (role, layer) == strongest else 0.1)
            readings.append(Reading(OVER_CHANCE, ratio, layer, "block", role))
            readings.append(Reading(OVER_CHANCE, 20.0, layer, "block", f"{role}_per_head"))
            readings.append(VectorReading("heat_map_cosines", np.full(3, ratio / 10), layer, "block", role))
    sigma = VectorReading("singular_values", np.ones(width), component="all_rows")
    measured = [Measurement("condensation", {}, readings), Measurement("head_spectrum", {}, [sigma])]
    with RunStore.create(run) as store:
        store.record(CheckpointKey(model, f"step{step}", step, f"sha256:{model}{step}", model), measured)


def test_condensation_shows_every_block_and_role_over_training(tmp_path: Path) -> None:
    for step in (0, 4, 8):
        _condensed(tmp_path, "b-narrow", 8, step, ("key", 2))
        _condensed(tmp_path, "a-wide", 32, step, ("mlp_out", 1))
    over_steps, neurons = condensation_pictures(load([tmp_path]))
    figure = over_steps.draw()
    assert [part.get_suptitle() for part in figure.subfigs] == ["b-narrow", "a-wide"]
    for part in figure.subfigs:
        panels = [axes for axes in part.axes if axes.get_title()]
        assert [axes.get_title() for axes in panels] == ["embedding", *(role.replace("_", " ") for role in ROLES)]
        layers = [[line for line in axes.lines if len(line.get_xdata()) == 3] for axes in panels]
        assert [len(lines) for lines in layers] == [1, 2, 2, 2, 2, 2, 2]
        assert len({line.get_color() for lines in layers for line in lines}) == 3
        assert len({axes.get_ylim() for axes in panels}) == 1
    key = next(axes for axes in figure.subfigs[0].axes if axes.get_title() == "key")
    assert key.lines[1].get_ydata() == pytest.approx([1, 3, 5])
    drawn = [axes for axes in neurons.draw().axes if axes.get_title()]
    assert [(axes.get_title(), axes.get_xlabel()) for axes in drawn] == [
        *((f"b-narrow, step {step}", "block 2, key") for step in (0, 8)),
        *((f"a-wide, step {step}", "block 1, mlp out") for step in (0, 8)),
    ]
    assert "b-narrow block 2, key (5.00 times chance) and a-wide block 1, mlp out (5.00" in neurons.caption


def test_condensation_of_single_checkpoints_is_drawn_over_layers(tmp_path: Path) -> None:
    for place in range(5):
        _condensed(tmp_path, f"m{place}", 8 + place, None, ("value", 2))
    over_layers, neurons = condensation_pictures(load([tmp_path]))
    panels = [axes for axes in over_layers.draw().axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["m0", "m1", "m2", "m3"]
    assert "4 of 5 models are shown." in over_layers.caption
    assert panels[0].lines[3].get_xdata().tolist() == [1, 2]
    assert panels[0].lines[3].get_ydata() == pytest.approx([1.1, 1.5])
    assert [axes.get_xlabel() for axes in neurons.draw().axes if axes.get_title()] == ["block 2, value"] * 5
