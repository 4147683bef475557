"""Fetches input media from a client's URL: every redirect is checked, and redirects, time and bytes are limited."""

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
"""After an answer has begun, its speed is checked only after this time."""
ANSWER_SECONDS = 30.0
"""Time limit from the request to the end of the headers."""
LEAST_BYTES_PER_SECOND = 1000
MAX_HEAD_BYTES = 64 * 1024
"""Limit of an answer's headers, interim answers (1xx) included."""
_CHUNKS_SHARE = 64
"""Chunked encoding makes a body longer than the file, by 1/64 at most."""
_OR_UPLOAD = "give a faster server, or upload it"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAY_RECOVER = frozenset({408, 425, 429})
"""Temporary client errors; server errors (5xx) count as temporary too."""

AllowedAddresses = Callable[[str], Sequence[str]]
"""URL -> the addresses that it may be fetched from (address_guard.check_url). Raises UrlRefused."""


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
    """Download `url` into `sink`. `timeout_seconds` covers all of it, redirects included. Gives up earlier on a server
    that has not answered after `answer_seconds`, or that is too slow to finish in time after `grace_seconds`.

    Raises MediaFetchFailed if a retry may help, MediaUnavailable if the server refuses, and the errors of `allowed`,
    `sink` and `tick`. No message has the URL's path or query: they may be secret.
    """
    tls = tls or httpx.create_ssl_context(trust_env=False)
    pace = _Pace(timeout_seconds, answer_seconds, grace_seconds)

    def watch() -> None:
        tick()
        pace.check()

    asyncio.run(_ticking(_within(timeout_seconds, _follow(url, sink, allowed, tls, pace)), watch))


class _Pace:
    """Watches how fast servers answer and send."""

    def __init__(self, timeout_seconds: float, answer_seconds: float, grace_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._answer_seconds = answer_seconds
        self._grace = grace_seconds
        self._began_at = time.monotonic()
        self._asked_at: float | None = None
        self._answered_at: float | None = None
        self._received = self._expected = 0

    def ask(self) -> None:
        """A request is sent: the first one, or after a redirect."""
        self._asked_at = time.monotonic()

    def begin(self, expected: int) -> None:
        """The server answers and declares `expected` bytes (0: no declaration)."""
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
            raise MediaFetchFailed(
                f"its server sends {rate:.0f} bytes per second, too slowly to finish", fix=_OR_UPLOAD
            )


async def _ticking(work: Coroutine[None, None, None], tick: Tick) -> None:
    """Run `work`; cancel it as soon as `tick` raises."""
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
        raise MediaFetchFailed(f"the download took more than {seconds:g} s", fix="try again, or upload it") from error
    except (*HTTP_ERRORS, OSError) as error:
        # Only the class name: the text may contain the URL or an address.
        raise MediaFetchFailed(f"its server failed: {type(error).__name__}", fix="try again, or upload it") from error


async def _follow(url: str, sink: MediaSink, allowed: AllowedAddresses, tls: ssl.SSLContext, pace: _Pace) -> None:
    for _ in range(MAX_REDIRECTS + 1):
        # Looking up names blocks.
        addresses = await asyncio.to_thread(allowed, url)
        location = await _get(url, addresses, sink, tls, pace)
        if location is None:
            return
        url = _next_url(url, location)
    raise MediaUnavailable(f"its server redirects more than {MAX_REDIRECTS} times", fix="give the last URL")


def _next_url(url: str, location: bytes) -> str:
    """Target of a redirect (RFC 9110, 10.2.2). `allowed` checks it."""
    try:
        return urljoin(url, location.decode("latin-1"))
    except ValueError as error:
        raise MediaUnavailable("the URL that it redirects to cannot be read", fix="give the last URL") from error


async def _get(url: str, addresses: Sequence[str], sink: MediaSink, tls: ssl.SSLContext, pace: _Pace) -> bytes | None:
    """Fetch from the first address that accepts a connection. Returns the Location of a redirect, else None."""
    # No compression: a small answer could decompress to far more than the limit.
    headers = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "identity"}
    # httpcore ignores proxy settings of the environment: a proxy would resolve the name again, unchecked.
    limit = ReadLimit(MAX_HEAD_BYTES)
    pool = httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=CheckedBackend(addresses, limit))
    try:
        pace.ask()
        response = await pool.handle_async_request(request("GET", url, headers, b"", pace.timeout_seconds))
        received = {name.lower(): value for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in received:
            return received[b"location"]
        _check_status(response.status)
        expected = int(received.get(b"content-length") or 0)
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
