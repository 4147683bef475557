"""ports.ObjectReader over S3: objects that the API streams to players, read on an event loop.

No thread waits for bytes, and a slow reader slows only itself: nothing is read ahead for it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx
from anyio import CapacityLimiter, fail_after, to_thread

from core.service.domain.errors import (
    ObjectDamaged,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from core.service.domain.ports import ObjectPart
from core.service.net.resolver import check_name
from core.service.s3.large_reads import LargeReads
from core.service.s3.storage import REQUEST, S3Storage

ANSWER_SECONDS = 1.7
"""Time limit for the server's answer, connecting included."""
SILENCE_SECONDS = 20.0
"""Longest time between two pieces."""
_KEPT_CONNECTIONS = 32
_SIGNING_THREADS = 8
"""A limiter of its own: a hanging name server takes no thread from other requests."""
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})", re.ASCII)


class S3ObjectReader:
    """ports.ObjectReader with presigned requests to the internal endpoint. One instance per event loop."""

    def __init__(self, storage: S3Storage, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` replaces the HTTP transport, for tests."""
        self._storage = storage
        self._transport = transport
        self._made_limiter: CapacityLimiter | None = None
        self._made_client: httpx.AsyncClient | None = None

    @property
    def _client(self) -> httpx.AsyncClient:
        """Created on the event loop that uses it."""
        if self._made_client is None:
            self._made_client = httpx.AsyncClient(
                timeout=httpx.Timeout(SILENCE_SECONDS, connect=ANSWER_SECONDS, pool=ANSWER_SECONDS),
                trust_env=False,
                # Without a limit of connections: LONGTAKE_MAX_MEDIA_STREAMS limits the readers.
                transport=self._transport or LargeReads(_KEPT_CONNECTIONS),
            )
        return self._made_client

    @property
    def _limiter(self) -> CapacityLimiter:
        """Created on the event loop that uses it."""
        if self._made_limiter is None:
            self._made_limiter = CapacityLimiter(_SIGNING_THREADS)
        return self._made_limiter

    async def close(self) -> None:
        if self._made_client is not None:
            await self._made_client.aclose()

    @asynccontextmanager
    async def open(self, key: str, byte_range: str | None) -> AsyncGenerator[ObjectPart]:
        answer = await self._ask(key, byte_range)
        try:
            _check(answer, key)
            yield _part_of(answer, key)
        finally:
            await answer.aclose()

    async def _ask(self, key: str, byte_range: str | None) -> httpx.Response:
        """Needs no circuit breaker: waiting for a hanging server holds neither a thread nor a shared connection."""
        try:
            with fail_after(ANSWER_SECONDS):
                url = await to_thread.run_sync(self._url, key, abandon_on_cancel=True, limiter=self._limiter)
                headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={byte_range}"} if byte_range else {})
                return await self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
        except (httpx.TransportError, OSError) as error:  # TimeoutError and gaierror are OSErrors
            raise StorageUnavailable(f"reading {key}: {error!r}") from error

    def _url(self, key: str) -> str:
        """Presigned URL. Blocks: it may look up the host name and fetch credentials."""
        url = self._storage.internal_url(key)
        parts = urlsplit(url)
        check_name(parts.hostname, parts.port, REQUEST.connect_seconds)
        return url


def _check(answer: httpx.Response, key: str) -> None:
    """Raise the StorageError of an answer that is not a success."""
    if answer.is_success:
        return
    if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        raise RangeNotSatisfiable(int(found[3]) if found else None)
    raise _meaning(answer.status_code)(f"reading {key}: HTTP {answer.status_code}")


def _meaning(status: int) -> type[StorageError]:
    if status == HTTPStatus.NOT_FOUND:
        return ObjectNotFound
    busy = status >= 500 or status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
    return StorageUnavailable if busy else StorageMisconfigured


def _part_of(answer: httpx.Response, key: str) -> ObjectPart:
    """The part in the answer: a range even if the status is 200 (rclone), the whole if the server ignores ranges.
    Raises ObjectDamaged if the length is missing or does not match the range."""
    content_length = answer.headers.get("content-length", "")
    if not _LENGTH.fullmatch(content_length):
        raise ObjectDamaged(f"reading {key}: Content-Length is {content_length[:40]!r}")
    length = int(content_length)
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    is_range = found is not None and found[1] is not None
    first, last, total = map(int, found.groups()) if found and is_range else (0, length - 1, length)
    if length != last - first + 1:
        raise ObjectDamaged(f"reading {key}: {length} bytes were sent as {first}-{last} of {total}")
    return ObjectPart(first, last, total, is_range, _pieces(answer, key))


async def _pieces(answer: httpx.Response, key: str) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    except httpx.TransportError as error:
        raise StorageUnavailable(f"reading {key}: {error!r}") from error
