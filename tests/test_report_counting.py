"""The counting section."""

from collections.abc import Mapping
from pathlib import Path

from lm_probe.probes import Reading
from lm_probe.reports import write_report
from lm_probe.reports._counting_pictures import counting_pictures
from lm_probe.reports._load import load
from lm_probe.reports._markdown import MISSING
from lm_probe.reports._model_pictures import model_pictures
from lm_probe.reports._pictures import loss_picture
from lm_probe.reports._style import COLOURS, GREY, house_style
from lm_probe.sweeps import CheckpointKey, Measurement, RunStore
from tests.reporting import record, tables_of


def test_only_a_width_that_is_known_is_compared_with_m(two_models: Path, tmp_path: Path) -> None:
    report = (two_models / "report.md").read_text(encoding="utf-8")
    assert "demo-d16 (width 16: m = 20). Elsewhere m stays within the width." in report
    record(tmp_path, "demo", (1,), probes=("lm_eval",))
    assert "How m compares with the models' width is not known" in write_report([tmp_path]).read_text(encoding="utf-8")


def test_the_counting_section_says_what_the_gap_shows(two_models: Path) -> None:
    report = (two_models / "report.md").read_text(encoding="utf-8")
    # The control's error at the last step is 2 ± 0.3 and a constant's 2.4: no interval lies below it.
    assert "**demo-d16 and demo-d32, count query.** At no m is the control better than always giving the best" in report
    # Its accuracy is 0.75 of 200, above half; the full list's is 0.5 / sqrt(m / 5).
    assert (
        "**demo-d16 and demo-d32, most frequent word.** The control is better than a blind answer at m = 5, 10 and 20."
        in report
    )
    assert "At m = 20 the full list is harder by 0.50 [0.44, 0.55]: more different words cost more" in report
    _, _, *rows = tables_of(report, "## Counting")
    (first,) = [row for row in rows if row[0] == "demo-d16" and row[2:5] == ["most frequent word", "accuracy", "5"]]
    assert first[5:9] == [MISSING, "0.50 [0.43, 0.57]", "0.75 [0.69, 0.80]", "0.25 [0.19, 0.31]"]
    assert first[9:] == ["0.200", "0.500", "200"]


def test_the_report_takes_m_from_the_lists_and_not_from_a_tasks_name(tmp_path: Path) -> None:
    extra = [
        Reading(metric, value, component="count_query_m5", stderr=0.1, n=9)
        for metric, value in {
            "mae": 3.0,
            "mae_binary": 2.0,
            "mae_gap": 1.0,
            "different_words": 40.0,
            "list_words": 200.0,
            "answers_one_token": 0.5,
            "vocabulary_max_cos": 0.75,
            "vocabulary_mean_cos": 0.1,
            "vocabulary_effective_rank": 30.5,
            "acc": 0.5,
            "acc_binary": 0.5,
            "acc_gap": 0.0,
        }.items()
    ]
    with RunStore.create(tmp_path) as store:
        asked = {"task": "count_query_m5", "options": {"m": 40, "n": 200}}
        store.record(CheckpointKey("demo", None, None, "sha256:1", "demo"), [Measurement("lm_eval", asked, extra)])
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    row = tables_of(report, "## Counting")[2]
    assert row[3:7] == ["MAE (words)", "40", "200", "3.00 [2.80, 3.20]"]
    assert "Options of the tasks: m = 40, n = 200." in report
    assert "| demo | 40 | 0.750 | 0.100 | 30.5 |" in report
    assert "Answers of several tokens" in report and "in count_query_m5." in report


def test_equal_errors_have_no_interval_and_a_control_has_a_floor_of_its_own(tmp_path: Path) -> None:
    scores = {"mae": (3.0, 0.2), "mae_binary": (2.0, 0.1), "mae_gap": (0.0, 0.0), "acc": (0.1, 0.02)}
    scores |= {"floor_constant_mae": (2.5, 0.1), "floor_constant_mae_binary": (1.0, 0.1)}
    write(tmp_path / "worse", scores)
    worse = write_report([tmp_path / "worse"]).read_text(encoding="utf-8")
    assert "At no m is the control better than always giving the best constant answer" in worse
    write(tmp_path / "better", scores | {"mae_binary": (0.0, 0.0)})
    better = write_report([tmp_path / "better"]).read_text(encoding="utf-8")
    assert "At m = 5 the full list differs from it by 0: no difference is shown." in better
    row = tables_of(better, "## Counting")[2]
    assert row[6:9] == ["3.00 [2.61, 3.39]", "0", "0"]  # equal on all lists: no interval can be given
    del scores["floor_constant_mae_binary"]
    write(tmp_path / "unknown", scores)
    assert "**demo, count query.**" not in write_report([tmp_path / "unknown"]).read_text(encoding="utf-8")


def test_the_most_frequent_count_is_judged_by_errors_and_told_relative_to_the_count(tmp_path: Path) -> None:
    scores = {"mae": (4.0, 0.1), "mae_binary": (0.5, 0.02), "mae_gap": (3.5, 0.1), "mae_relative": (0.2, 0.005)}
    scores |= {"mae_relative_binary": (0.02, 0.001), "mae_relative_gap": (0.18, 0.005)}
    scores |= {"floor_constant_mae": (1.3, 0.1), "floor_constant_mae_binary": (0.7, 0.1)}
    scores |= {"floor_constant_mae_relative": (0.08, 0.01), "floor_constant_mae_relative_binary": (0.03, 0.01)}
    write(tmp_path, scores, "most_frequent_count_m5")
    report = write_report([tmp_path]).read_text(encoding="utf-8")
    said = "**demo, most frequent count.** The control is better than a blind answer at m = 5. At m = 5 the full"
    assert f"{said} list is harder by 0.180 [0.170, 0.190] of the count, and its counts are smaller" in report
    (row,) = [row for row in tables_of(report, "## Counting") if row[3] == "relative error"]
    assert row[9:11] == ["0.0800", "0.0300"]
    assert "Counting in lists of two words" in report and "demo (most frequent count)" in report


def test_each_arm_has_its_own_blind_line(two_models: Path) -> None:
    pictures = {one.name: one for one in counting_pictures(load([two_models]))}
    panel = pictures["most_frequent_word"].draw().axes[0]
    blind = {
        line.get_linestyle(): list(line.get_ydata()) for line in panel.lines if line.get_linestyle() in (":", "-.")
    }
    assert blind == {":": [1 / 5, 1 / 10, 1 / 20], "-.": [0.5] * 3}
    named = [text.get_text() for text in pictures["most_frequent_word"].draw().legends[0].texts]
    assert named[2:] == ["blind in the full list", "blind in the control"]
    panel = pictures["counting_error"].draw().axes[0]
    assert [list(line.get_ydata()) for line in panel.lines if line.get_linestyle() == ":"] == [[2.4] * 3]


def test_a_model_has_one_colour_in_every_figure(tmp_path: Path) -> None:
    for width in (16, 24, 32):
        record(tmp_path, f"demo-d{width}", (0, 8), width=width)
    data = load([tmp_path])
    pictures = [*counting_pictures(data), *model_pictures(data), *loss_picture(data)]
    assert len(pictures) == 5
    with house_style():
        drawn = {one.name: one.draw().axes for one in pictures}
    for place in range(3):
        for name, axes in drawn.items():
            # A panel a model, or its line among those of one panel.
            solid = [[one for one in panel.lines if one.get_linestyle() != "None"] for panel in axes]
            lines = solid[place] if len(axes) > 1 else [solid[0][place]]
            assert {line.get_color() for line in lines} - {GREY} == {COLOURS[place]}, (name, place)


def test_one_size_has_a_mark_for_a_blind_answer(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"acc": (0.3, 0.02), "floor_constant_acc": (0.2, 0.1), "mae": (3.0, 0.2), "floor_constant_mae": (2.0, 0.1)},
    )
    panel = next(one for one in counting_pictures(load([tmp_path])) if one.name == "counting_error").draw().axes[0]
    (blind,) = [line for line in panel.lines if line.get_linestyle() == ":"]
    assert blind.get_marker() == "_" and list(blind.get_ydata()) == [2.0]


def write(run: Path, scores: Mapping[str, tuple[float, float]], task: str = "count_query_m5") -> None:
    with RunStore.create(run) as store:
        readings = [
            Reading(metric, value, component=task, stderr=error, n=200) for metric, (value, error) in scores.items()
        ]
        store.record(
            CheckpointKey("demo", None, None, "sha256:1", "demo"),
            [Measurement("lm_eval", {"task": task}, readings)],
        )
