"""The local Hub cache as room on a disk: fetching ahead into it, and giving back what was fetched."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event

from huggingface_hub import constants, scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from huggingface_hub.file_download import repo_folder_name

from lm_probe.model_adapters._blobs import UTILS, fetch
from lm_probe.model_adapters._errors import UserError
from lm_probe.model_adapters._hub import FAILURES, commit_files, weight_files


class _Stopped(Exception):
    """A download was broken off because nobody wants it any more."""


def fetch_ahead(repository: str, sha: str, stop: Event) -> None:
    """Brings the weight files that `download` would bring into the cache, without bars, until `stop` is set.

    What fails is left out without a word: `download` meets it again and says what it means. It shares no pool of
    threads with anybody, because Python waits for those when it ends.
    """

    def halt() -> None:
        if stop.is_set():
            raise _Stopped

    shown = not UTILS.are_progress_bars_disabled()
    UTILS.disable_progress_bars()
    try:
        with suppress(_Stopped, UserError, *FAILURES):
            files = commit_files(repository, sha) or {}
            for name in weight_files(files):
                halt()
                fetch(repository, sha, files[name], halt)
    finally:
        if shown:
            UTILS.enable_progress_bars()


def has_weights(repository: str, sha: str) -> bool:
    """Whether the cache holds weights of a commit; config and tokenizer alone are there of all that was looked at."""
    snapshot = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"), "snapshots", sha)
    return any(file.suffix in (".safetensors", ".bin") for file in snapshot.glob("*"))


def free_space() -> int:
    """Bytes that the disk of the cache still takes."""
    folder = Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def give_back(commits: Sequence[str], limit: float, keep: str | None) -> list[str]:
    """Deletes commits from the cache, the first ones first, until those that are left fit `limit` bytes.

    Files that other commits of the cache share stay, and are not counted. Nothing may be being downloaded: where a
    repository loses its last commit, the cache drops all of it.

    Args:
        commits: those that may be deleted.
        limit: in bytes.
        keep: one of them that is counted and not deleted.

    Returns:
        The commits that were deleted.
    """
    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return []
    there = {revision.commit_hash for repository in cache.repos for revision in repository.revisions}
    left = [sha for sha in commits if sha in there]
    gone: list[str] = []
    for sha in [sha for sha in left if sha != keep]:
        # A commit of which only shared files are there takes nothing; at the end it goes too where nothing may stay.
        if (limit or keep) and cache.delete_revisions(*left).expected_freed_size <= limit:
            break
        left.remove(sha)
        gone.append(sha)
    if gone:
        cache.delete_revisions(*gone).execute()
    return gone
