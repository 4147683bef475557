"""An outbox with the webhooks of one job, a sender without a thread, and a receiver on loopback."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pydantic import SecretStr

from core.service.domain.ports import Delivery
from core.service.domain.webhook_secret import SECRET_PREFIX
from core.service.settings import Settings
from core.service.testing.api_keys import FakeApiKeys
from core.service.testing.outbox import FakeOutbox
from tests.helpers.fake_world import JOB, World
from tests.helpers.webhook_sender import OneShotSender

HOST = "hooks.example.com"


def secret_named(name: str) -> str:
    """The same secret for the same name."""
    return SECRET_PREFIX + base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


SECRET = secret_named("deployment")


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Receiver:
    """A webhook receiver on loopback; `status`, `answer_headers` and `hold` say how it answers."""

    port: int = 0
    status: int = 204
    answer_headers: dict[str, str] = field(default_factory=lambda: {})
    answer_bytes: int = 0
    hold: threading.Event | None = None
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=lambda: [])


@contextmanager
def running(receiver: Receiver) -> Generator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            if receiver.hold is not None:
                receiver.hold.wait(300)
            self.send_response(receiver.status)
            for name, value in receiver.answer_headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"x" * receiver.answer_bytes)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if receiver.tls is not None:
        server.socket = receiver.tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.hold is not None:
            receiver.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


async def resolve_to_loopback(url: str) -> Sequence[str]:  # noqa: ARG001 - the port's signature
    return ["127.0.0.1"]


class Office:
    """An outbox with the events of one job, and a sender."""

    def __init__(self, world: World, port: int, *, timeout_seconds: float = 5.0, secret: str | None = SECRET) -> None:
        self.world = world
        self.keys = FakeApiKeys()
        self.outbox = FakeOutbox(world.store, world.clock)
        self.settings = Settings(
            webhook_secret=SecretStr(secret) if secret else None, webhook_timeout_seconds=timeout_seconds
        )
        self.sender = OneShotSender(
            self.outbox,
            world.store,
            world.clock,
            self.settings,
            self.keys,
            look_up=resolve_to_loopback,
            jitter=lambda: 0.0,
        )
        self.url = f"http://{HOST}:{port}/hook?a=b"

    def chunk_done(self) -> None:
        """One chunk.completed delivery more."""
        if JOB not in self.world.store.memory.records:
            self.submit()
        self.world.maker().work()

    def submit(self, **fields: object) -> None:
        """The job, whose record has these fields."""
        job = self.world.submit(num_frames=160, webhook_url=self.url, webhook_events=("chunk.completed",))
        self.world.store.memory.records[JOB] = job.model_copy(update=fields)

    def canceled_job(self, job_id: str, owner: str | None = None) -> None:
        """One job.canceled delivery, of a job of its own."""
        job = self.world.submit(job_id, num_frames=16, webhook_url=self.url, webhook_events=("job.canceled",))
        self.world.store.memory.records[job_id] = job.model_copy(update={"owner": owner})
        self.world.store.request_cancel(job_id)

    def only(self) -> Delivery:
        (delivery,) = self.outbox.of_job(JOB)
        return delivery
