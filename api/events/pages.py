"""A cache of event log pages, each read and rendered once for all streams that need it at the time.

A page is keyed by job and the event id before it. The log reader adds new events, so listeners that keep up read
nothing from Redis; slow ones go from page to page and read what is no longer cached. History and live events thus take
the same way, and a slow listener costs no memory. For one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread

from api.backends.ports import Ports
from api.events.text import Page, page_of

EVENTS_PER_PAGE = 100
KEPT_SECONDS = 20.0
KEPT_CHARACTERS = 8_000_000

_Key = tuple[str, str]


class PageCache:
    """Pages of all jobs with listeners. `limiter` limits the threads that read them."""

    def __init__(self, ports: Ports, limiter: CapacityLimiter, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ports = ports
        self._limiter = limiter
        self._monotonic = monotonic
        self._kept: OrderedDict[_Key, tuple[float, Page]] = OrderedDict()
        self._characters = 0
        self._reads: dict[_Key, asyncio.Task[Page | None]] = {}

    async def after(self, job_id: str, event_id: str) -> Page | None:
        """The events after `event_id`; None if there are none yet. Raises StoreError."""
        key = (job_id, event_id)
        kept = self._fresh(key)
        if kept is not None:
            return kept
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.create_task(self._read_and_put(key))
            read.add_done_callback(_retrieve_exception)
        return await asyncio.shield(read)  # a listener that leaves must not cancel it for others

    def put(self, job_id: str, event_id: str, page: Page) -> None:
        """Cache the page after `event_id`. It may be incomplete: the next page continues it."""
        self._drop((job_id, event_id))
        self._kept[job_id, event_id] = (self._monotonic(), page)
        self._characters += len(page.text)
        while self._characters > KEPT_CHARACTERS or self._is_old(next(iter(self._kept.values()))[0]):
            self._drop(next(iter(self._kept)))

    async def _read_and_put(self, key: _Key) -> Page | None:
        try:
            page = await to_thread.run_sync(self._read, *key, limiter=self._limiter)
        finally:
            del self._reads[key]
        if page is not None:
            self.put(*key, page)
        return page

    def _read(self, job_id: str, event_id: str) -> Page | None:
        events = self._ports.events.read(job_id, event_id, EVENTS_PER_PAGE)
        return page_of(events) if events else None

    def _fresh(self, key: _Key) -> Page | None:
        kept = self._kept.get(key)
        return None if kept is None or self._is_old(kept[0]) else kept[1]

    def _is_old(self, put_at: float) -> bool:
        return self._monotonic() - put_at > KEPT_SECONDS

    def _drop(self, key: _Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._characters -= len(kept[1].text)


def _retrieve_exception(read: asyncio.Task[Page | None]) -> None:
    """Otherwise asyncio logs it if all listeners have left."""
    if not read.cancelled():
        read.exception()
