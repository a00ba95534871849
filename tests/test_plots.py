"""Figures for a notebook: the report's own drawings, of any part of the values."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from lm_probe.probes import Reading, VectorReading
from lm_probe.reports import (
    plot_counting,
    plot_depth,
    plot_layers,
    plot_loss,
    plot_metric,
    plot_spectrum,
    write_report,
)
from lm_probe.reports._style import write_svg
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore, UserError

SITES = ((0, "embedding"), (1, "block"), (2, "block"), (2, "final_norm"))
WIDTH = 8


def _measurements(model: str, step: int) -> list[Measurement]:
    height = {"small": 1.0, "large": 0.5}[model] / (1 + step)
    measured = [
        Measurement("loss", {}, [Reading("loss", 4 + height, stderr=0.01, n=90)]),
        Measurement("anisotropy", {}, [Reading("mean_cosine", height / (2 + n), *s) for n, s in enumerate(SITES)]),
        Measurement("geometry", {}, [Reading("mean_cosine", 0.1, *SITES[0]), Reading("rank", 20 * height, *SITES[-1])]),
        Measurement(
            "head_spectrum",
            {},
            [
                VectorReading("singular_values", np.linspace(2, height, WIDTH), component="all_rows"),
                Reading("singular_entropy", height, component="all_rows"),
            ],
        ),
    ]
    for task in ("count_query_m5", "count_query_m10"):
        readings = [
            Reading(name, height, component=task, stderr=0.1, n=20) for name in ("mae", "mae_binary", "mae_gap")
        ]
        measured.append(Measurement("lm_eval", {"task": task}, readings))
    return measured


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with RunStore.create(folder) as store:
        for model in ("small", "large"):
            for step in (0, 1, 8):
                store.record(
                    CheckpointKey(model, f"step{step}", step, f"{model}{step}", ""), _measurements(model, step)
                )
    return folder


@pytest.fixture(scope="module")
def values(run: Path) -> pd.DataFrame:
    with RunStore(run) as store:
        return store.values()


def test_what_is_drawn_is_what_is_stored(run: Path, values: pd.DataFrame) -> None:
    large, small = plot_loss(values).axes[0].lines
    assert small.get_ydata() == pytest.approx([5, 4.5, 4 + 1 / 9])
    assert large.get_ydata() == pytest.approx([4.5, 4.25, 4 + 0.5 / 9])
    (only,) = plot_loss(values[values.model == "small"]).axes[0].lines
    assert only.get_ydata() == pytest.approx(small.get_ydata())
    axes = plot_metric(values, "mean_cosine", probe="anisotropy").axes[0]
    assert axes.lines[1].get_ydata() == pytest.approx(np.array([1, 1 / 2, 1 / 9]) / 5), "the last site"
    assert plot_metric(values, "mae", component="count_query_m5").axes[0].get_ylabel() == "mae, count_query_m5"
    image = plot_layers(values).axes[0].images[0].get_array()
    assert image is not None
    assert image[:, 0].tolist() == pytest.approx([0.25, 0.5 / 3, 0.125, 0.1]), "every site, from the embedding up"
    assert plot_layers(values, "rank", probe="geometry").axes[-1].get_ylabel() == "rank"
    assert plot_depth(values).axes[0].lines[0].get_xdata().tolist() == [0, 1, 2, 2]
    image = plot_layers(values).axes[0].images[0]
    cosines = values[(values.metric == "mean_cosine") & (values.probe == "anisotropy")].value
    assert image.get_clim() == pytest.approx((cosines.min(), cosines.max())), "colours span what is there"
    first = plot_spectrum(run).axes[0].lines[0].get_ydata()
    assert first == pytest.approx(np.linspace(2, 0.5, WIDTH) / 2)
    assert len(plot_counting(values).axes) == len(plot_counting(run, "gap").axes) == 2


def test_a_run_and_its_folder_and_its_values_give_the_picture_of_the_report(
    run: Path, values: pd.DataFrame, tmp_path: Path
) -> None:
    write_report([run], out=tmp_path / "report")
    for name, title, draw in (
        ("loss", "Loss over training", plot_loss),
        ("anisotropy_heat_map", "Anisotropy by layer and step", plot_layers),
    ):
        drawn = (tmp_path / "report" / "figures" / f"{name}.svg").read_bytes()
        with RunStore(run) as store:
            # The table has no widths, which order the models in a report: these two are of one width.
            for given in (run, str(run), store, values) if name == "loss" else (values,):
                write_svg(lambda given=given, draw=draw: draw(given), tmp_path / "again.svg", title)
                assert (tmp_path / "again.svg").read_bytes() == drawn


def test_pyplot_is_left_alone(values: pd.DataFrame) -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.facecolor": "red"}):
        assert plot_loss(values).axes[0].get_facecolor() == (0, 0, 0, 0), "the report's style, whatever the user's"
    figures = [plot_loss(values), plot_layers(values), plot_depth(values), plot_counting(values)]
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == [] and len(set(map(id, figures))) == 4


def test_what_cannot_be_drawn_says_what_can(run: Path, values: pd.DataFrame) -> None:
    for call, said in (
        (lambda: plot_metric(values, "los"), "no values of los: there are loss"),
        (lambda: plot_metric(values, "mean_cosine"), r"2 things are called mean_cosine: choose probe='anisotropy'; pr"),
        (lambda: plot_metric(values, "mae"), r"choose probe='lm_eval', component='count_query_m10'"),
        (lambda: plot_layers(values, "rank"), r"no rank of that probe and component: there is probe='geometry'"),
        (lambda: plot_layers(values, "loss", probe="loss"), "loss has no layers: plot_metric"),
        (lambda: plot_layers(values[values.step == 1]), "one checkpoint of each model: plot_depth"),
        (lambda: plot_spectrum(values), "not in the table: give the run"),
        (lambda: plot_counting(values, "songs"), "no counting figure songs: known are count_query"),
        (lambda: plot_counting(values, "most_frequent_word"), "no most_frequent_word was measured"),
        (lambda: plot_loss(values.drop(columns="layer")), "has no column layer"),
        (lambda: plot_loss(run / "nowhere"), "holds no run"),
    ):
        with pytest.raises(UserError, match=said):
            call()
