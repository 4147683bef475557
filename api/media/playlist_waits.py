"""Delays playlists until there is something to play, because players treat a 404 or an empty playlist as broken.

A waiting request polls with growing pauses and holds no thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar, cast

from anyio import current_time, sleep
from fastapi import Depends, Request

from api.http.client_limits import ConcurrencyLimit
from core.service.settings import Settings

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
T = TypeVar("T")


class PlaylistWaits:
    """The waiting requests of a process. For one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.playlist_wait_seconds
        self.limit = ConcurrencyLimit(settings.max_playlist_waits, settings.max_playlist_waits_per_address)

    async def until(
        self,
        client: str,
        look: Callable[[], Awaitable[T]],
        enough: Callable[[T], bool],
        give_up: Callable[[], Awaitable[bool]],
    ) -> T:
        """Poll `look` and return its first result that is `enough`, or the latest one if the time is up, `give_up`
        returns true, or too many requests wait already, in all or of `client` (client_limits.client_of)."""
        seen = await look()
        if enough(seen) or not self.limit.has_room(client):
            return seen
        with self.limit.hold(client):
            return await self._wait(seen, look, enough, give_up)

    async def _wait(
        self,
        seen: T,
        look: Callable[[], Awaitable[T]],
        enough: Callable[[T], bool],
        give_up: Callable[[], Awaitable[bool]],
    ) -> T:
        ends_at, pause = current_time() + self._seconds, FIRST_PAUSE_SECONDS
        while not enough(seen) and current_time() < ends_at and not await give_up():
            await sleep(min(pause, max(0.0, ends_at - current_time())))
            pause = min(LONGEST_PAUSE_SECONDS, pause * 1.25)
            seen = await look()
        return seen


async def _playlist_waits(request: Request) -> PlaylistWaits:
    return cast(PlaylistWaits, request.app.state.playlist_waits)


PlaylistWaitsDep = Annotated[PlaylistWaits, Depends(_playlist_waits)]
