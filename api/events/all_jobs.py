"""Server-sent events of all jobs of a key: each job as it is, whenever it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, cast

from fastapi import Depends, Request

from api.events.overview import Changed, Overview, ProgressNow
from api.events.sse import HEARTBEAT, Heartbeat, Streams, retry_line
from api.events.text import ListPermit
from core.service.domain.views import PublicUrls, job_summary

READY = "event: jobs.ready\ndata: {}\n\n"
STOP_SECONDS = 1.0
"""After which a stream without news looks whether the server stops."""


class Overviews:
    """The jobs of each owner that has listeners, of the running event loop."""

    def __init__(self, streams: Streams, progress: ProgressNow) -> None:
        self._streams = streams
        self._progress = progress
        self._of = dict[str | None, Overview]()

    def of(self, owner: str | None) -> Overview:
        """`owner` as of JobStore.list."""
        found = self._of.get(owner)
        if found is None or found.loop is not asyncio.get_running_loop():
            streams = self._streams
            found = Overview(streams.ports, streams.limiter, owner, self._progress, streams.timing.look_seconds)
            self._of[owner] = found
        return found

    def forget(self, owner: str | None) -> None:
        """Call it when a listener has left."""
        if not self._of[owner].has_listeners:
            del self._of[owner]


async def _overviews(request: Request) -> Overviews:
    return cast(Overviews, request.app.state.overviews)


OverviewsDep = Annotated[Overviews, Depends(_overviews)]


async def follow_all(
    streams: Streams, overviews: Overviews, permit: ListPermit, left: asyncio.Future[None] | None = None
) -> AsyncGenerator[str]:
    """The stream's text, part by part, until the end of the permit, the server's stop, or until `left` is done."""
    left = left or asyncio.get_running_loop().create_future()
    overview = overviews.of(permit.owner)
    try:
        with overview.listened():
            yield retry_line(streams.timing)
            async for text in _told(streams, overview, permit, left):
                yield text
    finally:
        overviews.forget(permit.owner)


async def _told(
    streams: Streams, overview: Overview, permit: ListPermit, left: asyncio.Future[None]
) -> AsyncGenerator[str]:
    heartbeat, renewal = Heartbeat(streams.timing.heartbeat_seconds), Heartbeat(streams.timing.heartbeat_seconds)
    number: int | None = None  # of the last change that was told; None before `jobs.ready`
    while not (streams.stopping or left.done()):
        if renewal.is_due:
            renewed = await permit.renewed()
            if renewed is None:
                return
            permit = renewed
            renewal.reset()
        text = ""
        if number is not None:
            text = "".join(_text_of(changed, permit.urls) for changed in overview.after(number))
            number = overview.number
        elif overview.is_ready:
            text, number = READY, overview.number
        text = text or (HEARTBEAT if heartbeat.is_due else "")
        if text:
            heartbeat.reset()
            yield text
        else:
            await overview.wait(min(STOP_SECONDS, heartbeat.seconds_left))


def _text_of(changed: Changed, urls: PublicUrls) -> str:
    if changed.record is None or changed.progress is None:
        return f'event: job.deleted\ndata: {{"id":"{changed.job_id}"}}\n\n'
    job = job_summary(changed.record, changed.progress, urls)
    return f"event: job.changed\ndata: {job.model_dump_json()}\n\n"
