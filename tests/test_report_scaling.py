"""Models by size in the report: laws, shapes and their figures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from lm_probe.reports import GODEY_2024, write_report
from lm_probe.reports._load import load
from lm_probe.reports._markdown import MISSING
from lm_probe.reports._model_pictures import model_pictures
from lm_probe.reports._scaling_findings import Scaling
from lm_probe.reports._scaling_law import ScalingLaw
from lm_probe.reports._scaling_pictures import emergence_pictures, scaling_pictures
from lm_probe.reports._sizes import family_in_name, size_in_name
from tests.findings import LATE, analysed, write
from tests.reporting import record, tables_of


def ladder(run: Path, sizes: Mapping[str, int], *, lift: Mapping[str, float] | None = None) -> None:
    """Models whose final losses follow the published law at a fixed number of tokens; `lift` adds a late rise."""
    for name, size in sizes.items():
        law = float(GODEY_2024.loss(float(size), 3e11))
        rise = (lift or {}).get(name, 0.0)
        time = np.arange(16) / 15
        values = law + 0.5 * (1 - np.minimum(1, 2 * time)) ** 2 + rise * np.maximum(0, 2 * time - 1)
        wobble = 1e-4 * np.sin(7 * np.arange(16))
        write(run, name, {"loss": values + wobble * (time < 1)}, parameters=size, error=0.002)


SIZES = {"m70": 70_426_624, "m410": 405_334_016, "m1b": 1_011_781_632, "m1.4b": 1_414_647_808}
SIZES |= {"m2.8b": 2_775_208_960, "m6.9b": 6_857_302_016, "m12b": 11_846_072_320}


def test_a_law_through_the_models_that_do_not_saturate_and_the_gap_of_the_one_that_does(tmp_path: Path) -> None:
    ladder(tmp_path, SIZES, lift={"m70": 0.3})
    found = analysed(tmp_path).scaling
    assert found is not None
    (law,) = laws_of(found)
    by_model = {one.model: one for one in found.losses}
    assert not by_model["m70"].fitted and all(one.fitted for name, one in by_model.items() if name != "m70")
    small = float(GODEY_2024.loss(float(SIZES["m70"]), 3e11))
    assert by_model["m70"].gap == pytest.approx(0.3 / small, rel=0.05)
    assert all(abs(one.gap or 0) < 1e-3 for name, one in by_model.items() if name != "m70")
    assert law.alpha == pytest.approx(GODEY_2024.alpha, rel=0.05)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    row = next(row for row in tables_of(report, "## Scaling") if row[0] == "m70")
    assert row[1] == "70,426,624" and row[6].startswith("*+9.0")
    (picture,) = scaling_pictures(load([tmp_path]), analysed(tmp_path))
    (axes,) = picture.draw().axes
    markers = {line.get_xdata()[0]: line for line in axes.lines if line.get_marker() not in ("_", "None")}
    assert set(SIZES.values()) <= set(markers) and "figures/loss_by_size.svg" in report
    hollow = {size: markers[size].get_markerfacecolor() == "none" for size in SIZES.values()}
    assert [size for size, empty in hollow.items() if empty] == [SIZES["m70"]]
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 100]
    assert line.get_ydata()[0] == pytest.approx(float(law.loss(float(SIZES["m70"]), 1.0)))


def laws_of(found: Scaling) -> list[ScalingLaw]:
    return [one.law for one in found.laws if one.law]


def refusal_of(run: Path) -> str:
    """Why the only family of a run has no law."""
    found = analysed(run).scaling
    assert found is not None
    (family,) = found.families
    assert family.law is None
    return family.refusal


def test_each_family_of_enough_models_has_its_law_and_others_are_named(tmp_path: Path) -> None:
    ladder(tmp_path, {f"a-{name[1:]}": size for name, size in SIZES.items()})
    ladder(tmp_path, {f"b-{name[1:]}": size // 2 for name, size in SIZES.items()})
    ladder(tmp_path, {"other-70m": 70_000_000, "other-160m": 160_000_000})
    write(tmp_path, "late-1b", {"loss": [3.0] * 16}, parameters=10**9, steps=[one + 7 for one in LATE])
    found = analysed(tmp_path).scaling
    assert found is not None and [one.family for one in found.laws] == ["a", "b"]
    assert all(law.alpha == pytest.approx(GODEY_2024.alpha, rel=0.05) for law in laws_of(found))
    predicted = {one.model for one in found.losses if one.predicted is not None}
    assert len(predicted) == 14 and not predicted & {"other-70m", "late-1b"}
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    for family in "ab":
        assert f"of {family} (7 models) E = " in report
    assert "No further scaling law is fitted of late-1b: its three constants" in report
    assert "; other (other-70m and other-160m): its three constants" in report
    rows = {row[0]: row for row in tables_of(report, "## Scaling")[2:]}
    assert rows["other-70m"][5:7] == [MISSING, MISSING] and rows["a-410"][6].endswith("%")
    (picture,) = scaling_pictures(load([tmp_path]), analysed(tmp_path))
    (axes,) = picture.draw().axes
    assert len([line for line in axes.lines if len(line.get_xdata()) == 100]) == 2
    assert not any(line.get_markerfacecolor() == "none" for line in axes.lines)


def test_a_law_is_refused_with_its_reason(tmp_path: Path) -> None:
    ladder(tmp_path / "few", {name: SIZES[name] for name in ("m70", "m410")})
    assert "take 5 models or more" in refusal_of(tmp_path / "few")
    report = write_report([tmp_path / "few"]).read_text(encoding="utf-8")
    said = "its three constants (E, A and alpha) take 5 models or more that are not called saturated, and here are 2."
    assert f"No scaling law is fitted: {said}" in report
    write(tmp_path / "text", "x-s", {"loss": [3.0] * 16}, parameters=1000, sample="one")
    write(tmp_path / "text", "x-m", {"loss": [2.0] * 16}, parameters=2000, sample="two")
    assert "not over the same tokens" in refusal_of(tmp_path / "text")
    write(tmp_path / "steps", "x-s", {"loss": [3.0] * 16}, parameters=1000)
    write(tmp_path / "steps", "x-m", {"loss": [2.0] * 15}, parameters=2000, steps=LATE[:-1])
    assert "different steps" in refusal_of(tmp_path / "steps")
    write(tmp_path / "names", "p-70m", {"loss": [3.0] * 16})
    write(tmp_path / "names", "p-160m", {"loss": [2.0] * 16})
    assert "names only" in refusal_of(tmp_path / "names")
    write(tmp_path / "one", "x", {"loss": [3.0] * 16}, parameters=1000)
    assert analysed(tmp_path / "one").scaling is None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("pythia-70m", 70e6),
        ("EleutherAI/pythia-1.4b-deduped", 1.4e9),
        ("pythia-1b-bf16", 1e9),
        ("gpt2", None),
        ("demo-d16", None),
        ("opt-125m_v2", 125e6),
        ("m70model", None),
    ],
)
def test_sizes_in_names(name: str, size: float | None) -> None:
    found = size_in_name(name)
    assert (None if found is None else found.parameters) == size


def test_a_jump_is_called_emergent_only_where_chance_is_known(tmp_path: Path) -> None:
    for place, size in enumerate((70, 160, 410, 1000, 2800, 6900)):
        scores = {"sciq acc": [0.6 + 0.3 * (place > 3)], "flat acc": [0.5]}
        scores |= {f"count_query_m5 {name}": [0.1 + 0.8 * (place > 3)] for name in ("acc",)}
        scores |= {"count_query_m5 floor_constant_acc": [0.1]}
        write(tmp_path, f"a-{size}m", scores, steps=[8])
    curves = {one.measure.name: one for one in analysed(tmp_path).curves}
    assert curves["sciq acc"].found.label == "emergent" and curves["sciq acc"].shape == "jump"
    assert "chance is not known" in curves["sciq acc"].found.reason
    assert curves["count_query_m5 acc"].shape == "emergent"
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "Over model size emergent: count_query_m5 acc (a)." in report
    assert "Over model size alike at first and then higher by a jump: sciq acc (a)." in report
    rows = {row[0]: row for row in tables_of(report, "## Emergence")[2:]}
    assert rows["sciq"][2] == "jump" and rows["flat"][2] == "flat"


def test_of_many_shapes_those_that_say_most_are_shown(tmp_path: Path) -> None:
    for place, size in enumerate((70, 160, 410, 1000, 2800)):
        flat = {f"t{task} acc": [0.5] for task in range(70)}
        write(tmp_path, f"a-{size}m", {**flat, "z acc": [0.3 + 0.1 * place]}, steps=[8])
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    rows = tables_of(report, "## Emergence")[2:]
    assert len(rows) == 60 and rows[-1][0] == "z"
    assert "Not in this table: 11 rows that are flat; all rows are in tables/emergence.csv." in report
    assert len((tmp_path / "tables" / "emergence.csv").read_text().splitlines()) == 72


def test_many_models_have_a_panel_for_each_family(tmp_path: Path) -> None:
    for name in ("pythia-70m", "pythia-1.4b", "gpt2", "gpt2-xl", "opt-125m", "opt-1.3b", "gemma-2b"):
        record(tmp_path, name, (0, 8), layers=3, probes=("anisotropy",))
    assert [family_in_name(name) for name in ("org/pythia-1.4b", "opt-125m", "llama")] == ["pythia", "opt", "llama"]
    (picture,) = model_pictures(load([tmp_path]))
    assert [axes.get_title() for axes in picture.draw().axes] == ["gpt", "pythia", "opt", "gemma"]
    drawn = [line for axes in picture.draw().axes for line in axes.lines if line.get_linestyle() != "None"]
    assert len(drawn) == 7 and all(line.get_xdata()[0] == 0 and line.get_xdata()[-1] == 1 for line in drawn)


def test_families_have_curves_of_their_own_and_sizes_count_once(tmp_path: Path) -> None:
    for place, size in enumerate((70, 160, 410, 1000, 2800)):
        write(tmp_path, f"org/a-{size}m", {"task acc": [0.3 + 0.1 * place]}, steps=[8])
        write(tmp_path, f"org/b-{size}m", {"task acc": [0.7 - 0.1 * place]}, steps=[8])
    write(tmp_path, "org/a-70m-other", {"task acc": [0.9]}, steps=[8])
    curves = {one.family: one for one in analysed(tmp_path).curves}
    assert {family: one.found.label for family, one in curves.items()} == {"a": "smooth", "b": "inverse"}
    assert curves["a"].left_out == ["org/a-70m-other"] and len(curves["a"].models) == 5
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert "Left out beside a model of the same size and a shorter name: org/a-70m-other." in report
    assert [row[3] for row in tables_of(report, "## Emergence")[2:]] == ["5 a", "5 b"]
    (picture,) = emergence_pictures(analysed(tmp_path))
    (axes,) = picture.draw().axes
    drawn = [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() != "None"]
    assert drawn[0] == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7]) and len(drawn) == 2
    assert [text.get_text() for text in axes.texts] == ["a: smooth, b: inverse"]
    assert "](figures/scores_by_size.svg)" in report


NAMED_WITHOUT_A_NUMBER = ("neox-s", "neox-m", "neox-l", "opt-s", "llama-s", "gpt2-s")


def test_families_of_too_few_sizes_have_no_shape_and_no_law_and_it_is_said(tmp_path: Path) -> None:
    for place, name in enumerate(NAMED_WITHOUT_A_NUMBER):
        scores = {"loss": [4.0 - 0.3 * place] * 16, "task acc": [0.3 + 0.1 * place] * 16}
        write(tmp_path, name, scores, parameters=10 ** (4 + place))
    assert [family_in_name(name) for name in NAMED_WITHOUT_A_NUMBER] == [*["neox"] * 3, "opt", "llama", "gpt"]
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    _, _, emergence = report.partition("## Emergence")
    assert "it takes 4 sizes of one family" in emergence
    assert "here are gpt (1), llama (1), neox (3) and opt (1)." in emergence
    assert not tables_of(report, "## Emergence") and not emergence_pictures(analysed(tmp_path))
    assert "No scaling law is fitted of gpt2-s, llama-s and opt-s: its three constants (E, A and alpha)" in report
    assert "; neox (neox-s, neox-m and neox-l): its three constants" in report
    write(tmp_path, "neox-xl", {"task acc": [0.9] * 16}, parameters=10**10)
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    assert [row[3] for row in tables_of(report, "## Emergence")[2:]] == ["4 neox"]
    assert "Families of fewer than 4 sizes have no row: gpt (1), llama (1) and opt (1)." in report
