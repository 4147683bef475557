"""Longtake: the sync client."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import httpx

from client.calls import service as service_calls
from client.calls import uploads as calls
from client.calls.call import DEFAULT_URL
from client.files import OnBytes, ignore_bytes
from client.sync.connection import Connection
from client.sync.jobs import Jobs
from client.sync.resources import Keys, Models, Uploads, Webhooks
from core.service.domain.service_status import ServiceStatus


class Longtake:
    """A service and one connection pool to it. Use as a context manager, or call `close`.

    Every method can raise ApiError and its subclasses, ApiUnreachable and ApiUnreadable; those that use the object
    storage can raise StorageUnreachable. A call whose effect is the same however often it arrives is repeated after
    broken connections, 408, 429, 502, 503 and 504.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        max_retries: int = 2,
        poll_seconds: float = 0.5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`key` is sent to the API only, not where its links lead. `max_retries`: how often a call is repeated.
        `poll_seconds` is the pause between two reads of a job without an event stream, and the first one before a call
        is repeated. Proxies of the environment are not used; pass an httpx `transport` to use one. Raises ClientError
        if `url` is no http(s) URL."""
        self._connection = Connection(url, key, max_retries, poll_seconds, transport)
        self.jobs = Jobs(self._connection)
        self.uploads = Uploads(self._connection)
        self.models = Models(self._connection)
        self.keys = Keys(self._connection)
        self.webhooks = Webhooks(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._connection.http.close()

    def fetch(self, url: str) -> bytes:
        """The body of a URL of an answer, for example a chunk's `url`. Redirects are followed."""
        return self._connection.send(calls.fetch(url))

    def download(self, url: str, path: Path | str, on_bytes: OnBytes = ignore_bytes) -> None:
        """Save a URL of an answer as `path`, which appears only when it is complete. Redirects are followed. A
        connection that is cut is taken up where it ended."""
        self._connection.download(url, Path(path), on_bytes)

    def status(self) -> ServiceStatus:
        """What workers are making, what waits, what is paused and how fast it goes; for operators."""
        return self._connection.send(service_calls.status())

    def is_ready(self) -> bool:
        """Whether GET /readyz answers with success within 5 seconds."""
        try:
            return self._connection.http.get("/readyz", timeout=5.0).is_success
        except httpx.RequestError:
            return False
