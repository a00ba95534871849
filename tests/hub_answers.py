"""What a Hub answers about the repositories that it has: listings, files and parts of files, and refusals."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1 << 20  # from this size on a file is kept in LFS, whatever its name
LFS_SUFFIXES = {".safetensors", ".bin", ".pt", ".parquet", ".zst", ".gz"}
CHUNK = 1 << 16
DATE = "2024-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class StoredFile:
    """One file of a revision, with the two names that git and LFS give it."""

    source: Path
    size: int
    sha256: str
    git_oid: str
    pointer_size: int | None  # of the LFS pointer; None where git keeps the file itself

    @classmethod
    def of(cls, source: Path) -> StoredFile:
        content = source.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        in_lfs = source.suffix in LFS_SUFFIXES or len(content) >= LARGE
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
        blob = pointer if in_lfs else content
        git_oid = hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
        return cls(source, len(content), sha256, git_oid, len(pointer) if in_lfs else None)

    @property
    def etag(self) -> str:
        return self.git_oid if self.pointer_size is None else self.sha256

    def lfs(self, key: str) -> dict:
        """The `lfs` member of a listing, whose hash is called `oid` in trees and `sha256` in siblings."""
        if self.pointer_size is None:
            return {}
        return {"lfs": {key: self.sha256, "size": self.size, "pointerSize": self.pointer_size}}


@dataclass(frozen=True)
class Commit:
    """A revision's files by their path, and a sha made of them."""

    files: dict[str, StoredFile]

    @classmethod
    def of(cls, folder: Path) -> Commit:
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return cls({path.relative_to(folder).as_posix(): StoredFile.of(path) for path in paths})

    @property
    def sha(self) -> str:
        return hashlib.sha1(json.dumps([(p, f.sha256) for p, f in self.files.items()]).encode()).hexdigest()

    def folders(self) -> set[str]:
        return {str(parent) for path in self.files for parent in PurePosixPath(path).parents} - {"."}


@dataclass(frozen=True)
class Repo:
    kind: str  # "models" or "datasets"
    name: str
    revisions: dict[str, Commit]
    tags: frozenset[str]

    def commit(self, revision: str) -> Commit | None:
        by_sha = {commit.sha: commit for commit in self.revisions.values()}
        return self.revisions.get(revision) or by_sha.get(revision)


@dataclass
class Answer:
    """What is sent: a status, headers, and a body that is bytes or a slice of a file."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | StoredFile = b""
    start: int = 0
    stop: int = 0  # exclusive

    @classmethod
    def of_json(cls, value: object, status: int = 200, **headers: str) -> Answer:
        body = json.dumps(value).encode()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, {"Content-Type": "application/json; charset=utf-8", **named}, body, 0, len(body))

    @classmethod
    def error(cls, status: int, code: str, message: str, **headers: str) -> Answer:
        return cls.of_json({"error": message}, status, X_Error_Code=code, X_Error_Message=message, **headers)


def answer_to(
    repos: Mapping[tuple[str, str], Repo],
    method: str,
    target: str,
    headers: Mapping[str, str],
    form: dict[str, list[str]],
) -> Answer:
    """What the Hub says to one request."""
    url = urlsplit(target)
    query = parse_qs(url.query)
    # Split before decoding: a revision such as refs/convert/parquet travels as one encoded part.
    parts = [unquote(part) for part in url.path.strip("/").split("/")]
    api = parts[0] == "api"
    parts = parts[1:] if api else parts
    kind = parts[0] if parts[0] in ("models", "datasets") else "models"
    parts = parts[1:] if parts[0] == kind else parts
    repo, rest = _find(repos, kind, parts)
    if repo is None:
        # The Hub does not tell an anonymous client whether a repository is private or absent.
        status = 404 if headers.get("Authorization") else 401
        return Answer.error(status, "RepoNotFound", "Repository not found")
    if not api:
        route, rest = (rest[0], rest[1:]) if rest else ("", [])
        return _resolve(repo, rest, method, headers) if route in ("resolve", "raw") else _no_such_route(target)
    if rest == ["refs"]:
        return _refs(repo)
    if not rest:
        rest = ["revision", "main"]
    route, revision, path = rest[0], rest[1] if len(rest) > 1 else "main", "/".join(rest[2:])
    commit = repo.commit(revision)
    if commit is None:
        return _unknown_revision(revision)
    if route == "revision":
        return _info(repo, commit, blobs="blobs" in query)
    if route == "tree":
        return _tree(commit, revision, path, recursive=query.get("recursive", [""])[0].lower() in ("true", "1"))
    if route == "paths-info":
        return Answer.of_json([_entry(commit, p) for p in form.get("paths", []) if _entry(commit, p)])
    if route == "commits":
        return Answer.of_json([{"id": commit.sha, "title": "", "message": "", "date": DATE, "authors": []}])
    return _no_such_route(target)


def _find(repos: Mapping[tuple[str, str], Repo], kind: str, parts: list[str]) -> tuple[Repo | None, list[str]]:
    for length in (2, 1):
        if repo := repos.get((kind, "/".join(parts[:length]))):
            return repo, parts[length:]
    return None, []


def _unknown_revision(revision: str) -> Answer:
    return Answer.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")


def _no_such_route(target: str) -> Answer:
    return Answer.of_json({"error": f"the loopback Hub has no route for {target}"}, 404)


def _refs(repo: Repo) -> Answer:
    def listed(where: str, tags: bool) -> list[dict]:
        return [
            {"name": name, "ref": f"refs/{where}/{name}", "targetCommit": commit.sha}
            for name, commit in repo.revisions.items()
            if (name in repo.tags) == tags
        ]

    return Answer.of_json({"tags": listed("tags", True), "branches": listed("heads", False), "converts": []})


def _info(repo: Repo, commit: Commit, blobs: bool) -> Answer:
    siblings = [
        {"rfilename": path} | ({"size": f.size, "blobId": f.git_oid, **f.lfs("sha256")} if blobs else {})
        for path, f in commit.files.items()
    ]
    fixed = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
    dated = {"createdAt": DATE, "lastModified": DATE}
    return Answer.of_json({"id": repo.name, "sha": commit.sha, "siblings": siblings, **fixed, **dated})


def _entry(commit: Commit, path: str) -> dict | None:
    if file := commit.files.get(path):
        return {"type": "file", "path": path, "size": file.size, "oid": file.git_oid, **file.lfs("oid")}
    if path in commit.folders():
        return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
    return None


def _tree(commit: Commit, revision: str, path: str, recursive: bool) -> Answer:
    if path and path not in commit.folders():
        return Answer.error(404, "EntryNotFound", f'{path} does not exist on "{revision}"')
    everything = sorted({*commit.files, *commit.folders()})
    parent = PurePosixPath(path)
    inside = [p for p in everything if parent == PurePosixPath(p).parent or (recursive and parent in Path(p).parents)]
    return Answer.of_json([_entry(commit, p) for p in inside])


def _resolve(repo: Repo, rest: list[str], method: str, headers: Mapping[str, str]) -> Answer:
    revision, path = (rest[0] if rest else ""), "/".join(rest[1:])
    commit = repo.commit(revision)
    if commit is None:
        return _unknown_revision(revision)
    file = commit.files.get(path)
    if file is None:
        return Answer.error(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit.sha)
    sent = {"ETag": f'"{file.etag}"', "X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
    sent["Content-Type"] = "application/octet-stream"
    if file.pointer_size is not None:
        sent |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"'}
    span = _span(headers.get("Range"), file.size) if method == "GET" else None
    if span is None:
        return Answer(200, sent, file, 0, file.size)
    start, stop = span
    if start >= stop:
        return Answer(416, {"Content-Range": f"bytes */{file.size}"})
    return Answer(206, sent | {"Content-Range": f"bytes {start}-{stop - 1}/{file.size}"}, file, start, stop)


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open span of a Range header; None where there is none that counts; empty where it cannot be met."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1 if last else size)


def chunks(answer: Answer) -> Iterable[bytes]:
    """The body of an answer, piece by piece."""
    if isinstance(answer.body, bytes):
        yield answer.body[answer.start : answer.stop]
        return
    with answer.body.source.open("rb") as stream:
        stream.seek(answer.start)
        left = answer.stop - answer.start
        while left and (chunk := stream.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
