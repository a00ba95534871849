"""Which checkpoints a sweep visits."""

from pathlib import Path

import pytest

from lm_probe.sweeps import UserError, plan

PYTHIA_STEPS = [0, *(2**k for k in range(10)), *range(1000, 144000, 1000)]


@pytest.fixture
def pythia(tmp_path: Path) -> str:
    for step in PYTHIA_STEPS:
        (tmp_path / "pythia" / f"step{step}").mkdir(parents=True)
    (tmp_path / "pythia" / "notes").mkdir()
    return str(tmp_path / "pythia")


def _steps(source: str, revisions: str | None) -> list[int | None]:
    return [visit.step for visit in plan([source], revisions)]


def test_a_local_series_is_taken_whole_and_in_order(pythia: str) -> None:
    assert _steps(pythia, None) == _steps(pythia, "all") == PYTHIA_STEPS
    assert plan([pythia])[3].revision == "step4"
    assert plan([pythia])[3].model == "pythia"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("step0,step512", [0, 512]),
        ("512, 0", [512, 0]),
        ("100000:", list(range(100000, 144000, 1000))),
        (":4", [0, 1, 2, 4]),
        ("0:20000:5000", [0, 5000, 10000, 15000, 20000]),
        ("1000:3000:1000", [1000, 2000, 3000]),
        (
            "log2",
            [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 4000, 8000, 16000, 33000, 66000, 131000, 143000],
        ),
    ],
)
def test_rules_select(pythia: str, rule: str, expected: list[int]) -> None:
    assert _steps(pythia, rule) == expected


@pytest.mark.parametrize(("rule", "said"), [("9:15", "selects nothing"), ("0:10:0", "stride of 0"), (",", "is empty")])
def test_rules_that_select_nothing_are_named(pythia: str, rule: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan([pythia], rule)


def test_plain_folders_have_no_revision_and_equal_names_get_their_parents(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "model").mkdir(parents=True)
    visits = plan([str(tmp_path / "a" / "model"), str(tmp_path / "b" / "model"), str(tmp_path / "a" / "model")])
    assert [(visit.model, visit.revision, visit.step) for visit in visits] == [
        ("a/model", None, None),
        ("b/model", None, None),
    ]


def test_a_hub_repository_is_main_unless_revisions_are_named() -> None:
    assert [visit.revision for visit in plan(["user/model"])] == ["main"]
    assert [visit.revision for visit in plan(["user/model@step7"])] == ["step7"]
    visits = plan(["user/model"], "0,step7,main")
    assert [(visit.model, visit.revision, visit.step) for visit in visits] == [
        ("user/model", "step0", 0),
        ("user/model", "step7", 7),
        ("user/model", "main", None),
    ]


def test_nothing_to_sweep_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to sweep"):
        plan([])
    with pytest.raises(UserError, match="no folder"):
        plan([str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match="no sub-folders step<N>"):
        plan([str(tmp_path)], "log2")


def test_two_folders_of_one_step_are_refused(tmp_path: Path) -> None:
    for name in ("step8", "step08"):
        (tmp_path / "twins" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="holds both step08 and step8: rename or remove one"):
        plan([str(tmp_path / "twins")])
