"""Server-sent events (WHATWG HTML, section 9.2) of one job: its log from where the client left off, then live.

One reader follows the logs of all jobs for all streams of a process (log_reader.py), so a stream holds no thread and no
connection but its client's. What a stream shares with others is in `Streams`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request, Response
from starlette.types import Receive, Scope, Send

from api.backends.ports import Ports
from api.events.hub import Hub, Listener
from api.http.client_limits import Refusal, RefusingPlaces, client_of
from api.http.long_responses import send_later
from api.http.paths import prefix_of
from api.http.problems import response_of
from core.service.domain.errors import StoreError, TooManyStreams, TooManyStreamsOfClient

_log = logging.getLogger(__name__)
READING_THREADS = 8
"""Threads for short reads of logs and records, shared by all streams: none of those that other requests need."""
FROM_THE_BEGINNING = "0-0"
STILL_HERE = ": still here\n\n"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until its buffer is full
}


def event_places(limit: int, limit_of_client: int) -> RefusingPlaces:
    """Places of event streams. An open one costs a socket and some memory, no thread and no Redis connection."""
    fix = "close streams that nobody reads, or poll links.self with If-None-Match"
    refusal = Refusal("event streams are open", fix, TooManyStreams, TooManyStreamsOfClient)
    return RefusingPlaces(limit, limit_of_client, refusal)


@dataclass(frozen=True)
class Rhythm:
    """Seconds before what failed is tried again, between comments, and before a reconnect."""

    wait_seconds: float = 1.0
    heartbeat_seconds: float = 15.0
    retry_seconds: float = 2.0


class Streams:
    """What all event streams of a process share: places, threads, the reader of logs, and the sign to end."""

    def __init__(self, ports: Ports, places: RefusingPlaces, rhythm: Rhythm | None = None) -> None:
        self.ports = ports
        self.places = places
        self.rhythm = rhythm or Rhythm()
        self.limiter = CapacityLimiter(READING_THREADS)
        self.stopping = False
        self._hub: Hub | None = None

    def hub(self) -> Hub:
        """That of the running event loop. A server has one loop; tests have one after the other."""
        if self._hub is None or self._hub.loop is not asyncio.get_running_loop():
            rhythm = self.rhythm
            self._hub = Hub(self.ports, self.limiter, rhythm.wait_seconds, rhythm.heartbeat_seconds)
        return self._hub

    def stop(self) -> None:
        """End every stream: a server that shuts down waits for its open answers. Safe to call in a signal handler."""
        self.stopping = True
        if self._hub is not None and not self._hub.loop.is_closed():
            self._hub.loop.call_soon_threadsafe(self._hub.wake_all)

    async def has_nothing_after(self, job_id: str, after: str) -> bool:
        """The job has ended and its log holds nothing after event id `after`. Raises JobNotFound, StoreError."""
        return await to_thread.run_sync(_has_nothing_after, self.ports, job_id, after, limiter=self.limiter)


async def _streams(request: Request) -> Streams:
    return cast(Streams, request.app.state.streams)


StreamsOfApp = Annotated[Streams, Depends(_streams)]


class EventStreamResponse(Response):
    media_type = "text/event-stream"


class JobStream(EventStreamResponse):
    """One job's stream. It holds a place from its head until the client has left or the job has ended."""

    def __init__(self, streams: Streams, job_id: str, after: str, base_url: str) -> None:
        """Chunks have links below `base_url`."""
        super().__init__(headers=_HEADERS)
        del self.headers["Content-Length"]
        self._streams = streams
        self._job_id = job_id
        self._base_url = base_url
        self._after = after
        self._place = ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._place.enter_context(self._streams.places.place(client_of(scope)))
        except (TooManyStreams, TooManyStreamsOfClient) as error:
            await response_of(error, prefix=prefix_of(scope))(scope, receive, send)
            return
        with self._place:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._place = self._place.pop_all()
        await send_later(self, scope, receive, send)

    def give_up(self) -> None:
        self._place.close()

    async def go_on(self, receive: Receive, send: Send) -> None:
        left = asyncio.create_task(_client_has_left(receive))
        parts = follow_job(self._streams, self._job_id, self._after, self._base_url, left)
        with self._place:
            try:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                left.cancel()
                await parts.aclose()


async def _client_has_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def follow_job(
    streams: Streams, job_id: str, after: str, base_url: str, left: asyncio.Future[None] | None = None
) -> AsyncGenerator[str]:
    """The stream's text, part by part, until the job's last event, its deletion, the server's end, or until `left`.
    Chunks have links below `base_url`."""
    left = left or asyncio.get_running_loop().create_future()
    yield f"retry: {round(streams.rhythm.retry_seconds * 1000)}\n\n"
    hub = streams.hub()
    story = _Story(streams, hub, job_id, after, base_url)
    # What is logged already comes before the reader is asked to follow: most ended jobs need no more.
    while not (streams.stopping or left.done() or story.is_over) and (text := await story.next_of_log()):
        yield text
    if story.is_over:
        return
    with hub.listener(job_id) as listener:
        left.add_done_callback(listener.wake)
        while not (streams.stopping or left.done() or story.is_over):
            text = await story.next_text(listener)
            if text:
                yield text


class _Story:
    """How far one client has heard of one job."""

    def __init__(self, streams: Streams, hub: Hub, job_id: str, after: str, base_url: str) -> None:
        self._streams = streams
        self._hub = hub
        self._job_id = job_id
        self._base_url = base_url
        self._after = after
        self._silence = _Silence(streams.rhythm.heartbeat_seconds)
        self.is_over = False

    async def next_of_log(self) -> str | None:
        """Empty where there is nothing yet, None where it cannot be had now. The client has its answer, which cannot
        become a 503 any more: it is kept, and goes on when the server is back."""
        try:
            page = await self._hub.pages.after(self._job_id, self._after)
        except StoreError as error:
            _log.debug("events of %s: %s", self._job_id, error)
            return None
        if page is None:
            return ""
        self._after, self.is_over = page.last, page.over
        self._silence.broken()
        return page.text_for(self._base_url)

    async def next_text(self, listener: Listener) -> str:
        """What has happened, or a comment after a long silence, or nothing after a wait."""
        text = await self.next_of_log() if listener.is_behind(self._after) else ""
        text = text or listener.new_progress() or (STILL_HERE if self._silence.is_over else "")
        if text:
            self._silence.broken()
        elif listener.is_over:
            return await self._last_words(listener)
        else:
            await listener.wait(self._pause(listener))
        return text

    async def _last_words(self, listener: Listener) -> str:
        """The job has ended. Its last event may be in the log though the reader has not seen it yet."""
        text = await self.next_of_log()
        if text is None:
            await listener.wait(self._streams.rhythm.wait_seconds)
        elif not text:
            self.is_over = True
        return text or ""

    def _pause(self, listener: Listener) -> float:
        """A log that does not give what its head promises is asked again."""
        rest = self._silence.rest_seconds
        return min(rest, self._streams.rhythm.wait_seconds) if listener.is_behind(self._after) else rest


class _Silence:
    """How long nothing was said."""

    def __init__(self, longest_seconds: float) -> None:
        self._longest_seconds = longest_seconds
        self.broken()

    def broken(self) -> None:
        self._until = time.monotonic() + self._longest_seconds

    @property
    def rest_seconds(self) -> float:
        return max(0.0, self._until - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until


def _has_nothing_after(ports: Ports, job_id: str, after: str) -> bool:
    return ports.store.get(job_id).status.is_terminal and not ports.events.read(job_id, after, 1)
