"""Large files of the Hub in its cache: a transfer that broke off goes on, and nothing is let in unchecked.

huggingface_hub starts a file again where a server fails in its middle, and compares no checksum. Here a file grows
under the name that huggingface_hub's older versions use too, `blobs/<sha256>.incomplete`, and becomes `blobs/<sha256>`
once that is its sha256; the rest of the cache's layout stays huggingface_hub's business.
"""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import (
    constants,
    file_download,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
    utils,
)
from huggingface_hub.file_download import repo_folder_name

from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._patience import patiently
from lm_probe.model_adapters._ranges import RangesIgnored, RemoteBytes

# They hold what is used here, and do not export it to type checkers.
_FILES: Any = file_download
UTILS: Any = utils
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class HubFile(NamedTuple):
    """A file of a commit, as the Hub lists it."""

    name: str
    size: int
    sha256: str | None
    """Of files that LFS keeps, which large ones are."""


class _Damaged(Exception):
    pass


def cached_file(repository: str, sha: str, name: str) -> Path | None:
    """A file of a commit in the local cache."""
    found = try_to_load_from_cache(repository, name, revision=sha)
    return Path(found) if isinstance(found, str) else None


def fetch(repository: str, sha: str, file: HubFile, halt: Callable[[], object] = lambda: None) -> Path:
    """The file in the local cache, downloaded where it is not there yet or not all of it.

    Its checksum is compared once, while it comes in; later the commit and the size stand for it.

    Args:
        repository: a Hub repository.
        sha: the commit.
        file: one of its files.
        halt: called as bytes come in; raises where they are not wanted any more.

    Raises:
        UserError: it arrives damaged twice, or the disk is full.
        Exception: what huggingface_hub or a transfer raises (`FAILURES`, `BadTransfer`).
    """
    found = cached_file(repository, sha, file.name)
    if found is not None:
        if found.stat().st_size == file.size:
            return found
        _discard(found)
    try:
        try:
            return _fetch(repository, sha, file, halt)
        except _Damaged:
            return _fetch(repository, sha, file, halt)
    except _Damaged as error:
        raise UserError(
            f"{repository} {file.name} arrives damaged ({error}), also when fetched again: check what stands between "
            f"this machine and the Hub, or leave this revision out"
        ) from error
    except OSError as error:
        if (full := no_room(error)) is not None:
            _partial(_blob(repository, file)).unlink(missing_ok=True)  # or what a little room would mend finds none
            raise full from error
        raise


def no_room(error: Exception) -> UserError | None:
    """What to say where an error means that the cache's disk is full."""
    if not isinstance(error, OSError) or error.errno not in _NO_ROOM:
        return None
    return UserError(
        f"{constants.HF_HUB_CACHE} is full ({error.strerror}): free some space or set HF_HOME to another disk, then "
        f"run the same command again"
    )


def _discard(file: Path) -> None:
    """Takes a file out of the cache, with the blob that it points at."""
    blob = file.resolve()
    file.unlink(missing_ok=True)
    blob.unlink(missing_ok=True)


def _fetch(repository: str, sha: str, file: HubFile, halt: Callable[[], object]) -> Path:
    url = hf_hub_url(repository, file.name, revision=sha)
    what = waited_for(repository, sha, file.name)
    checked = file.sha256 is not None and not _comes_in_chunks(url, what)
    if checked:
        try:
            _place_blob(repository, url, file, halt, what)
        except RangesIgnored:
            checked = False
    path = Path(patiently(lambda: hf_hub_download(repository, file.name, revision=sha), what, at_once=False))
    problem = None
    if path.stat().st_size != file.size:
        problem = f"{path.stat().st_size:,} bytes instead of {file.size:,}"
    elif not checked and file.sha256 is not None:
        with path.open("rb") as opened:
            problem = _difference(hashlib.file_digest(opened, "sha256").hexdigest(), file.sha256)
    if problem is not None:
        _discard(path)
        raise _Damaged(problem)
    return path


def waited_for(repository: str, sha: str, name: str) -> str:
    """A file in words for who waits for it: of a series all checkpoints have one of its name."""
    return f"{repository} at {sha[:12]}, {name}"


def _comes_in_chunks(url: str, what: str) -> bool:
    """Whether huggingface_hub would fetch it by Xet, which is faster, and resumes and checks by itself."""
    if not _FILES.is_xet_available():
        return False
    return patiently(lambda: get_hf_file_metadata(url), what).xet_file_data is not None


def _place_blob(repository: str, url: str, file: HubFile, halt: Callable[[], object], what: str) -> None:
    """Puts the content where huggingface_hub looks for it before it downloads anything.

    Raises:
        RangesIgnored: the server knows no ranges.
        _Damaged: the content has another checksum.
    """
    blob = _blob(repository, file)
    lock = Path(constants.HF_HUB_CACHE, ".locks", blob.parent.parent.name, f"{blob.name}.lock")
    for path in (blob, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
    with UTILS.WeakFileLock(lock):  # the one that huggingface_hub takes
        if blob.exists() and blob.stat().st_size == file.size:
            return
        partial = _partial(blob)
        try:
            _download(url, file, partial, halt, what)
        except (_Damaged, RangesIgnored):
            partial.unlink(missing_ok=True)
            raise
        os.replace(partial, blob)


def _blob(repository: str, file: HubFile) -> Path:
    """Where the cache keeps the content of a file that LFS keeps."""
    return Path(
        constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"), "blobs", str(file.sha256)
    )


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.incomplete")


def _download(url: str, file: HubFile, partial: Path, halt: Callable[[], object], what: str) -> None:
    sha256 = hashlib.sha256()
    with partial.open("a+b") as into:
        into.seek(0)
        while chunk := into.read(1 << 20):
            sha256.update(chunk)
        have = into.tell()
        if have > file.size:
            raise _Damaged(f"{have:,} bytes instead of {file.size:,}")

        def keep(chunk: bytes) -> None:
            halt()
            into.write(chunk)
            sha256.update(chunk)

        RemoteBytes(url, file.size, what).read(have, file.size, keep)
    if problem := _difference(sha256.hexdigest(), str(file.sha256)):
        raise _Damaged(problem)


def _difference(found: str, wanted: str) -> str | None:
    return None if found == wanted else f"sha256 {found[:12]} instead of {wanted[:12]}"
