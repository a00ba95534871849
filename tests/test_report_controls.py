"""The report draws the mean cosine beside its controls, and over the number of tokens."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.reports._control_pictures import control_pictures
from lm_probe.reports._load import load
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore

SITES = ((0, "embedding"), (1, "block"), (2, "block"), (2, "final_norm"))


def _cosines(base: float, component: str | None = None) -> list[Reading]:
    return [
        Reading("mean_cosine", base + 0.01 * place, *site, component, stderr=0.001) for place, site in enumerate(SITES)
    ]


def _record(run: Path, model: str, step: int, probes: dict[str, list[Reading]]) -> None:
    with RunStore.create(run) as store:
        key = CheckpointKey(model, f"step{step}", step, f"sha256:{model}{step}", model)
        store.record(key, [Measurement(probe, {}, readings) for probe, readings in probes.items()])


def _shown(figure: Figure, panel: int) -> list[list[float]]:
    """Lines, without the caps of their bars and markers that stand alone."""
    return [list(line.get_ydata()) for line in figure.axes[panel].lines if line.get_linestyle() != "None"]


def _profile(base: float) -> object:
    return pytest.approx([base + 0.01 * place for place in range(len(SITES))])


def test_the_last_checkpoint_stands_beside_its_controls(tmp_path: Path) -> None:
    _record(tmp_path, "bare", 8, {"anisotropy": _cosines(0.5)})
    for step in (0, 8):
        probes = {"anisotropy": _cosines(0.1 + step / 10), "anisotropy_random": _cosines(0.05 + step / 100)}
        # Of geometry alone there is a Gaussian; of both probes' random weights the first one's are shown.
        _record(tmp_path, "m", step, probes | {"geometry_random": _cosines(0.7), "geometry_gaussian": _cosines(0.0)})
    _record(tmp_path, "m", 16, {"anisotropy": _cosines(0.2)})  # the last one has none
    (picture,) = control_pictures(load([tmp_path]))
    figure = picture.draw()
    assert [axes.get_title() for axes in figure.axes] == ["m, step 8"]
    assert _shown(figure, 0) == [_profile(0.9), _profile(0.13), _profile(0.0)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "measured",
        "random weights",
        "Gaussian vectors",
    ]
    assert "Random weights:" in picture.caption and "Shuffled" not in picture.caption


def test_the_mean_cosine_over_the_number_of_tokens(tmp_path: Path) -> None:
    sizes = (625, 1250, 10_000)
    for model in ("m", "n"):
        curve = [one for size in sizes for one in _cosines(size / 1e5, f"{size:05} tokens")]
        _record(tmp_path, model, 4, {"anisotropy": _cosines(0.1), "anisotropy_curve": curve})
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "(figures/anisotropy_tokens.svg)" in report and "(figures/anisotropy_controls.svg)" not in report
    (picture,) = control_pictures(load([tmp_path]))
    first, second = (axes for axes in picture.draw().axes if axes.get_title())
    for axes in (first, second):
        lines = [line for line in axes.lines if len(line.get_xdata()) == len(sizes) and line.get_marker() == "."]
        assert len(lines) == len(SITES)
        for place, line in enumerate(lines):
            assert tuple(line.get_xdata()) == sizes
            assert list(line.get_ydata()) == pytest.approx([size / 1e5 + 0.01 * place for size in sizes])
        assert [line.get_linestyle() for line in lines] == ["-", "-", "-", "--"]
        assert [int(tick) for tick in axes.get_xticks()] == list(sizes)


def test_without_controls_there_is_no_figure(tmp_path: Path) -> None:
    _record(tmp_path, "m", 4, {"anisotropy": _cosines(0.1), "anisotropy_curve": _cosines(0.1, "00625 tokens")})
    assert control_pictures(load([tmp_path])) == []
