"""Holds playlists back until there is something to play: players take a 404, or an empty playlist, for a broken one.

No thread is held while one waits; each waiting request looks now and then, ever less often. Knows no job: what it looks
at, and what it waits for, is passed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar, cast

from anyio import current_time, sleep
from fastapi import Depends, Request

from api.http.client_limits import Places
from core.service.settings import Settings

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
T = TypeVar("T")


class PlaylistWaits:
    """All requests of a process that wait. On the event loop only."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.playlist_wait_seconds
        self._places = Places(settings.max_playlist_waits, settings.max_playlist_waits_per_address)

    @property
    def waiting(self) -> int:
        return self._places.taken

    async def until(
        self,
        client: str,
        look: Callable[[], Awaitable[T]],
        enough: Callable[[T], bool],
        give_up: Callable[[], Awaitable[bool]],
    ) -> T:
        """What `look` gives, as soon as it is `enough`; what it is by then where the time is up, where too many wait
        already, in all or of `client` (places.client_of), or where `give_up` says so."""
        seen = await look()
        if enough(seen) or not self._places.has_room(client):
            return seen
        with self._places.hold(client):
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


PlaylistWaitsOfApp = Annotated[PlaylistWaits, Depends(_playlist_waits)]
