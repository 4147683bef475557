"""Requests per minute of each API key, in windows of 60 seconds that all API processes share.

A process takes them from Redis in portions of a second's worth of the limit, so that a busy key costs about one round
trip a second. What a process has taken and does not use is lost to the others until the window ends: a key that is
served by n processes may be refused up to n - 1 portions early, never late. While Redis does not answer, each process
counts for itself.
"""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Mapping
from typing import cast

from anyio import CapacityLimiter, to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.caller import Caller
from api.http.paths import prefix_of
from api.http.problems import response_of
from core.service.domain.errors import LimitReached, StoreError
from core.service.domain.ports import Clock, RequestCounts

WINDOW_SECONDS = 60
THREADS = 8
"""Of their own: a request that is counted waits for no other that is answered."""


class RequestLimitReached(LimitReached):
    """The API key has used what it may. `headers` tell of the limit, as those of every other answer."""

    def __init__(self, most: int, wait_seconds: int, headers: Mapping[str, str]) -> None:
        message, fix = f"the API key may make {most} requests per minute", f"wait {wait_seconds} seconds"
        super().__init__(message, fix=fix, retry_seconds=wait_seconds)
        self.headers = headers


class LimitedRequests:
    """ASGI middleware behind Access: answers 429 beyond the limit, and tells of the limit in the headers of all other
    answers to the key. What Access refuses does not count."""

    def __init__(self, app: ASGIApp, limits: RequestLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = cast(Caller, scope["state"]["caller"]).key if scope["type"] == "http" else None
        most = None if key is None else key.limits.requests_per_minute
        if key is None or most is None:
            await self._app(scope, receive, send)
            return
        try:
            headers = await self._limits.count(key.id, most)
        except RequestLimitReached as error:
            await response_of(error, error.headers, prefix_of(scope))(scope, receive, send)
            return

        told = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *told]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestLimits:
    """Counts the requests of keys. One for each API process."""

    def __init__(self, counts: RequestCounts, clock: Clock) -> None:
        self._counts = counts
        self._clock = clock
        self._limiter = CapacityLimiter(THREADS)
        self._number = 0
        self._windows: dict[tuple[str, int], _Window] = {}
        """By key and limit, which may be changed meanwhile; all of one window of time."""

    async def count(self, key_id: str, most: int) -> dict[str, str]:
        """Count a request of a key that may make `most` per minute. Returns the headers of its answer
        (draft-ietf-httpapi-ratelimit-headers-11). Raises RequestLimitReached."""
        number, passed = divmod(self._clock.now().timestamp(), WINDOW_SECONDS)
        window, wait_seconds = self._window(key_id, most, int(number)), max(1, round(WINDOW_SECONDS - passed))
        allowed = await window.use(self._counts, self._limiter)
        headers = {
            "RateLimit-Policy": f'"requests";q={most};w={WINDOW_SECONDS}',
            "RateLimit": f'"requests";r={window.remaining};t={wait_seconds}',
        }
        if not allowed:
            raise RequestLimitReached(most, wait_seconds, headers)
        return headers

    def _window(self, key_id: str, most: int, number: int) -> _Window:
        if number != self._number:
            self._number, self._windows = number, {}
        window = self._windows.get((key_id, most))
        if window is None:
            window = self._windows[key_id, most] = _Window(key_id, number, most)
        return window


class _Window:
    """What one key has left in this window, as far as this process knows."""

    def __init__(self, key_id: str, number: int, most: int) -> None:
        self._key_id = key_id
        self._number = number
        self._most = most
        self._portion = max(1, most // WINDOW_SECONDS)
        self._own = 0
        """Taken by this process and not used."""
        self._others = most
        """Not taken by any process, when last heard."""
        self._lock = Lock()

    @property
    def remaining(self) -> int:
        return self._own + self._others

    async def use(self, counts: RequestCounts, limiter: CapacityLimiter) -> bool:
        """Whether there was a request left."""
        while not self._own and self._others:
            async with self._lock:
                if not self._own and self._others:
                    await self._take(counts, limiter)
        self._own -= (allowed := self._own > 0)
        return allowed

    async def _take(self, counts: RequestCounts, limiter: CapacityLimiter) -> None:
        try:
            before = await to_thread.run_sync(counts.take, self._key_id, self._number, self._portion, limiter=limiter)
            free = max(0, self._most - before)
        except StoreError:
            free = self._others
        self._own = min(self._portion, free)
        self._others = free - self._own
