"""`Prefer: wait=n`: an answer that waits for a job's end. It holds no thread and counts as an open event stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from anyio import current_time, to_thread

from api.events.sse import Streams
from core.service.domain.errors import StoreError
from core.service.domain.schema import JobRecord

LOOK_SECONDS = 1.0
"""A client that has left is noticed within this time."""


class JobWait:
    """One client's wait. `client` is from client_limits.client_of; `has_left` says whether it has hung up."""

    def __init__(self, streams: Streams, client: str, has_left: Callable[[], Awaitable[bool]]) -> None:
        self._streams = streams
        self._client = client
        self._has_left = has_left
        self.waited = False
        """False after `until_end` if too many wait or stream already, in all or of this client."""

    async def until_end(self, record: JobRecord, seconds: float) -> JobRecord:
        """The job when it has ended, or as it stands after `seconds`, if its client leaves or the server stops. Raises
        JobNotFound if it was deleted meanwhile."""
        self.waited = record.status.is_terminal or self._streams.limit.has_room(self._client)
        if record.status.is_terminal or not self.waited:
            return record
        with self._streams.limit.hold(self._client):
            return await self._follow(record, current_time() + seconds)

    async def _follow(self, record: JobRecord, ends_at: float) -> JobRecord:
        seen: str | None = None
        with self._streams.hub().listener(record.id) as listener:
            while not record.status.is_terminal and await self._goes_on(ends_at):
                await listener.wait(min(LOOK_SECONDS, max(0.0, ends_at - current_time())))
                if listener.head != seen or listener.has_ended:
                    seen, record = listener.head, await self._read(record)
        return record

    async def _goes_on(self, ends_at: float) -> bool:
        return current_time() < ends_at and not self._streams.stopping and not await self._has_left()

    async def _read(self, record: JobRecord) -> JobRecord:
        """The record now; as it was if the store is away."""
        with suppress(StoreError):
            return await to_thread.run_sync(self._streams.ports.store.get, record.id, limiter=self._streams.limiter)
        return record
