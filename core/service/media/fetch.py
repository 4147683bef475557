"""Gets an image or video from a stranger's URL: every hop checked and pinned, few hops, little time, no more bytes
than allowed. Knows no job; where the bytes go is sink.py's matter.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus

import httpx

from core.service.errors import MediaFetchFailed, MediaUnavailable
from core.service.media.sink import MediaSink
from core.service.pinned_url import pin

MAX_REDIRECTS = 3
USER_AGENT = "Longtake-Media/1"
TICK_SECONDS = 0.5
GRACE_SECONDS = 20.0
"""How long a server may take to get going once it has begun to answer."""
LEAST_BYTES_PER_SECOND = 1000
_OR_UPLOAD = "give a faster server, or upload it"
_MAY_RECOVER = frozenset({408, 425, 429})
"""Client errors that go away by themselves; server errors (5xx) are taken for such as well."""

AllowedAddresses = Callable[[str], Sequence[str]]
"""URL -> the addresses that it may be fetched from (address_guard.check_url); raises UrlRefused."""
Tick = Callable[[], None]
"""Called about every TICK_SECONDS while waiting; may raise to give up."""


def fetch(
    url: str,
    sink: MediaSink,
    *,
    allowed: AllowedAddresses,
    timeout_seconds: float,
    tick: Tick,
    tls: ssl.SSLContext | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> None:
    """Write what is at `url` into `sink`. `timeout_seconds` is for all of it, redirects included. A server that has
    begun to answer is left before that where it would not be in time, as it looks after `grace_seconds`.

    Raises MediaFetchFailed where another try may help, MediaUnavailable where the server refuses, what `allowed`,
    `sink` and `tick` raise. No error's text has a URL's path or query: they may be secrets.
    """
    tls = tls or httpx.create_ssl_context(trust_env=False)
    pace = _Pace(timeout_seconds, grace_seconds)

    def watch() -> None:
        tick()
        pace.check()

    asyncio.run(_ticking(_within(timeout_seconds, _follow(url, sink, allowed, tls, pace)), watch))


class _Pace:
    """How fast a server sends, from its first byte on."""

    def __init__(self, timeout_seconds: float, grace_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._grace = grace_seconds
        self._asked_at = time.monotonic()
        self._answered_at: float | None = None
        self._received = self._expected = 0

    def begin(self, expected: int) -> None:
        """The server answers; `expected` bytes will come, as it says (0: it does not)."""
        self._answered_at, self._expected, self._received = time.monotonic(), expected, 0

    def note(self, count: int) -> None:
        self._received += count

    def check(self) -> None:
        """Raises MediaFetchFailed."""
        if self._answered_at is None:
            return
        sending = time.monotonic() - self._answered_at
        left = self._asked_at + self.timeout_seconds - self._answered_at
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
    except (httpx.HTTPError, OSError) as error:
        # Only the class is told: the text may repeat the URL or an address.
        raise MediaFetchFailed(f"its server failed: {type(error).__name__}", fix="try again, or upload it") from error
    except httpx.InvalidURL as error:
        raise MediaUnavailable("the URL, or one that it redirects to, cannot be read") from error


async def _follow(url: str, sink: MediaSink, allowed: AllowedAddresses, tls: ssl.SSLContext, pace: _Pace) -> None:
    # No environment: a proxy named there would be told addresses that only we may see.
    async with httpx.AsyncClient(
        verify=tls, trust_env=False, follow_redirects=False, timeout=pace.timeout_seconds
    ) as client:
        for _ in range(MAX_REDIRECTS + 1):
            # Looking up names blocks, hence the thread.
            addresses = await asyncio.to_thread(allowed, url)
            location = await _hop(client, url, addresses, sink, pace)
            if location is None:
                return
            url = str(httpx.URL(url).join(location))
    raise MediaUnavailable(f"its server redirects more than {MAX_REDIRECTS} times", fix="give the last URL")


async def _hop(
    client: httpx.AsyncClient, url: str, addresses: Sequence[str], sink: MediaSink, pace: _Pace
) -> str | None:
    """Fetch from the first address that can be connected to; the URL to go on to, or None where all is in the sink."""
    for address in addresses[:-1]:
        try:
            return await _get(client, url, address, sink, pace)
        except httpx.ConnectError:
            continue
    return await _get(client, url, addresses[-1], sink, pace)


async def _get(client: httpx.AsyncClient, url: str, address: str, sink: MediaSink, pace: _Pace) -> str | None:
    pinned = pin(url, address)
    # As it is: what is packed on the way could unpack to far more than the limit.
    headers = {**pinned.headers, "user-agent": USER_AGENT, "accept-encoding": "identity"}
    async with client.stream("GET", pinned.url, headers=headers, extensions=dict(pinned.extensions)) as response:
        if response.has_redirect_location:
            return response.headers["location"]
        _check_status(response.status_code)
        expected = int(response.headers.get("content-length") or 0)
        sink.expect(expected)
        pace.begin(expected)
        async for piece in response.aiter_raw():
            sink.write(piece)
            pace.note(len(piece))
    sink.finish()
    return None


def _check_status(status: int) -> None:
    if status == HTTPStatus.OK:
        return
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _MAY_RECOVER:
        raise MediaFetchFailed(f"its server answered {status}", fix="try again later")
    raise MediaUnavailable(f"its server answered {status}", fix="give a URL that needs no login")
