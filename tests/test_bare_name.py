"""A name of the Hub without its user: a few are real, and the others are told at once to be none."""

from math import inf
from pathlib import Path

import pytest

from lm_probe.model_adapters import UserError, notices_to
from lm_probe.model_adapters import _patience as patience
from lm_probe.sweeps import plan
from tests.loopback_hub import LoopbackHub


@pytest.fixture
def legacy(hub: LoopbackHub, series: Path) -> str:
    return hub.add_model("gpt2", {"main": series / "step1", "step1": series / "step1"})["step1"]


@pytest.mark.parametrize("revisions", [None, "step1", "all"])
def test_a_real_one_is_found_also_on_a_busy_hub(
    revisions: str | None, hub: LoopbackHub, legacy: str, no_pauses: list[float]
) -> None:
    hub.fail("/api/models/", "503", 2)
    assert [(visit.model, visit.commit) for visit in plan(["gpt2"], revisions)] == [("gpt2", legacy)]
    assert len(no_pauses) == 2


@pytest.mark.parametrize("revisions", [None, "step1", "all"])
def test_nobody_is_asked_a_second_time(revisions: str | None, hub: LoopbackHub, no_pauses: list[float]) -> None:
    hub.fail("/api/models/", "reset", inf)
    with pytest.raises(UserError, match=r"^no folder gpt2, and the Hub, .*: check the path, give user/name, or check"):
        plan(["gpt2"], revisions)
    assert len(hub.requests) == 1 and not no_pauses
    with pytest.raises(UserError, match=r"^user/gpt2: the Hub did not answer"):
        plan(["user/gpt2"], revisions)
    assert len(no_pauses) == patience.TRIES - 1


def test_one_that_hangs_is_said_to_be_asked_once(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_SLOW", 0.0)
    said: list[str] = []
    hub.fail("/api/models/", "reset")
    with notices_to(said.append), pytest.raises(UserError):
        plan(["gpt2"], "all")
    assert said == ["revisions of gpt2 (no such folder here): waiting for an answer from the Hub, which is asked once"]


def test_the_repositories_of_that_name_that_are_here_are_named(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("models--user--pythia-70m", "models--other--Pythia_70m", "models--user--pythia-70m-deduped"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pythia-70").mkdir()
    named = r"give user/name \(in the local cache: other/Pythia_70m, user/pythia-70m\)"
    with pytest.raises(UserError, match=rf"^no model pythia-70m: .*\(near it: pythia-70\) and no such .* or {named}$"):
        plan(["pythia-70m"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=rf"^pythia-70m .*HF_HUB_OFFLINE is set: unset .*, or {named}$"):
        plan(["pythia-70m"])
