"""A web server on loopback for tests of fetching: serves files, redirects, refuses, or delays."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """What a path is answered. `after`: half of the body comes at once, the rest when this is set. With
    `seconds_per_byte` the body comes byte by byte. An empty header is not sent."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {})
    after: threading.Event | None = None
    seconds_per_byte: float = 0.0


def redirect(url: str) -> Answer:
    return Answer(status=302, headers={"location": url})


@dataclass
class MediaServer:
    """`answers` by path; `seen` are the requests that came: path with query, and headers in lower case."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=lambda: {})
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=lambda: [])
    closing: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]


@contextmanager
def serving_media(tls: ssl.SSLContext | None = None) -> Generator[MediaServer]:
    """A server on a free loopback port. At the end those who still wait get the rest."""
    media = MediaServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(media))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    media.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield media
    finally:
        media.closing.set()
        for answer in media.answers.values():
            if answer.after is not None:
                answer.after.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(media: MediaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            media.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            answer = media.answers.get(self.path.partition("?")[0], Answer(status=404))
            self.send_response(answer.status)
            for name, value in {"content-length": str(len(answer.body)), **answer.headers}.items():
                if value:
                    self.send_header(name, value)
            self.end_headers()
            if answer.seconds_per_byte:
                return self.trickle(answer)
            half = len(answer.body) // 2 if answer.after else len(answer.body)
            try:
                self.wfile.write(answer.body[:half])
                if answer.after:
                    answer.after.wait(60)
                    self.wfile.write(answer.body[half:])
            except OSError:
                self.close_connection = True  # the client has left

        def trickle(self, answer: Answer) -> None:
            self.close_connection = True
            for number in range(len(answer.body)):
                try:
                    self.wfile.write(answer.body[number : number + 1])
                except OSError:
                    return  # the client has left
                if media.closing.wait(answer.seconds_per_byte):
                    return

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler
