"""Which checkpoints a sweep visits."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from lm_probe.model_adapters import is_local, notices_to
from lm_probe.sweeps import UserError, plan
from tests.loopback_hub import LoopbackHub

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


def test_steps_of_a_range_that_are_not_there_are_said(pythia: str, tmp_path: Path) -> None:
    def said(rule: str) -> list[str]:
        lines: list[str] = []
        plan([pythia], rule, say=lines.append)
        return lines

    assert said("0:100:10") == [
        f"--revisions 0:100:10 names 11 steps, and {pythia} has 1 of them: 0; its steps are 0, 1, 2, 4, 8, 16, 32, 64, "
        f"128, 256, ..., 143000"
    ]
    assert (
        "names 7 steps, and" in said("0:3000:500")[0]
        and "has 4 of them: 0, 1000, 2000, 3000; " in said("0:3000:500")[0]
    )
    # The run may have ended early, or be under way.
    assert f"names 82 steps, and {pythia} has 14 of them: 0, 11000, " in said("0:900000:11000")[0]
    assert f"names 15 steps, and {pythia} has 1 of them: 143000; " in said("143000:143098:7")[0]
    for rule in ("0:20000:5000", "0::11000", "0:100", "log2", "all", "step0,step512"):
        assert said(rule) == []


@pytest.mark.parametrize(("asked", "meant"), [("log3", "log2"), ("log10", "log2"), ("al", "all"), ("final", None)])
def test_a_rule_that_is_none_is_named_beside_the_nearest(asked: str, meant: str | None, pythia: str) -> None:
    with pytest.raises(UserError) as raised:
        plan([pythia], asked)
    beside = f"--revisions {asked} (near it: {meant}): " if meant else ""
    assert str(raised.value).startswith(f"{beside}{pythia} has no checkpoint {asked}: found step0, ")


@pytest.mark.parametrize(("rule", "said"), [("9:15", "selects nothing"), ("0:10:0", "stride of 0"), (",", "is empty")])
def test_rules_that_select_nothing_are_named(pythia: str, rule: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan([pythia], rule)


def test_plain_folders_have_no_revision_and_equal_names_get_their_parents(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "model").mkdir(parents=True)
        (tmp_path / parent / "model" / "config.json").touch()
    visits = plan([str(tmp_path / "a" / "model"), str(tmp_path / "b" / "model"), str(tmp_path / "a" / "model")])
    assert [(visit.model, visit.revision, visit.step) for visit in visits] == [
        ("a/model", None, None),
        ("b/model", None, None),
    ]


_PLAN = """
import json, sys
from lm_probe.model_adapters import is_local, notices_to
from lm_probe.sweeps import UserError, plan
for source, revisions in json.loads(sys.argv[1]):
    try:
        print(json.dumps([(v.model, v.revision, v.step, v.commit) for v in plan([source], revisions)]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def test_revisions_of_a_repository_are_pinned_when_the_sweep_is_planned(tmp_path: Path) -> None:
    asked = [
        ("user/model", None),
        ("user/model@step7", None),
        ("user/model", "0,step7,main"),
        ("user/model", "all"),
        ("user/model", "1:"),
        ("user/model", "step8"),
        ("user/modle", None),
        ("user/model", "9:12"),
        ("user/plain", "all"),
    ]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with LoopbackHub() as hub:
        folder = tmp_path / "model"
        shas = hub.add_model("user/model", {"main": folder, "step0": folder, "step7": folder})
        (plain,) = hub.add_model("user/plain", {"main": folder}).values()
        done = subprocess.run(
            [sys.executable, "-c", _PLAN, json.dumps(asked)],
            env=hub.environment(tmp_path / "cache"),
            capture_output=True,
            text=True,
        )
        assert not [request for request in hub.requests if "/resolve/" in request.path]
    assert done.returncode == 0, done.stderr
    main, first, last = (
        ["user/model", name, step, shas[name]] for name, step in (("main", None), ("step0", 0), ("step7", 7))
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found[:5] == [[main], [last], [first, last, main], [first, last], [last]]
    assert "has no revision step8" in found[5]
    assert "no model user/modle" in found[6]
    assert "selects nothing" in found[7]
    assert found[8] == [["user/plain", "main", None, plain]]


def test_one_folder_written_in_two_ways_is_one(pythia: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(pythia).parent)
    visits = plan(["pythia", "./pythia", pythia], "step0")
    assert [(visit.model, visit.source, visit.where) for visit in visits] == [("pythia", "pythia", pythia)]


def test_nothing_to_sweep_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to sweep"):
        plan([])
    with pytest.raises(UserError, match="no folder"):
        plan([str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match=r"holds no config\.json and no step<N> or checkpoint-<N> folders"):
        plan([str(tmp_path)])
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match="no sub-folders step<N> or checkpoint-<N>, so"):
        plan([str(tmp_path)], "log2")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="loop is a link that leads nowhere"):
        plan([str(tmp_path / "loop")])


def test_a_revision_that_is_not_there_is_refused(pythia: str) -> None:
    with pytest.raises(UserError, match=r"has no checkpoint step3: found step0, step1, step2, \.\.\. step143000"):
        plan([pythia], "step0,step3")


def test_two_folders_of_one_step_are_refused(tmp_path: Path) -> None:
    for name in ("step8", "step08"):
        (tmp_path / "twins" / name).mkdir(parents=True)
    with pytest.raises(UserError, match="holds both step08 and step8: rename or remove one"):
        plan([str(tmp_path / "twins")])


def test_sibling_steps_are_one_series(pythia: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell gives them for `pythia/step*`."""
    for folder in Path(pythia).glob("step*"):
        (folder / "config.json").touch()
    monkeypatch.chdir(Path(pythia).parent)
    visits = plan([f"pythia/step{step}" for step in (1, 16, 2)])
    assert [(visit.model, visit.source, visit.revision, visit.step) for visit in visits] == [
        ("pythia", "pythia", f"step{step}", step) for step in (1, 2, 16)
    ]
    assert plan(["pythia"], "1") == plan(["pythia/step1"]) == plan(["pythia/step1/", pythia], "1")
    (Path(pythia) / "step4" / "config.json").unlink()
    with pytest.raises(UserError, match=r"pythia/step4 holds no config\.json"):
        plan(["pythia/step2", "pythia/step4"])


def test_a_rule_is_applied_to_the_steps_that_are_named(pythia: str) -> None:
    """As to a series of these alone."""
    for folder in Path(pythia).glob("step*"):
        (folder / "config.json").touch()
    given = [f"{pythia}/step{step}" for step in (3000, 1, 4, 8, 5000)]

    def steps(rule: str | None, *more: str) -> list[int | None]:
        return [visit.step for visit in plan([*given, *more], rule)]

    assert steps(None) == steps("all") == [1, 4, 8, 3000, 5000]
    assert steps("log2") == [1, 4, 8, 3000, 5000] and steps("2:3000") == [4, 8, 3000]
    assert steps("8,1") == [8, 1] and steps("0::4") == [4, 8, 3000, 5000]
    assert steps("0:4", pythia) == [0, 1, 2, 4], "the whole series is given too"
    for rule, said in (
        ("16", f"what is given of {pythia} has no checkpoint step16: found step1, step4, step8, step3000, step5000"),
        ("10:20", f"--revisions 10:20 selects nothing of what is given of {pythia}: it has 5 steps (step1, step4, st"),
        ("log3", "--revisions log3 (near it: log2): what is given of"),
    ):
        with pytest.raises(UserError) as raised:
            steps(rule)
        assert str(raised.value).startswith(said)
    with pytest.raises(UserError, match=r"^--revisions log2 selects nothing: every source names its own"):
        plan(["user/name@step8"], "log2")


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("pythia/step10", "pythia/step1, pythia/step0, pythia/step1000"),
        ("./pytiha", "pythia"),
        ("./pytiha/step8", "pythia/step8"),
        ("pythia/step8/of/it", ""),
    ],
)
def test_a_folder_that_is_not_there_is_no_repository(
    asked: str, near: str, pythia: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(pythia).parent)
    with pytest.raises(UserError) as raised:
        plan([asked])
    said = f"{asked} (near it: {near})" if near else asked
    assert str(raised.value) == f"no folder {said}: check the path, or give a Hub repository as user/name"


def test_what_may_be_a_repository_is_asked_for_and_said_to_be_no_folder(
    hub: LoopbackHub, no_pauses: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever keeps a model of a user in a folder of that name may ask the Hub for another one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "model").mkdir(parents=True)
    (tmp_path / "user" / "model" / "config.json").write_text("{}")
    hub.add_model("user/models", {"main": tmp_path / "user" / "model"})
    assert [visit.model for visit in plan(["user/models"])] == ["user/models"]
    with pytest.raises(UserError, match=r"^--revisions log3 \(near it: log2\): user/models has no revision log3: "):
        plan(["user/models"], "log3")
    with pytest.raises(UserError, match=r"no such folder here \(near it: user/model\) and no such repository"):
        plan(["user/modle"])
    hub.fail("/api/models/", "503", math.inf)
    said: list[str] = []
    with notices_to(said.append), pytest.raises(UserError, match=r"^user/modle \(no such folder here; near it: user/m"):
        plan(["user/modle"])
    assert said[0].startswith("user/modle main (no such folder here; near it: user/model): "), "before it is waited for"
    with pytest.raises(UserError, match=r"^user/quite-other \(no such folder here\): "):
        plan(["user/quite-other"])
    with pytest.raises(UserError, match=r"^other/name: "):
        plan(["other/name"])
    with pytest.raises(UserError, match=r"^no folder nope, and the Hub, asked for a model of that name, did not"):
        plan(["nope"])


@pytest.mark.parametrize(
    ("asked", "there"), [("user/my_model", "user/my-model"), ("user/gpt", "user/GPT"), ("neox_s", "neox-s")]
)
def test_a_folder_in_another_spelling_is_named_without_the_hub(
    asked: str, there: str, hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).mkdir(parents=True)
    assert not is_local(asked), "a folder of anything else may be called what it likes"
    (tmp_path / there / "config.json").write_text("{}")
    assert not is_local(f"{asked}2"), "which may be another model of the user's"
    with pytest.raises(UserError, match=rf"^no folder {asked} \(near it: {there}\): check the path"):
        plan([asked])
    assert not hub.requests
