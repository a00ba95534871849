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

Every request becomes an `Answer` (tests/hub_answers.py) and leaves in `_Handler._send`, where a fault comes in between.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_answers import Answer, Commit, Repo, StoredFile, answer_to, chunks


class Request(NamedTuple):
    """One answered request; `path` is decoded and without its query, `bytes_sent` counts the body."""

    method: str
    path: str
    range: str | None
    bytes_sent: int


FAULTS = {
    "429": "too many requests",
    "500": "something broke",
    "502": "a gateway's trouble",
    "503": "out of service",
    "stall": "half of the body, then silence",
    "cut": "half of the body, then the connection ends",
    "reset": "half of the body, then the connection is torn down",
    "corrupt": "one bit of the body is wrong",
    "short": "half of the body, announced as all of it",
    "long": "a Content-Length larger than the body",
    "whole": "Range is ignored",
    "shifted": "another range than asked for",
}


@dataclass
class Fault:
    """What goes wrong with answers to paths that hold `where`, as often as `times` says."""

    where: str
    kind: str
    times: float
    headers: dict[str, str]


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

    def fail(self, where: str, kind: str, times: float = 1, **headers: str) -> None:
        """Lets the next `times` answers to a GET whose path holds `where` go wrong; a refusal carries the headers."""
        assert kind in FAULTS, kind
        self._faults.append(Fault(where, kind, times, headers or {"Retry_After": "0"}))

    def mend(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    def fault(self, method: str, path: str) -> Fault | None:
        """What goes wrong with this request."""
        for fault in self._faults:
            if method == "GET" and fault.where in path and fault.times > 0:
                fault.times -= 1
                return fault
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
        answer = answer_to(hub._repos, self.command, url, self.headers, form)
        if isinstance(answer.body, StoredFile) and answer.body.pointer_size is not None:
            if self.server.part == "hub" and hub._redirects:
                place = f"http://127.0.0.1:{hub._servers['storage'].server_port}{url}"
                self._send(Answer(302, {**answer.headers, "Location": place}), row)
                return
            hub.tokens.append((self.server.part, self.headers.get("Authorization")))
        self._send(answer, row, hub.fault(self.command, row[1]))

    do_HEAD = do_POST = do_GET

    def _send(self, answer: Answer, row: list, wrong: Fault | None = None) -> None:
        fault = wrong.kind if wrong else None
        if wrong and wrong.kind.isdigit():
            answer = Answer.error(int(wrong.kind), "", FAULTS[wrong.kind], **wrong.headers)
        elif fault == "whole" and isinstance(answer.body, StoredFile):
            answer = replace(answer, status=200, start=0, stop=answer.body.size)
            answer.headers.pop("Content-Range", None)
        elif fault == "shifted" and answer.status == 206:
            answer.headers["Content-Range"] = re.sub(
                r"\d+-\d+", f"{answer.start + 1}-{answer.stop}", answer.headers["Content-Range"]
            )
        length = answer.stop - answer.start
        half = fault in ("stall", "cut", "short", "reset")
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        announced = {"short": length // 2, "long": length + 100}.get(fault or "", length)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        if self.command == "HEAD":
            return
        for number, chunk in enumerate(chunks(replace(answer, stop=answer.start + length // 2) if half else answer)):
            if fault == "corrupt" and not number:
                chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
            row[-1] += len(chunk)  # before it leaves: a client that has the bytes finds them counted
            self.wfile.write(chunk)
        if fault == "stall":
            self.server.hub.closing.wait(30)
        if fault == "reset":  # an end without a farewell: the client meets an error, not the end of a body
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault in ("stall", "cut", "short", "long", "reset"):
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Requests are kept in `hub.requests`, not printed."""
