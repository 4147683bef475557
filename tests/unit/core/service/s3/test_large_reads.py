"""The object reader's transport against a server on loopback: large pieces, errors of httpx, connections reused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx
import pytest

from core.service.s3.large_reads import READ_BYTES, LargeReads

BODY = bytes(range(256)) * 32_768  # 8 MiB
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def asked(answer: Answer, requests: int = 1) -> tuple[list[bytes], int]:
    """The pieces of the last body, and the number of connections that the server saw."""

    async def run() -> tuple[list[bytes], int]:
        served = list[asyncio.Task[None] | None]()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append(asyncio.current_task())
            await answer(reader, writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            return await pieces_from(server.sockets[0].getsockname()[1], requests), len(served)
        finally:
            server.close()
            await asyncio.gather(*(task for task in served if task))

    return asyncio.run(run())


async def pieces_from(port: int, requests: int) -> list[bytes]:
    pieces = list[bytes]()
    async with httpx.AsyncClient(transport=LargeReads(4), timeout=5) as client:
        for _ in range(requests):
            async with client.stream("GET", f"http://127.0.0.1:{port}/a?b=c") as got:
                pieces = [piece async for piece in got.aiter_raw()]
    return pieces


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request of a connection."""
    while head := await _head(reader):
        assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
        await writer.drain()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def test_pieces_are_large_and_complete() -> None:
    pieces, _ = asked(serve)
    assert b"".join(pieces) == BODY
    assert max(map(len, pieces)) > 65_536
    assert max(map(len, pieces)) <= 2 * READ_BYTES


def test_a_connection_is_used_again() -> None:
    assert asked(serve, requests=3)[1] == 1


async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()


async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _head(reader)
    writer.write(b"this is not HTTP\r\n\r\n")


@pytest.mark.parametrize("answer", [break_off, talk_nonsense])
def test_a_server_s_faults_are_errors_of_httpx(answer: Answer) -> None:
    with pytest.raises(httpx.TransportError):
        asked(answer)


def test_a_server_that_is_not_there_is_one_too() -> None:
    async def run() -> None:
        async with httpx.AsyncClient(transport=LargeReads(4), timeout=5) as client:
            await client.get("http://127.0.0.1:9/")

    with pytest.raises(httpx.TransportError):
        asyncio.run(run())
