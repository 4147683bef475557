"""Server-sent events (WHATWG HTML, section 9.2): streams, and that of one job: its log after the client's last event,
then live. The stream of all jobs is in all_jobs.py.

One reader follows the logs of all jobs for all streams of a process (log_reader.py), so a stream holds no thread and no
connection except its client's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request, Response
from starlette.types import Receive, Scope, Send

from api.backends.ports import Ports
from api.events.hub import Hub, Listener, has_no_more_events
from api.events.text import Permit
from api.http.client_limits import EnforcedLimit, Refusal, client_of
from api.http.long_responses import send_later
from api.http.paths import prefix_of
from api.http.problems import response_of
from core.service.domain.errors import StoreError, TooManyStreams, TooManyStreamsOfClient

_log = logging.getLogger(__name__)
READING_THREADS = 8
"""Threads for short reads of logs and records, shared by all streams; not those of other requests."""
LOG_START = "0-0"
HEARTBEAT = ": still here\n"
"""As `retry` without an empty line: it would end an event, and some readers (httpx-sse) then tell an empty one."""
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # otherwise nginx buffers events
}


def event_stream_limit(limit: int, limit_of_client: int) -> EnforcedLimit:
    """The limit of open event streams. Each costs a socket and some memory, no thread and no Redis connection."""
    fix = "close unused streams, or poll links.self with If-None-Match"
    refusal = Refusal("event streams are open", fix, TooManyStreams, TooManyStreamsOfClient)
    return EnforcedLimit(limit, limit_of_client, refusal)


@dataclass(frozen=True)
class StreamTiming:
    """`read_retry_seconds`: pause after a failed read. `heartbeat_seconds`: between comments of a silent stream.
    `reconnect_seconds`: the client's pause before a reconnect. `look_seconds`: between looks at an owner's jobs."""

    read_retry_seconds: float = 1.0
    heartbeat_seconds: float = 15.0
    reconnect_seconds: float = 2.0
    look_seconds: float = 1.0


class Streams:
    """What all event streams of a process share: limit, threads, hub, and the flag to stop."""

    def __init__(self, ports: Ports, limit: EnforcedLimit, timing: StreamTiming | None = None) -> None:
        self.ports = ports
        self.limit = limit
        self.timing = timing or StreamTiming()
        self.limiter = CapacityLimiter(READING_THREADS)
        self.stopping = False
        self._hub: Hub | None = None

    def hub(self) -> Hub:
        """The hub of the running event loop. A server has one loop, tests have several in sequence."""
        if self._hub is None or self._hub.loop is not asyncio.get_running_loop():
            timing = self.timing
            self._hub = Hub(self.ports, self.limiter, timing.read_retry_seconds, timing.heartbeat_seconds)
        return self._hub

    def stop(self) -> None:
        """End every stream, because a server that shuts down waits for open responses. Safe in a signal handler."""
        self.stopping = True
        if self._hub is not None and not self._hub.loop.is_closed():
            self._hub.loop.call_soon_threadsafe(self._hub.wake_all)

    async def has_nothing_after(self, job_id: str, after: str) -> bool:
        """Whether the job has ended, its log has no event after `after`, and none will come. Raises JobNotFound,
        StoreError."""
        return await to_thread.run_sync(_has_nothing_after, self.ports, job_id, after, limiter=self.limiter)


async def _streams(request: Request) -> Streams:
    return cast(Streams, request.app.state.streams)


StreamsDep = Annotated[Streams, Depends(_streams)]


class EventStreamResponse(Response):
    media_type = "text/event-stream"


Follow = Callable[[asyncio.Future[None]], AsyncGenerator[str]]
"""The text of a stream, part by part, until the future is done: then the client has left."""


class FollowingResponse(EventStreamResponse):
    """A stream. It counts in the limit until the client disconnects or the stream ends."""

    def __init__(self, streams: Streams, follow: Follow) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["Content-Length"]
        self._streams = streams
        self._follow = follow
        self._in_limit = ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._in_limit.enter_context(self._streams.limit.enter(client_of(scope)))
        except (TooManyStreams, TooManyStreamsOfClient) as error:
            await response_of(error, prefix=prefix_of(scope))(scope, receive, send)
            return
        with self._in_limit:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            self._in_limit = self._in_limit.pop_all()
        await send_later(self, scope, receive, send)

    def abandon(self) -> None:
        self._in_limit.close()

    async def send_body(self, receive: Receive, send: Send) -> None:
        left = asyncio.create_task(_wait_for_disconnect(receive))
        parts = self._follow(left)
        with self._in_limit:
            try:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            finally:
                left.cancel()
                await parts.aclose()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def retry_line(timing: StreamTiming) -> str:
    """How a stream begins. No empty line after it: see HEARTBEAT."""
    return f"retry: {round(timing.reconnect_seconds * 1000)}\n"


async def follow_job(
    streams: Streams, job_id: str, after: str, permit: Permit, left: asyncio.Future[None] | None = None
) -> AsyncGenerator[str]:
    """The stream's text, part by part, until the job's last event, its deletion, the end of the permit, the server's
    stop, or until `left` is done."""
    left = left or asyncio.get_running_loop().create_future()
    yield retry_line(streams.timing)
    hub = streams.hub()
    follower = _JobFollower(streams, hub, job_id, after, permit)
    # Send the existing log before following live: an ended job needs no more.
    while not (streams.stopping or left.done() or follower.has_ended) and (text := await follower.next_of_log()):
        yield text
    if follower.has_ended:
        return
    with hub.listener(job_id) as listener:
        left.add_done_callback(listener.wake)
        while not (streams.stopping or left.done() or follower.has_ended):
            text = await follower.next_text(listener)
            if text:
                yield text


class _JobFollower:
    """One client's position in the log of one job."""

    def __init__(self, streams: Streams, hub: Hub, job_id: str, after: str, permit: Permit) -> None:
        self._streams = streams
        self._hub = hub
        self._job_id = job_id
        self._permit = permit
        self._after = after
        self._heartbeat = Heartbeat(streams.timing.heartbeat_seconds)
        self._renewal = Heartbeat(streams.timing.heartbeat_seconds)
        self.has_ended = False

    async def next_of_log(self) -> str | None:
        """The next page; empty if there is none yet, None if the store is away. The response has begun and cannot
        become a 503 any more, so the stream stays open and continues after the outage."""
        try:
            page = await self._hub.pages.after(self._job_id, self._after)
        except StoreError as error:
            _log.debug("events of %s: %s", self._job_id, error)
            return None
        if page is None:
            return ""
        self._after, self.has_ended = page.last, page.is_last
        self._heartbeat.reset()
        return page.text_for(self._permit.links)

    async def next_text(self, listener: Listener) -> str:
        """New events or progress, a comment after a long silence, or "" after a wait."""
        if not await self._is_permitted():
            self.has_ended = True
            return ""
        text = await self.next_of_log() if listener.is_behind(self._after) else ""
        text = text or listener.new_progress() or (HEARTBEAT if self._heartbeat.is_due else "")
        if text:
            self._heartbeat.reset()
        elif listener.has_ended:
            return await self._last_page(listener)
        else:
            await listener.wait(self._pause(listener))
        return text

    async def _is_permitted(self) -> bool:
        """Whether the client may go on; asked anew as often as a heartbeat is due."""
        if self._permit.renewed is None or not self._renewal.is_due:
            return True
        renewed = await self._permit.renewed()
        self._permit = renewed or self._permit
        self._renewal.reset()
        return renewed is not None

    async def _last_page(self, listener: Listener) -> str:
        """The job has ended. Its last event may be in the log although the reader has not published it."""
        text = await self.next_of_log()
        if text is None:
            await listener.wait(self._streams.timing.read_retry_seconds)
        elif not text:
            self.has_ended = True
        return text or ""

    def _pause(self, listener: Listener) -> float:
        """Shorter if the log did not return the events that its head shows."""
        rest = self._heartbeat.seconds_left
        return min(rest, self._streams.timing.read_retry_seconds) if listener.is_behind(self._after) else rest


class Heartbeat:
    """When the next comment is due; or the next renewal of a permit."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self.reset()

    def reset(self) -> None:
        self._due_at = time.monotonic() + self._interval_seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._due_at - time.monotonic())

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due_at


def _has_nothing_after(ports: Ports, job_id: str, after: str) -> bool:
    return has_no_more_events(ports.store.get(job_id)) and not ports.events.read(job_id, after, 1)
