"""A small Hub on 127.0.0.1, for the real `huggingface_hub`, `transformers` and `datasets` clients.

    with LoopbackHub() as hub:
        hub.add_model("user/tiny", {"main": folder, "step0": folder0, "step8": folder8})
        hub.add_dataset("user/corpus", corpus_folder)
        subprocess.run([sys.executable, "-c", code], env=hub.environment(tmp_path), check=True)
        read = sum(r.bytes_sent for r in hub.requests if r.path.endswith(".safetensors"))

The clients read `HF_ENDPOINT` when they are imported: run them in a subprocess with `hub.environment(...)`, or pass
`endpoint=hub.url` where they take it. Reading only; no Xet, one page per listing.

    hub.redirect()                        # files come from a second port, as the Hub sends them to its storage
    hub.fail("step8/model", "cut", 2)     # the first two transfers of such a file break off

Every request becomes an `Answer` in `LoopbackHub.answer` and leaves in `_Handler._send`: the two places where a fault
comes in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1 << 20  # from this size on a file is kept in LFS, whatever its name
LFS_SUFFIXES = {".safetensors", ".bin", ".pt", ".parquet", ".zst", ".gz"}
CHUNK = 1 << 16
DATE = "2024-01-01T00:00:00.000Z"


class Request(NamedTuple):
    """One answered request; `path` is decoded and without its query, `bytes_sent` counts the body."""

    method: str
    path: str
    range: str | None
    bytes_sent: int


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


FAULTS = {
    "429": "too many requests",
    "503": "out of service",
    "stall": "half of the body, then silence",
    "cut": "half of the body, then the connection ends",
    "short": "half of the body, announced as all of it",
    "long": "a Content-Length larger than the body",
    "whole": "Range is ignored",
    "shifted": "another range than asked for",
}


@dataclass
class Fault:
    """What goes wrong with transfers of files whose path holds `where`, as often as `times` says."""

    where: str
    kind: str
    times: float


class LoopbackHub:
    """The server; a context manager that listens from `with` on."""

    def __init__(self) -> None:
        self._repos: dict[tuple[str, str], Repo] = {}
        self._log: list[list] = []
        self._faults: list[Fault] = []
        self._redirects = False
        self.tokens: list[tuple[str, str | None]] = []
        """For each transfer of a file's content, the server's part (`hub` or `storage`) and the token that came."""
        self.closing = threading.Event()
        self._servers = {part: _Server(self, part) for part in ("hub", "storage")}
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            for server in self._servers.values()
        ]

    def __enter__(self) -> LoopbackHub:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
            server.close_connections()
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers['hub'].server_port}"

    def redirect(self) -> None:
        """From now on files that LFS keeps come from another port."""
        self._redirects = True

    def fail(self, where: str, kind: str, times: float = 1) -> None:
        """Lets the next `times` transfers of a file whose URL holds `where` go wrong."""
        assert kind in FAULTS, kind
        self._faults.append(Fault(where, kind, times))

    def fault(self, method: str, path: str) -> str | None:
        """What goes wrong with this request."""
        for fault in self._faults:
            if method == "GET" and "/resolve/" in path and fault.where in path and fault.times > 0:
                fault.times -= 1
                return fault.kind
        return None

    @property
    def requests(self) -> tuple[Request, ...]:
        """What was asked so far, in order of arrival."""
        return tuple(Request(*row) for row in list(self._log))

    def forget_requests(self) -> None:
        self._log.clear()

    def add_model(self, name: str, revisions: Mapping[str, Path], tags: Iterable[str] = ()) -> dict[str, str]:
        """Add (or replace) a model repository; gives the commit sha of each revision. `tags` names some of them."""
        return self._add(Repo("models", name, {r: Commit.of(f) for r, f in revisions.items()}, frozenset(tags)))

    def add_dataset(self, name: str, folder: Path) -> str:
        """Add (or replace) a dataset repository with one revision, `main`; gives its commit sha."""
        return self._add(Repo("datasets", name, {"main": Commit.of(folder)}, frozenset()))["main"]

    def _add(self, repo: Repo) -> dict[str, str]:
        self._repos[repo.kind, repo.name] = repo
        return {revision: commit.sha for revision, commit in repo.revisions.items()}

    def environment(self, home: Path) -> dict[str, str]:
        """A whole environment for a subprocess: this Hub, an empty cache in `home`, no token, no proxy."""
        personal = re.compile(r"^(HF|HUGGING_?FACE|TRANSFORMERS|DATASETS)_|^(\w+_)?proxy$", re.IGNORECASE)
        kept = {name: value for name, value in os.environ.items() if not personal.search(name)}
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "*",
        }

    def answer(self, method: str, target: str, headers: Mapping[str, str], form: dict[str, list[str]]) -> Answer:
        """What the Hub says to one request."""
        url = urlsplit(target)
        query = parse_qs(url.query)
        # Split before decoding: a revision such as refs/convert/parquet travels as one encoded part.
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        api = parts[0] == "api"
        parts = parts[1:] if api else parts
        kind = parts[0] if parts[0] in ("models", "datasets") else "models"
        parts = parts[1:] if parts[0] == kind else parts
        repo, rest = self._find(kind, parts)
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

    def _find(self, kind: str, parts: list[str]) -> tuple[Repo | None, list[str]]:
        for length in (2, 1):
            if repo := self._repos.get((kind, "/".join(parts[:length]))):
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, hub: LoopbackHub, part: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self.part = part
        self._connections: set[socket.socket] = set()

    def process_request(self, request, client_address):
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        """A client that went away is no news; anything else is printed, as the base class does."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        """End what clients keep alive, or a thread would go on answering for a Hub that is gone."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body leave in two writes
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        row = [self.command, unquote(urlsplit(self.path).path), self.headers.get("Range"), 0]
        self.server.hub._log.append(row)
        form = parse_qs(body.decode()) if self.command == "POST" else {}
        hub, url = self.server.hub, self.path
        answer = hub.answer(self.command, url, self.headers, form)
        if isinstance(answer.body, StoredFile) and answer.body.pointer_size is not None:
            if self.server.part == "hub" and hub._redirects:
                place = f"http://127.0.0.1:{hub._servers['storage'].server_port}{url}"
                self._send(Answer(302, {**answer.headers, "Location": place}), row)
                return
            hub.tokens.append((self.server.part, self.headers.get("Authorization")))
            self._send(answer, row, hub.fault(self.command, unquote(url)))
            return
        self._send(answer, row)

    do_HEAD = do_POST = do_GET

    def _send(self, answer: Answer, row: list, fault: str | None = None) -> None:
        if fault in ("429", "503"):
            answer = Answer.error(int(fault), "", FAULTS[fault], Retry_After="0")
        elif fault == "whole" and isinstance(answer.body, StoredFile):
            answer = replace(answer, status=200, start=0, stop=answer.body.size)
            answer.headers.pop("Content-Range", None)
        elif fault == "shifted" and answer.status == 206:
            answer.headers["Content-Range"] = re.sub(
                r"\d+-\d+", f"{answer.start + 1}-{answer.stop}", answer.headers["Content-Range"]
            )
        length = answer.stop - answer.start
        half = fault in ("stall", "cut", "short")
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        announced = {"short": length // 2, "long": length + 100}.get(fault or "", length)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        if self.command == "HEAD":
            return
        for chunk in _chunks(replace(answer, stop=answer.start + length // 2) if half else answer):
            row[-1] += len(chunk)  # before it leaves: a client that has the bytes finds them counted
            self.wfile.write(chunk)
        if fault == "stall":
            self.server.hub.closing.wait(30)
        if fault in ("stall", "cut", "short", "long"):
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Requests are kept in `hub.requests`, not printed."""


def _chunks(answer: Answer) -> Iterable[bytes]:
    if isinstance(answer.body, bytes):
        yield answer.body[answer.start : answer.stop]
        return
    with answer.body.source.open("rb") as stream:
        stream.seek(answer.start)
        left = answer.stop - answer.start
        while left and (chunk := stream.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
