"""Reads the logs of jobs for event streams, page by page, each page once for all who want it at that time.

A page is keyed by (job, id after which it begins). The one who follows the logs puts new events in as it sees them, so
listeners who keep up read nothing; who falls behind goes from page to page, and reads from Redis what is not kept any
more. So history and live events take one way, and a slow listener costs no memory. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from anyio import CapacityLimiter, to_thread

from api.backends.ports import Ports
from api.events.text import Page, page_of

ENTRIES = 100
"""Of one page."""
KEPT_SECONDS = 20.0
KEPT_CHARACTERS = 8_000_000

_Key = tuple[str, str]


class Pages:
    """Pages of all jobs that are listened to. `limiter` bounds the threads that read them."""

    def __init__(self, ports: Ports, limiter: CapacityLimiter, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ports = ports
        self._limiter = limiter
        self._monotonic = monotonic
        self._kept: OrderedDict[_Key, tuple[float, Page]] = OrderedDict()
        self._characters = 0
        self._asked: dict[_Key, asyncio.Task[Page | None]] = {}

    async def after(self, job_id: str, event_id: str) -> Page | None:
        """What follows `event_id`; None where nothing does yet. Raises StoreError."""
        key = (job_id, event_id)
        kept = self._fresh(key)
        if kept is not None:
            return kept
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.create_task(self._ask(key))
            asked.add_done_callback(_taken_note_of)
        return await asyncio.shield(asked)  # a listener who leaves must not cancel it for the others

    def put(self, job_id: str, event_id: str, page: Page) -> None:
        """`page` follows `event_id`. A page that is never empty always leads on, so an old one is no mistake."""
        self._drop((job_id, event_id))
        self._kept[job_id, event_id] = (self._monotonic(), page)
        self._characters += len(page.text)
        while self._characters > KEPT_CHARACTERS or self._is_old(next(iter(self._kept.values()))[0]):
            self._drop(next(iter(self._kept)))

    async def _ask(self, key: _Key) -> Page | None:
        try:
            page = await to_thread.run_sync(self._read, *key, limiter=self._limiter)
        finally:
            del self._asked[key]
        if page is not None:
            self.put(*key, page)
        return page

    def _read(self, job_id: str, event_id: str) -> Page | None:
        events = self._ports.events.read(job_id, event_id, ENTRIES)
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


def _taken_note_of(asked: asyncio.Task[Page | None]) -> None:
    """Whoever asked may have left before the answer failed."""
    if not asked.cancelled():
        asked.exception()
