"""A TCP proxy on loopback that misbehaves on demand, to stand in front of Redis or an S3 server.

It passes bytes until it is told to `behave` otherwise; that may be changed at any time, from any thread, and acts on
open connections too. `http=True` also lets it answer requests itself, as an S3 server under load does. Knows neither
Redis nor jobs.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Self, TypeVar

LOOPBACK = "127.0.0.1"
BLOCK_BYTES = 1 << 16
START_SECONDS = 10.0
BACKLOG = 512

T = TypeVar("T")


@dataclass(frozen=True)
class CannedAnswer:
    """An S3 error that is answered in the server's place to a share of the requests with these methods.

    `requests`: to so many requests at most, and then no more; None: without end.
    """

    status: int
    code: str
    message: str
    share: float = 1.0
    requests: int | None = None
    methods: frozenset[str] = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})


WRITES = frozenset({"PUT", "POST", "DELETE"})


def slow_down(share: float = 1.0, requests: int | None = None) -> CannedAnswer:
    """What S3 says to those who ask too often."""
    return CannedAnswer(503, "SlowDown", "Please reduce your request rate.", share, requests)


def internal_error(share: float = 1.0, requests: int | None = None) -> CannedAnswer:
    message = "We encountered an internal error. Please try again."
    return CannedAnswer(500, "InternalError", message, share, requests)


def writes_refused() -> CannedAnswer:
    """A bucket that can be read only."""
    return CannedAnswer(403, "AccessDenied", "Access Denied.", methods=WRITES)


@dataclass(frozen=True)
class Behaviour:
    """What a proxy does with every connection. All defaults together: nothing but passing bytes on."""

    delay_seconds: float = 0.0
    """Wait before each block of a request is passed on."""
    bytes_per_second: float | None = None
    """Of each direction of each connection."""
    silent: bool = False
    """Accept connections and pass nothing. What came meanwhile is passed on afterwards, as after a network's outage."""
    refuses: bool = False
    """No connection can be made; those that were open are reset."""
    cut_share: float = 0.0
    """Of the blocks of answers, this share ends at a random byte, and the connection with it."""
    canned: CannedAnswer | None = None

    def __str__(self) -> str:
        """What differs from passing."""
        changed = {each.name: getattr(self, each.name) for each in fields(self)}
        told = [f"{name} {value}" for name, value in changed.items() if value != getattr(type(self), name)]
        return ", ".join(told) or "passes"


PASS = Behaviour()
SILENT = Behaviour(silent=True)
REFUSE = Behaviour(refuses=True)


class FaultyProxy:
    """A proxy in front of 127.0.0.1:`target_port`. Use as a context manager, or start() and stop().

    `seed` decides which requests and blocks a share hits, in the order in which they come.
    """

    def __init__(self, target_port: int, port: int = 0, *, http: bool = False, seed: int = 0) -> None:
        """`port` 0: a free one, which it keeps also while it refuses connections."""
        self.target_port = target_port
        self._socket = _bound(port)
        self.port: int = self._socket.getsockname()[1]
        self._http = http
        self._random = random.Random(seed)  # noqa: S311 - repeatable faults, no secret
        self._behaviour = PASS
        self._canned_left: int | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)

    # --- from any thread ---------------------------------------------------------------------------------------------

    def start(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def stop(self) -> None:
        """Close all connections and the port. Idempotent."""
        if not self._thread.is_alive():
            self._socket.close()
            return
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def behaviour(self) -> Behaviour:
        return self._behaviour

    def behave(self, behaviour: Behaviour) -> None:
        """From now on, and in effect when this returns."""
        self._do(self._become(behaviour))

    def reset_connections(self) -> int:
        """Reset (RST) every open connection, on both sides; returns how many clients that hit."""
        return self._do(self._reset())

    @property
    def num_connections(self) -> int:
        """Of clients, now."""
        return len(self._tasks)

    def _do(self, action: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(START_SECONDS)

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, sock=self._socket, backlog=BACKLOG)

    async def _stop_listening(self) -> None:
        """Close the listening socket. One that only holds the port takes its place: connecting to it is refused."""
        assert self._server is not None
        self._server.close()
        self._server = None
        self._socket = _bound(self.port)

    async def _become(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._canned_left = behaviour.canned.requests if behaviour.canned else None
        self._changed.set()
        self._changed = asyncio.Event()
        if behaviour.refuses and self._server is not None:
            await self._stop_listening()
            await self._reset()
        elif not behaviour.refuses and self._server is None:
            await self._listen()

    async def _reset(self) -> int:
        hit = len(self._tasks)
        for writer in list(self._writers):
            _abort(writer)
        return hit

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._socket.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            _abort(writer)
        except asyncio.CancelledError:
            _abort(writer)  # only `stop` cancels; asyncio's own callback would report a cancelled handler as an error
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._until_not_silent()
        up_reader, up_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
        self._writers.add(up_writer)
        requests = self._pass_http(reader, up_writer, writer) if self._http else self._pass(reader, up_writer)
        both = [asyncio.ensure_future(requests), asyncio.ensure_future(self._pass_answers(up_reader, writer))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in both:
                pump.cancel()
            ended = await asyncio.gather(*both, return_exceptions=True)
            self._writers.discard(up_writer)
            up_writer.close()
        for error in ended:
            if isinstance(error, OSError):
                raise error

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(BLOCK_BYTES):
            await self._hold_request()
            await self._write(writer, block)

    async def _pass_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(BLOCK_BYTES):
            await self._until_not_silent()
            if len(block) > 1 and self._hits(self._behaviour.cut_share):
                await self._write(writer, block[: self._random.randrange(1, len(block))])
                return
            await self._write(writer, block)

    async def _pass_http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        """Request by request, so that each may be answered here. After a body without a length all is passed as is."""
        while True:
            head = await _read_head(reader)
            if not head:
                return
            await self._hold_request()
            length = _body_length(head)
            canned = self._behaviour.canned
            if canned is not None and length is not None and self._answers_itself(canned, head):
                await _discard_body(reader, head, length)
                await self._write(client, _answer(canned, head))
                return
            await self._write(writer, head)
            if length is None:
                return await self._pass(reader, writer)
            await self._pass_body(reader, writer, length)

    async def _pass_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int) -> None:
        while length > 0:
            block = await reader.read(min(length, BLOCK_BYTES))
            if not block:
                return
            length -= len(block)
            await self._until_not_silent()
            await self._write(writer, block)

    def _answers_itself(self, canned: CannedAnswer, head: bytes) -> bool:
        method = head.split(b" ", 1)[0].decode("latin-1")
        if method not in canned.methods or self._canned_left == 0 or not self._hits(canned.share):
            return False
        if self._canned_left is not None:
            self._canned_left -= 1
        return True

    def _hits(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    async def _hold_request(self) -> None:
        await self._until_not_silent()
        if self._behaviour.delay_seconds:
            await self._pause(self._behaviour.delay_seconds)
            await self._until_not_silent()

    async def _until_not_silent(self) -> None:
        while self._behaviour.silent:
            await self._changed.wait()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        rate = self._behaviour.bytes_per_second
        if rate is None:
            writer.write(data)
            return await writer.drain()
        piece_bytes = max(1, round(rate / 10))
        for start in range(0, len(data), piece_bytes):
            writer.write(data[start : start + piece_bytes])
            await writer.drain()
            if self._behaviour.bytes_per_second is not None:
                await self._pause(0.1)

    async def _pause(self, seconds: float) -> None:
        """Less, where the behaviour changes meanwhile."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)


def _bound(port: int) -> socket.socket:
    """A socket that holds a port and does not listen yet."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, port))
    return bound


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST: what was not sent yet is lost, and the other end is told at once."""
    raw = writer.get_extra_info("socket")
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Request line and headers with the empty line; b"" where the client is gone."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _body_length(head: bytes) -> int | None:
    """Bytes that follow; None where the head does not say (chunked)."""
    if re.search(rb"\r\ntransfer-encoding:", head, re.IGNORECASE):
        return None
    match = re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.IGNORECASE)
    return int(match[1]) if match else 0


async def _discard_body(reader: asyncio.StreamReader, head: bytes, length: int) -> None:
    """Read the body away: closing over unread bytes would reset the connection before the answer is read.

    A client that waits for `100 Continue` has not sent it, and does not after another answer.
    """
    if not re.search(rb"\r\nexpect:\s*100-continue", head, re.IGNORECASE):
        await reader.readexactly(length)


def _answer(canned: CannedAnswer, head: bytes) -> bytes:
    """The whole HTTP answer; the connection ends after it."""
    error = f"<Code>{canned.code}</Code><Message>{canned.message}</Message><RequestId>FAULTYPROXY</RequestId>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{error}</Error>'.encode()
    lines = [
        f"HTTP/1.1 {canned.status} {canned.code}",
        "Content-Type: application/xml",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    text = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return text if head.startswith(b"HEAD ") else text + body
