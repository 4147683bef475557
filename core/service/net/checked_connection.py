"""An httpcore network backend that connects only to addresses that address_guard has checked, whatever the host name.

Addresses are tried shortly after one another (RFC 8305, "happy eyeballs"), so that a dead one costs a fraction of a
second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

import httpcore

NEXT_ADDRESS_SECONDS = 0.25
MAX_ADDRESSES = 8
"""Addresses tried for one request."""
CLOSE_SECONDS = 1.0
HTTP_ERRORS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.UnsupportedProtocol)
"""Errors of httpcore that a server can cause."""


class TooManyBytes(httpcore.ReadError):
    """The server sent more bytes than the limit."""


class ReadLimit:
    """Number of bytes that may still be read; raised once the size of the body is known."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def allow(self, more_bytes: int) -> None:
        self.left_bytes += more_bytes


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to `addresses` only. All its connections together read about `limit` bytes at most."""

    def __init__(self, addresses: Sequence[str], limit: ReadLimit) -> None:
        self._addresses = addresses[:MAX_ADDRESSES]
        self._limit = limit
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - addresses are known
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the port's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        return _LimitedStream(await self._first_connection(port, timeout), self._limit)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError(f"no socket: {path}, {timeout}, {socket_options}")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _first_connection(self, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        """The first connection of all addresses, started one after another. Raises the error of the last failure."""
        waiting = list(self._addresses)
        running, ended = set[asyncio.Task[httpcore.AsyncNetworkStream]](), list[asyncio.Task[Any]]()
        try:
            while waiting or running:
                if waiting:
                    connect = self._inner.connect_tcp(waiting.pop(0), port, timeout)
                    running.add(asyncio.ensure_future(connect))
                pause = NEXT_ADDRESS_SECONDS if waiting else None
                done, running = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                ended += done
                won = [task for task in done if task.exception() is None]
                if won:
                    ended.remove(won[0])
                    return won[0].result()
            raise ended[-1].exception() or httpcore.ConnectError("no address")
        finally:
            await _close_all([*ended, *running])


class _LimitedStream(httpcore.AsyncNetworkStream):
    """Reads up to the limit; the last read may exceed it a little."""

    def __init__(self, inner: httpcore.AsyncNetworkStream, limit: ReadLimit) -> None:
        self._inner = inner
        self._limit = limit

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._limit.left_bytes <= 0:
            raise TooManyBytes("more bytes than allowed")
        data = await self._inner.read(max_bytes, timeout)
        self._limit.left_bytes -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        return _LimitedStream(stream, self._limit)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


async def _close_all(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel attempts that are not needed, and close connections that they have made."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, httpcore.AsyncNetworkStream):
            await outcome.aclose()


async def close(pool: httpcore.AsyncConnectionPool) -> None:
    """Close all connections of `pool` within CLOSE_SECONDS, ignoring errors."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.aclose()


def request(method: str, url: str, headers: dict[str, str], content: bytes, timeout_seconds: float) -> httpcore.Request:
    """A request for a URL that `check_url` has accepted. `timeout_seconds` applies to each wait."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    length = {"content-length": str(len(content))} if content else {}
    named = {"host": parts.netloc, **headers, **length, "connection": "close"}
    return httpcore.Request(
        method,
        httpcore.URL(
            scheme=parts.scheme.encode(), host=str(parts.hostname).encode(), port=parts.port, target=target.encode()
        ),
        headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in named.items()],
        content=content,
        extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout_seconds)},
    )
