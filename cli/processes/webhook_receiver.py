"""A small webhook receiver for the demo: verifies each signed POST and keeps its event.

The pattern for a real receiver: verify the raw body first, answer 204 quickly, work later.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from core.service.domain import webhooks
from core.service.domain.errors import LongtakeError

MAX_BODY_BYTES = 64 * 1024
TERMINAL_EVENTS = frozenset({"job.succeeded", "job.failed", "job.canceled"})


class WebhookMissing(LongtakeError):
    """The webhook did not arrive."""

    code = "webhook_missing"


@dataclass(frozen=True)
class Received:
    """One verified webhook."""

    id: str
    type: str
    job_id: str


class Receiver:
    """Verified webhooks that have arrived. `refused` counts posts with a wrong signature."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.refused = 0
        self.arrived: queue.SimpleQueue[Received] = queue.SimpleQueue()

    def wait_for_end(self, job_id: str, timeout_seconds: float, check: Callable[[], None]) -> Received:
        """The webhook of the job's end. `check` is called several times a second. Raises WebhookMissing on timeout."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            check()
            try:
                received = self.arrived.get(timeout=0.1)
            except queue.Empty:
                continue
            if received.job_id == job_id and received.type in TERMINAL_EVENTS:
                return received
        refused = f"; {self.refused} with a wrong signature were refused" if self.refused else ""
        raise WebhookMissing(f"no signed webhook of the job's end arrived within {timeout_seconds:.0f} s{refused}")


@contextmanager
def running_receiver(secret: str) -> Generator[Receiver]:
    """A receiver on a free loopback port, for as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/webhooks")
    server.RequestHandlerClass = _handler(secret, receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(secret: str, receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(min(length, MAX_BODY_BYTES)).decode("utf-8", errors="replace")
            if webhooks.verify(secret, dict(self.headers.items()), body, webhooks.TOLERANCE_SECONDS, datetime.now(UTC)):
                event = json.loads(body)
                receiver.arrived.put(Received(self.headers[webhooks.ID_HEADER], event["type"], event["data"]["id"]))
                self.send_response(204)
            else:
                receiver.refused += 1
                self.send_response(400)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # the base class names it
            """Say nothing: the terminal belongs to the progress bar."""

    return Handler
