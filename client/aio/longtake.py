"""AsyncLongtake: the async client."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import httpx

from client.aio.connection import AsyncConnection
from client.aio.jobs import AsyncJobs
from client.aio.resources import AsyncKeys, AsyncModels, AsyncUploads, AsyncWebhooks
from client.calls import service as service_calls
from client.calls import uploads as calls
from client.calls.call import DEFAULT_URL
from client.files import OnBytes, ignore_bytes
from core.service.domain.service_status import ServiceStatus


class AsyncLongtake:
    """A service and one connection pool to it. Use as an async context manager, or call `close`.

    Methods, arguments and exceptions are those of Longtake, which describes them.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        max_retries: int = 2,
        poll_seconds: float = 0.5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connection = AsyncConnection(url, key, max_retries, poll_seconds, transport)
        self.jobs = AsyncJobs(self._connection)
        self.uploads = AsyncUploads(self._connection)
        self.models = AsyncModels(self._connection)
        self.keys = AsyncKeys(self._connection)
        self.webhooks = AsyncWebhooks(self._connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.http.aclose()

    async def fetch(self, url: str) -> bytes:
        """The body of a URL of an answer, for example a chunk's `url`. Redirects are followed."""
        return await self._connection.send(calls.fetch(url))

    async def download(self, url: str, path: Path | str, on_bytes: OnBytes = ignore_bytes) -> None:
        """Save a URL of an answer as `path`, which appears only when it is complete. Redirects are followed. A
        connection that is cut is taken up where it ended."""
        await self._connection.download(url, Path(path), on_bytes)

    async def status(self) -> ServiceStatus:
        """What workers are making, what waits, what is paused and how fast it goes; for operators."""
        return await self._connection.send(service_calls.status())

    async def is_ready(self) -> bool:
        """Whether GET /readyz answers with success within 5 seconds."""
        try:
            return (await self._connection.http.get("/readyz", timeout=5.0)).is_success
        except httpx.RequestError:
            return False
