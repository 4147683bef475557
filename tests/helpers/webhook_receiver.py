"""A webhook receiver for tests: keeps every try as it came, and answers with given status codes, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG = 999
"""In place of a status code."""


@dataclass(frozen=True)
class Attempt:
    """One POST, and what was answered."""

    headers: Mapping[str, str]
    body: str
    answered: int
    at: float = field(default_factory=time.monotonic)

    @property
    def payload(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class WebhookReceiver:
    """`answers` are used up one by one; after them 204. HANG: the connection is kept without an answer."""

    url: str
    answers: list[int] = field(default_factory=lambda: [])
    tries: list[Attempt] = field(default_factory=lambda: [])
    over: threading.Event = field(default_factory=threading.Event)

    def first(self) -> Attempt | None:
        return self.tries[0] if self.tries else None

    def types(self) -> list[str]:
        """Event types that were accepted, in order."""
        return [attempt.payload["type"] for attempt in self.tries if attempt.answered < 300]


@contextmanager
def receiving_webhooks(answers: Sequence[int] = ()) -> Generator[WebhookReceiver]:
    """A receiver on a free loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    receiver = WebhookReceiver(f"http://127.0.0.1:{server.server_port}/hook", list(answers))
    server.RequestHandlerClass = _handler(receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(receiver: WebhookReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            status = receiver.answers.pop(0) if receiver.answers else 204
            receiver.tries.append(Attempt(dict(self.headers.items()), body, status))
            if status == HANG:
                receiver.over.wait(300)
                return
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: tests look at `tries`."""

    return Handler
