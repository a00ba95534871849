"""The Hub: which commit a revision means, and its files on this machine."""

import os
import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from huggingface_hub import GitRefs, HfApi, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from tqdm.asyncio import tqdm_asyncio

from lm_probe.model_adapters._bare_name import is_bare, namesakes_words
from lm_probe.model_adapters._blobs import HubFile, fetch, no_room
from lm_probe.model_adapters._errors import NoAnswer, NoRevision, UserError, in_short
from lm_probe.model_adapters._near import near_words, no_folder_words
from lm_probe.model_adapters._patience import TRANSPORT, TRIES, endpoint, patiently
from lm_probe.model_adapters._ranges import BadTransfer

FAILURES: tuple[type[Exception], ...] = (OfflineModeIsEnabled, HFValidationError, BadTransfer, *TRANSPORT)

_SECONDS = 30.0  # for an answer
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]


class _NoBar(tqdm_asyncio):  # type: ignore[type-arg]
    """In place of the bar that counts the files of a commit: small ones, for every checkpoint, and in log files too."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "disable": True})


class HubRevision(NamedTuple):
    """A revision of a Hub repository, pinned to a commit."""

    revision: str
    sha: str
    folder: Path | None
    """The snapshot, where only the local cache could be asked."""


def find_revision(repository: str, revision: str | None) -> HubRevision:
    """Pins a revision (default `main`) to its commit; asks the local cache where the Hub cannot be reached.

    Raises:
        UserError: there is no such repository or revision, it is gated, or nobody could be asked.
    """
    name = revision or "main"
    seconds, tries = _patience_for(repository)
    try:
        info = patiently(
            lambda: HfApi().model_info(repository, revision=name, timeout=seconds),
            f"{repository} {name}{no_folder_words(repository)}",
            unless=lambda: _cached(repository, name) is not None,
            unanswered=tries,
        )
    except FAILURES as error:
        if not _is_answer(error):
            cached = _cached(repository, name)
            if cached is not None:
                return HubRevision(name, cached.name, cached)
        explain(error, repository, name)
    assert info.sha is not None
    return HubRevision(name, info.sha, None)


def list_revisions(repository: str) -> dict[str, str]:
    """The branches and tags of a Hub repository, each with its commit.

    Raises:
        UserError: there is no such repository, it is gated, or the Hub cannot be reached.
    """
    what = f"revisions of {repository}{no_folder_words(repository)}"
    seconds, tries = _patience_for(repository)

    def ask() -> GitRefs:
        if is_bare(repository):
            HfApi().model_info(repository, timeout=seconds)  # the listing cannot be bounded
        return HfApi().list_repo_refs(repository)

    try:
        refs = patiently(ask, what, unanswered=tries)
    except OfflineModeIsEnabled as error:
        # Whoever says that there is no network means what is on this machine.
        return _cached_revisions(repository) or explain(error, repository, None)
    except FAILURES as error:
        explain(error, repository, None)
    return {ref.name: ref.target_commit for ref in (*refs.branches, *refs.tags)}


def list_files(repository: str, sha: str) -> dict[str, int] | None:
    """The files of one commit with their sizes, or None as for `commit_files`."""
    files = commit_files(repository, sha)
    return None if files is None else {name: file.size for name, file in files.items()}


def commit_files(repository: str, sha: str) -> dict[str, HubFile] | None:
    """The files of one commit by name, or None where the Hub cannot be reached and the cache has the commit.

    Raises:
        UserError: the Hub cannot be reached, or has no such commit.
    """
    try:
        siblings = patiently(
            lambda: HfApi().model_info(repository, revision=sha, files_metadata=True, timeout=_SECONDS).siblings,
            f"{repository} at {sha[:12]}, list of files",
            unless=lambda: _cached(repository, sha) is not None,
        )
    except FAILURES as error:
        if not _is_answer(error) and _cached(repository, sha) is not None:
            return None
        explain(error, repository, sha)
    return {
        file.rfilename: HubFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in siblings or ()
    }


def download(repository: str, sha: str, revision: str | None) -> Path:
    """Downloads config, tokenizer and weights of one commit into the Hub cache; safetensors where it has them.

    What is there already and has the right size is left; what comes in is compared with its checksum.

    Raises:
        UserError: the Hub cannot be reached, the disk is full, a file arrives damaged, or the commit has no weights.
    """
    files = commit_files(repository, sha)
    if files is not None and not weight_files(files):
        raise UserError(f"{repository} at {sha[:12]} has no weights (.safetensors or .bin): it has {', '.join(files)}")
    return _snapshot(repository, sha, revision, files, weight_files(files or ()))


def download_small_files(repository: str, sha: str, revision: str | None, files: Mapping[str, HubFile] | None) -> Path:
    """Downloads config, tokenizer and the index of the weights of one commit into the Hub cache.

    Args:
        repository: a Hub repository.
        sha: the commit.
        revision: its name.
        files: what `commit_files` gave.

    Raises:
        UserError: the Hub cannot be reached, the disk is full, or a file arrives damaged.
    """
    return _snapshot(repository, sha, revision, files, ())


def _snapshot(
    repository: str,
    sha: str,
    revision: str | None,
    files: Mapping[str, HubFile] | None,
    weights: Collection[str],
) -> Path:
    """The cache also learns the revision's name, as it does when a revision is downloaded by name.

    Without it, a machine without network would not find the commit again.
    """
    patterns = [*_SMALL_FILES, *weights]
    wanted = [file for name, file in (files or {}).items() if any(fnmatch(name, pattern) for pattern in patterns)]

    def cached() -> Path | None:
        folder = _cached(repository, sha)
        return folder if folder and all((folder / file.name).exists() for file in wanted) else None

    try:
        for file in wanted:
            if file.name in weights:
                fetch(repository, sha, file)
        folder = patiently(
            lambda: Path(snapshot_download(repository, revision=sha, allow_patterns=patterns, tqdm_class=_NoBar)),
            f"{repository} at {revision or sha[:12]}, small files",
            unless=lambda: cached() is not None,
            at_once=False,
        )
        for file in wanted:
            fetch(repository, sha, file)  # again, where it was cut short by a full disk or a crash, once
        if revision not in (None, sha):
            _name(folder, str(revision))
        return folder
    except FAILURES as error:
        found = None if _is_answer(error) else cached()
        return found or explain(error, repository, sha)


def _name(snapshot: Path, revision: str) -> None:
    reference = snapshot.parent.parent / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    new = snapshot.parent.parent / f"{os.getpid()}.tmp"
    new.write_text(snapshot.name)
    os.replace(new, reference)  # a kill leaves the old name or the new one, never half of it


def weight_files(files: Collection[str]) -> list[str]:
    """The files of a commit that hold the model's weights, by their names; see `weight_index`.

    Others that lie beside them (`consolidated.safetensors`) are left out where the usual names are there.
    """
    top = [name for name in files if "/" not in name]
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        if f"{stem}{suffix}" in top:
            return [f"{stem}{suffix}"]
        shards = [name for name in top if re.fullmatch(rf"{stem}-\d+-of-\d+{re.escape(suffix)}", name)]
        if shards and f"{stem}{suffix}.index.json" in top:
            return shards
    # Shards of other names, which only an index knows.
    safetensors = [name for name in top if name.endswith(".safetensors")]
    return safetensors or [name for name in top if name.startswith("pytorch_model") and name.endswith(".bin")]


def _cached(repository: str, revision: str) -> Path | None:
    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _cached_revisions(repository: str) -> dict[str, str]:
    """The revisions that the local cache knows by name, with their commits."""
    references = Path(HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"), "refs")
    files = [file for file in sorted(references.rglob("*")) if file.is_file()]
    return {file.relative_to(references).as_posix(): file.read_text().strip() for file in files}


def _patience_for(repository: str) -> tuple[float, int]:
    """Seconds for an answer, and how many questions may meet nobody.

    A name without a user is mostly a slip: one question of it is enough.
    """
    return (10.0, 1) if is_bare(repository) else (_SECONDS, TRIES)


def _is_answer(error: Exception) -> bool:
    """Whether the Hub itself said no, rather than not being there."""
    return isinstance(error, HFValidationError | RepositoryNotFoundError | RevisionNotFoundError)


def explain(error: Exception, repository: str, revision: str | None) -> NoReturn:
    """Turns what huggingface_hub raises into one line.

    Raises:
        UserError: always; NoAnswer where the Hub gave none, NoRevision where it knows no such one.
    """
    if (full := no_room(error)) is not None:
        raise full from error
    if isinstance(error, GatedRepoError):
        message = f"{repository} is gated: accept its terms on the Hub, then log in with `hf auth login`"
    elif isinstance(error, RevisionNotFoundError):
        raise NoRevision(
            f"{repository} has no revision {revision}: check the spelling; the Hub lists its branches and tags"
        ) from error
    elif isinstance(error, RepositoryNotFoundError | HFValidationError) and is_bare(repository):
        message = (
            f"no model {repository}: there is no such folder here{near_words(repository)} and no such repository on "
            f"the Hub: check the path, or give user/name{namesakes_words(repository)}"
        )
    elif isinstance(error, RepositoryNotFoundError | HFValidationError):
        message = (
            f"no model {repository}: there is no such folder here{near_words(repository)} and no such repository on "
            f"the Hub (a private one needs `hf auth login`)"
        )
    elif isinstance(error, OfflineModeIsEnabled):
        owned = f", or give user/name{namesakes_words(repository)}" if is_bare(repository) else ""
        message = (
            f"{repository}{no_folder_words(repository)} is not in the local cache and HF_HUB_OFFLINE is set: unset it "
            f"or download it first{owned}"
        )
    elif isinstance(error, BadTransfer):
        message = f"{repository}: {error}: run it again, or check the network and the file"
    elif is_bare(repository):
        raise NoAnswer(
            f"no folder {repository}{near_words(repository)}, and {endpoint()}, asked for a model of that name, did "
            f"not answer ({in_short(error)}): check the path, give user/name{namesakes_words(repository)}, or check "
            f"the network"
        ) from error
    else:
        raise NoAnswer(
            f"{repository}{no_folder_words(repository)}: {endpoint()} did not answer ({in_short(error)}): check the "
            f"network, then run it again"
        ) from error
    raise UserError(message) from error
