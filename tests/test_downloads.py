"""Downloads of whole files: resumed, checked, and patient with a Hub that is busy, away or lying."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from lm_probe.model_adapters import UserError, locate
from lm_probe.model_adapters import _blobs as blobs
from lm_probe.model_adapters import _patience as patience
from lm_probe.model_adapters._hub import download, find_revision, list_revisions
from tests.conftest import make_model
from tests.loopback_hub import LoopbackHub

_WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    make_model("gpt_neox").save_pretrained(path)
    return path


@pytest.fixture
def sha(hub: LoopbackHub, folder: Path) -> str:
    return hub.add_model("user/tiny", {"main": folder})["main"]


def _requests(hub: LoopbackHub, name: str = _WEIGHTS) -> list[str | None]:
    return [request.range for request in hub.requests if request.method == "GET" and request.path.endswith(name)]


def _blobs(cache: str = "") -> set[str]:
    return {path.name for path in Path(cache or constants.HF_HUB_CACHE).rglob("blobs/*")}


@pytest.mark.parametrize("kind", ["429", "500", "502", "503", "cut", "reset", "stall", "short", "long", "corrupt"])
def test_what_passes_costs_only_time(
    kind: str, hub: LoopbackHub, sha: str, folder: Path, no_pauses: list[float]
) -> None:
    hub.fail(_WEIGHTS, kind)
    got = download("user/tiny", sha, "main") / _WEIGHTS
    assert got.read_bytes() == (folder / _WEIGHTS).read_bytes()
    assert len(_requests(hub)) == 2 and not [name for name in _blobs() if name.endswith(".incomplete")]
    if kind in ("cut", "stall"):
        first, second = _requests(hub)
        assert first and second and first.startswith("bytes=0-") and not second.startswith("bytes=0-")
    hub.forget_requests()
    assert download("user/tiny", sha, "main") / _WEIGHTS == got and not _requests(hub), "fetched or hashed again"


@pytest.mark.parametrize("where", ["/api/models/", "config.json"])
@pytest.mark.parametrize("kind", ["429", "502", "503", "reset", "cut"])
def test_listings_and_small_files_are_asked_for_again(
    where: str, kind: str, hub: LoopbackHub, sha: str, folder: Path, no_pauses: list[float]
) -> None:
    hub.fail(where, kind, 2)
    got = download("user/tiny", sha, "main")
    assert (got / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    hub.fail("/api/models/", "503", 2)
    assert list_revisions("user/tiny") == {"main": sha} and locate("user/tiny").identity == sha
    assert no_pauses


def test_a_listing_that_is_cut_short_is_asked_for_again(hub: LoopbackHub, sha: str, no_pauses: list[float]) -> None:
    hub.fail("/api/models/", "short", 2)
    assert list_revisions("user/tiny") == {"main": sha}
    hub.fail("/api/models/", "short", 2)
    assert locate("user/tiny").identity == sha
    hub.fail("/api/models/", "short", 99)
    with pytest.raises(UserError, match="did not answer"):
        list_revisions("user/tiny")


def test_what_stays_is_given_up_and_what_came_is_kept(
    hub: LoopbackHub, sha: str, folder: Path, no_pauses: list[float]
) -> None:
    hub.fail(_WEIGHTS, "cut")
    hub.fail(_WEIGHTS, "503", float("inf"))
    with pytest.raises(UserError, match=r"user/tiny: \d+ bytes from \d+ on do not arrive: .*503"):
        download("user/tiny", sha, "main")
    assert len(_requests(hub)) == 1 + patience.TRIES and len(no_pauses) == patience.TRIES - 1
    (partial,) = Path(constants.HF_HUB_CACHE).rglob("*.incomplete")
    half = partial.stat().st_size
    hub.mend()
    hub.forget_requests()
    got = download("user/tiny", sha, "main") / _WEIGHTS
    size = (folder / _WEIGHTS).stat().st_size
    assert 0 < half < size and _requests(hub) == [f"bytes={half}-{size - 1}"]
    assert got.read_bytes() == (folder / _WEIGHTS).read_bytes()


def test_a_wrong_checksum_is_fetched_again_once(hub: LoopbackHub, sha: str, folder: Path) -> None:
    hub.fail(_WEIGHTS, "corrupt", 2)
    with pytest.raises(UserError, match=r"user/tiny model\.safetensors arrives damaged \(sha256 \w{12} instead of"):
        download("user/tiny", sha, "main")
    digest = blobs.hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest()
    assert not [name for name in _blobs() if name.startswith(digest)], "what is damaged stays in the cache"
    assert (download("user/tiny", sha, "main") / _WEIGHTS).read_bytes() == (folder / _WEIGHTS).read_bytes()


@pytest.mark.parametrize("times", [1, 2])
def test_what_huggingface_hub_fetched_is_checked_too(
    times: int, hub: LoopbackHub, sha: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the Hub has it in chunks (Xet), which the loopback Hub has not: its plain download runs."""
    monkeypatch.setattr(blobs, "_comes_in_chunks", lambda *_: True)
    hub.fail(_WEIGHTS, "corrupt", times)
    if times == 2:
        with pytest.raises(UserError, match="arrives damaged"):
            download("user/tiny", sha, "main")
    assert (download("user/tiny", sha, "main") / _WEIGHTS).read_bytes() == (folder / _WEIGHTS).read_bytes()


@pytest.mark.parametrize("name", [_WEIGHTS, "config.json"])
def test_a_cached_file_that_was_cut_short_is_fetched_again(name: str, hub: LoopbackHub, sha: str, folder: Path) -> None:
    cached = download("user/tiny", sha, "main") / name
    content = cached.read_bytes()
    cached.resolve().write_bytes(content[:-10])
    assert (download("user/tiny", sha, "main") / name).read_bytes() == content
    (cached.resolve()).write_bytes(content[:-10])
    cached.unlink()  # the blob alone, as another revision with the same file would find it
    assert (download("user/tiny", sha, "main") / name).read_bytes() == content


@pytest.mark.parametrize("shards", ["1GB", "20KB"])
def test_files_that_the_model_is_not_made_of_stay_away(shards: str, hub: LoopbackHub, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make_model("gpt_neox").save_pretrained(folder, max_shard_size=shards)
    parts = {path.name for path in folder.glob("*.safetensors")}
    for name in ("consolidated.safetensors", "pytorch_model.bin"):
        (folder / name).write_bytes(b"another copy")
    snapshot = download("user/more", hub.add_model("user/more", {"main": folder})["main"], "main")
    assert {path.name for path in snapshot.iterdir() if path.suffix in (".safetensors", ".bin")} == parts


def test_a_server_without_ranges(hub: LoopbackHub, sha: str, folder: Path) -> None:
    hub.fail(_WEIGHTS, "whole", float("inf"))
    assert (download("user/tiny", sha, "main") / _WEIGHTS).read_bytes() == (folder / _WEIGHTS).read_bytes()


@contextmanager
def _files_no_longer_than(size: int) -> Iterator[None]:
    """Writes beyond a size fail, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("by_huggingface_hub", [False, True])
def test_a_full_disk_is_named_and_leaves_room(
    by_huggingface_hub: bool, hub: LoopbackHub, sha: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_huggingface_hub:
        monkeypatch.setattr(blobs, "_comes_in_chunks", lambda *_: True)
    with (
        _files_no_longer_than(20_000),
        pytest.raises(UserError, match=r"cache is full \(File too large\): free some space or set HF_HOME"),
    ):
        download("user/tiny", sha, "main")
    assert not _blobs()
    assert (download("user/tiny", sha, "main") / _WEIGHTS).read_bytes() == (folder / _WEIGHTS).read_bytes()


def test_nobody_waits_for_a_hub_that_the_cache_can_stand_in_for(
    hub: LoopbackHub, sha: str, folder: Path, no_pauses: list[float]
) -> None:
    got = download("user/tiny", sha, "main")
    hub.fail("/api/models/", "503", float("inf"))
    hub.forget_requests()
    assert find_revision("user/tiny", "main").sha == sha and download("user/tiny", sha, "main") == got
    assert not no_pauses
    hub.add_model("user/other", {"main": folder})
    with pytest.raises(UserError, match=r"user/other: .* did not answer"):
        find_revision("user/other", "main")
    assert len(no_pauses) == patience.TRIES - 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "99999"}, 300),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 9),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:09 GMT"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"RateLimit": '"api";r=0;t=33'}, 33),
        ({"RateLimit": '"api";r=12;t=33'}, 0),
        ({}, 0),
    ],
)
def test_a_pause_is_as_long_as_the_server_asks_and_grows(
    headers: dict[str, str], seconds: float, no_pauses: list[float]
) -> None:
    error = OSError("busy")
    error.response = SimpleNamespace(status_code=429, headers=headers)  # type: ignore[attr-defined]
    for attempt in range(1, patience.TRIES):
        patience.wait(attempt, error, "it")
    for pause, least in zip(no_pauses, (0.5, 1, 2, 4, 4), strict=True):
        assert seconds + least <= pause <= seconds + 2 * least
    patience.wait(1, error, "it")
    assert no_pauses[0] != no_pauses[-1], "workers that were refused together come back together"


def test_what_cannot_pass_is_not_asked_again(no_pauses: list[float]) -> None:
    for number, passes in ((errno.ENOSPC, False), (errno.EACCES, False), (errno.ECONNRESET, True), (None, True)):
        error = OSError(number, "so") if number else OSError("Consistency check failed")
        assert patience.may_pass(error) == passes
    assert not patience.may_pass(ValueError("no"))
