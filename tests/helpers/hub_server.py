"""A small Hugging Face Hub on loopback: the HTTP routes that huggingface_hub uses to describe and fetch models.

Repositories are folders; publishing a changed folder makes a new commit and moves `main`. Large files are announced as
the Hub announces LFS files, small ones by their git hash. Can break off transfers or fail on request.
"""

import hashlib
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

LFS_BYTES = 10_000
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Served:
    """One answer that carried a file."""

    path: str
    first_byte: int
    num_bytes: int


@dataclass
class Hub:
    """What the server holds, what it was asked, and how it shall misbehave."""

    url: str
    revisions: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=lambda: {})
    """Repository -> commit, or "main" -> content by file name."""
    served: list[Served] = field(default_factory=lambda: [])
    asked: list[str] = field(default_factory=lambda: [])
    break_off_after: int | None = None
    """Bytes of the next transfer after which the connection is closed, once."""
    out_of_order: bool = False
    """Everything is answered 503."""

    def publish(self, repository: str, folder: Path) -> str:
        """The folder's files as the newest commit; its name."""
        files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        digest = hashlib.sha1(usedforsecurity=False)
        for name in sorted(files):
            digest.update(name.encode() + files[name])
        commit = digest.hexdigest()
        self.revisions.setdefault(repository, {}).update({commit: files, "main": files})
        return commit

    def commit_of(self, repository: str, revision: str) -> str:
        wanted = self.revisions[repository][revision]
        return next(name for name, files in self.revisions[repository].items() if files is wanted and name != "main")

    def num_bytes_served(self, path: str) -> int:
        return sum(served.num_bytes for served in self.served if served.path == path)


@contextmanager
def running_hub() -> Generator[Hub]:
    """A Hub on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    cast(Any, server).hub = hub
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _hub(self) -> Hub:
        return cast(Hub, cast(Any, self.server).hub)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self._hub.asked.append(f"{self.command} {path}")
        model = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if self._hub.out_of_order:
            self._refuse(503, None)
        elif model:
            self._describe(model[1], model[2] or "main")
        elif tree:
            self._list(tree[1], tree[2])
        elif file:
            self._send_file(file[1], file[2], file[3], with_body)
        else:
            self._refuse(404, None)

    def _find(self, repository: str, revision: str) -> dict[str, bytes] | None:
        """The files of a revision, or None after the refusal was sent."""
        commits = self._hub.revisions.get(repository)
        if commits is None:
            self._refuse(404, "RepoNotFound")
        elif revision not in commits:
            self._refuse(404, "RevisionNotFound")
        else:
            return commits[revision]
        return None

    def _describe(self, repository: str, revision: str) -> None:
        files = self._find(repository, revision)
        if files is None:
            return
        siblings = [_sibling(name, content) for name, content in files.items()]
        commit = self._hub.commit_of(repository, revision)
        self._send_json({"id": repository, "sha": commit, "siblings": siblings})

    def _list(self, repository: str, revision: str) -> None:
        files = self._find(repository, revision)
        if files is not None:
            self._send_json([_tree_entry(name, content) for name, content in files.items()])

    def _send_json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, repository: str, revision: str, name: str, with_body: bool) -> None:
        files = self._find(repository, revision)
        if files is None:
            return
        if name not in files:
            self._refuse(404, "EntryNotFound")
            return
        content, first = files[name], self._first_byte()
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{_etag(content)}"')
        self.send_header("X-Repo-Commit", self._hub.commit_of(repository, revision))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            self._stream(name, content, first)

    def _stream(self, name: str, content: bytes, first: int) -> None:
        limit, self._hub.break_off_after = self._hub.break_off_after, None
        end = len(content) if limit is None else min(len(content), first + limit)
        for start in range(first, end, _BLOCK_BYTES):
            self.wfile.write(content[start : min(end, start + _BLOCK_BYTES)])
        self._hub.served.append(Served(name, first, end - first))
        self.close_connection = end < len(content)

    def _first_byte(self) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(asked[1]) if asked else 0

    def _refuse(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _git_sha1(content)}
    if len(content) >= LFS_BYTES:
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
    return entry


def _tree_entry(name: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _git_sha1(content)}
    if len(content) >= LFS_BYTES:
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if len(content) >= LFS_BYTES else _git_sha1(content)


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
