"""Gets an image or video from a stranger's URL: every hop checked and pinned, few hops, little time, no more bytes
than allowed. Knows no job; where the bytes go is limited_file.py's matter.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from urllib.parse import urljoin

import httpcore
import httpx

from core.service.domain.errors import MediaFetchFailed, MediaUnavailable
from core.service.media.decoded import Tick
from core.service.media.limited_file import MediaSink
from core.service.net.checked_connection import HTTP_ERRORS, CheckedBackend, ReadLimit, close, request

MAX_REDIRECTS = 3
USER_AGENT = "Longtake-Media/1"
TICK_SECONDS = 0.5
GRACE_SECONDS = 20.0
"""How long a server may take to get going once it has begun to answer."""
ANSWER_SECONDS = 30.0
"""How long a server, once it is asked, may take until its status line and headers are there."""
LEAST_BYTES_PER_SECOND = 1000
MAX_HEAD_BYTES = 64 * 1024
"""Of an answer, from the first byte to the end of its headers, interim answers (1xx) included."""
_CHUNKS_SHARE = 64
"""A body that comes in chunks is longer than the file by their lengths: by no more than this part of it."""
_OR_UPLOAD = "give a faster server, or upload it"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAY_RECOVER = frozenset({408, 425, 429})
"""Client errors that go away by themselves; server errors (5xx) are taken for such as well."""

AllowedAddresses = Callable[[str], Sequence[str]]
"""URL -> the addresses that it may be fetched from (address_guard.check_url); raises UrlRefused."""


def fetch(
    url: str,
    sink: MediaSink,
    *,
    allowed: AllowedAddresses,
    timeout_seconds: float,
    tick: Tick,
    tls: ssl.SSLContext | None = None,
    answer_seconds: float = ANSWER_SECONDS,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Write what is at `url` into `sink`. `timeout_seconds` is for all of it, redirects included. A server is left
    before that where it has not begun to answer after `answer_seconds`, and one that has where it would not be in
    time, as it looks after `grace_seconds`.

    Raises MediaFetchFailed where another try may help, MediaUnavailable where the server refuses, what `allowed`,
    `sink` and `tick` raise. No error's text has a URL's path or query: they may be secrets.
    """
    tls = tls or httpx.create_ssl_context(trust_env=False)
    pace = _Pace(timeout_seconds, answer_seconds, grace_seconds)

    def watch() -> None:
        tick()
        pace.check()

    asyncio.run(_ticking(_within(timeout_seconds, _follow(url, sink, allowed, tls, pace)), watch))


class _Pace:
    """How fast servers answer and send, from the moment when they are asked."""

    def __init__(self, timeout_seconds: float, answer_seconds: float, grace_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._answer_seconds = answer_seconds
        self._grace = grace_seconds
        self._began_at = time.monotonic()
        self._asked_at: float | None = None
        self._answered_at: float | None = None
        self._received = self._expected = 0

    def ask(self) -> None:
        """A server is asked: the first one, or that of a redirect."""
        self._asked_at = time.monotonic()

    def begin(self, expected: int) -> None:
        """The server answers; `expected` bytes will come, as it says (0: it does not)."""
        self._answered_at, self._expected, self._received = time.monotonic(), expected, 0

    def note(self, count: int) -> None:
        self._received += count

    def check(self) -> None:
        """Raises MediaFetchFailed."""
        if self._answered_at is not None:
            self._check_sending(self._answered_at)
        elif self._asked_at is not None and time.monotonic() - self._asked_at > self._answer_seconds:
            raise MediaFetchFailed(f"its server has not answered within {self._answer_seconds:g} s", fix=_OR_UPLOAD)

    def _check_sending(self, answered_at: float) -> None:
        sending = time.monotonic() - answered_at
        left = self._began_at + self.timeout_seconds - answered_at
        needed = max(self._expected / left, LEAST_BYTES_PER_SECOND) if left > 0 else 0
        if sending > self._grace and self._received < needed * sending:
            rate = self._received / sending
            raise MediaFetchFailed(f"its server sends {rate:.0f} bytes per second, too slowly to end", fix=_OR_UPLOAD)


async def _ticking(work: Coroutine[None, None, None], tick: Tick) -> None:
    """`work`, cancelled as soon as `tick` raises, however silent the server is."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=TICK_SECONDS)
            tick()
    finally:
        task.cancel()
        await asyncio.wait({task})
    task.result()


async def _within(seconds: float, work: Coroutine[None, None, None]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError as error:
        raise MediaFetchFailed(f"not all of it came within {seconds:g} s", fix="try again, or upload it") from error
    except (*HTTP_ERRORS, OSError) as error:
        # Only the class is told: the text may repeat the URL or an address.
        raise MediaFetchFailed(f"its server failed: {type(error).__name__}", fix="try again, or upload it") from error


async def _follow(url: str, sink: MediaSink, allowed: AllowedAddresses, tls: ssl.SSLContext, pace: _Pace) -> None:
    for _ in range(MAX_REDIRECTS + 1):
        # Looking up names blocks, hence the thread.
        addresses = await asyncio.to_thread(allowed, url)
        location = await _get(url, addresses, sink, tls, pace)
        if location is None:
            return
        url = _next_url(url, location)
    raise MediaUnavailable(f"its server redirects more than {MAX_REDIRECTS} times", fix="give the last URL")


def _next_url(url: str, location: bytes) -> str:
    """Where a redirect leads (RFC 9110, 10.2.2). What no URL may be is refused by whoever checks it."""
    try:
        return urljoin(url, location.decode("latin-1"))
    except ValueError as error:
        raise MediaUnavailable("the URL that it redirects to cannot be read", fix="give the last URL") from error


async def _get(url: str, addresses: Sequence[str], sink: MediaSink, tls: ssl.SSLContext, pace: _Pace) -> bytes | None:
    """Fetch from the first address that can be connected to; where to go on, or None where all is in the sink."""
    # As it is: what is packed on the way could unpack to far more than the limit.
    headers = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "identity"}
    # httpcore reads no environment: a proxy named there would be told addresses that only we may see.
    limit = ReadLimit(MAX_HEAD_BYTES)
    pool = httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=CheckedBackend(addresses, limit))
    try:
        pace.ask()
        response = await pool.handle_async_request(request("GET", url, headers, b"", pace.timeout_seconds))
        told = {name.lower(): value for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in told:
            return told[b"location"]
        _check_status(response.status)
        expected = int(told.get(b"content-length") or 0)
        sink.expect(expected)
        limit.allow(sink.max_bytes + sink.max_bytes // _CHUNKS_SHARE)
        pace.begin(expected)
        async for piece in response.aiter_stream():
            sink.write(piece)
            pace.note(len(piece))
    finally:
        await close(pool)
    sink.finish()
    return None


def _check_status(status: int) -> None:
    if status == HTTPStatus.OK:
        return
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _MAY_RECOVER:
        raise MediaFetchFailed(f"its server answered {status}", fix="try again later")
    raise MediaUnavailable(f"its server answered {status}", fix="give a URL that needs no login")
