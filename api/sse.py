"""Server-sent events (WHATWG HTML, section 9.2) of one job: its log from where the client left off, then live.

The log is followed in threads of its own, so that waiting clients never take those that other requests need.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

from anyio import CapacityLimiter, sleep, to_thread
from fastapi import Depends, Request

from api.ports import Ports
from core.service.errors import JobNotFound, StorageError, StoreError
from core.service.schema import EventType, JobEvent, StepProgress, Variant
from core.service.views import chunk_url

_log = logging.getLogger(__name__)
TERMINAL_EVENTS = frozenset({EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED})
VARIANT_OF_CHUNK: Mapping[str, Variant] = {EventType.CHUNK_COMPLETED: "preview", EventType.CHUNK_REFINED: "refined"}
"""Of which variant the chunk is that an event tells of."""
MAX_FOLLOWING_THREADS = 128
"""Streams beyond that many take turns: each still hears of everything, a little later."""


@dataclass(frozen=True)
class Rhythm:
    """Seconds of one wait (and so of noticing that the client left), between comments, and before a reconnect."""

    wait_seconds: float = 1.0
    heartbeat_seconds: float = 15.0
    retry_seconds: float = 2.0


class Streams:
    """What all event streams of a process share: their threads, their rhythm, and the sign to end."""

    def __init__(self, rhythm: Rhythm | None = None) -> None:
        self.rhythm = rhythm or Rhythm()
        self.limiter = CapacityLimiter(MAX_FOLLOWING_THREADS)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End every stream within one wait: a server that shuts down waits for its open answers. Signal-safe."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()


async def _streams(request: Request) -> Streams:
    return cast(Streams, request.app.state.streams)


StreamsOfApp = Annotated[Streams, Depends(_streams)]


async def follow_job(ports: Ports, streams: Streams, job_id: str, after: str, base_url: str) -> AsyncIterator[str]:
    """The stream's text, part by part, until the job's last event, its deletion, or the server's end. Chunks have links
    below `base_url`.

    A client that leaves ends it too: Starlette cancels the iteration.
    """
    rhythm = streams.rhythm
    yield f"retry: {round(rhythm.retry_seconds * 1000)}\n\n"
    spoken_at = time.monotonic()
    while not streams.stopping:
        try:
            news = await to_thread.run_sync(_news, ports, job_id, after, rhythm, base_url, limiter=streams.limiter)
            for text, after in news.parts:  # noqa: B007 - the last one's id is where the next look begins
                yield text
                spoken_at = time.monotonic()
            if news.over:
                return
            silent = time.monotonic() - spoken_at >= rhythm.heartbeat_seconds
            if silent and await to_thread.run_sync(_has_ended, ports, job_id, limiter=streams.limiter):
                return
        except (StoreError, StorageError) as error:
            # The client has its answer, which cannot become a 503 any more: keep it, and go on when the server is back.
            _log.warning("events of %s: %s", job_id, error)
            await sleep(rhythm.wait_seconds)
        if time.monotonic() - spoken_at >= rhythm.heartbeat_seconds:
            yield ": still here\n\n"
            spoken_at = time.monotonic()


@dataclass(frozen=True)
class _News:
    """Parts of the stream, each with the event id to go on from after it; `over`: no more will come."""

    parts: Sequence[tuple[str, str]]
    over: bool


def _news(ports: Ports, job_id: str, after: str, rhythm: Rhythm, base_url: str) -> _News:
    """What has happened since `after`, as text. Blocking."""
    parts = list[tuple[str, str]]()
    for item in ports.events.follow(job_id, after, rhythm.wait_seconds):
        if isinstance(item, JobEvent):
            after = item.id
        parts.append((_text_of(item, base_url), after))
        if isinstance(item, JobEvent) and item.type in TERMINAL_EVENTS:
            return _News(parts, over=True)
    return _News(parts, over=False)


def has_nothing_after(ports: Ports, job_id: str, after: str) -> bool:
    """The job has ended and its log holds nothing after event id `after`."""
    return ports.store.get(job_id).status.is_terminal and not ports.events.read(job_id, after, 1)


def _has_ended(ports: Ports, job_id: str) -> bool:
    """No event will come any more: deleted, or ended with its last event lost."""
    try:
        return ports.store.get(job_id).status.is_terminal
    except JobNotFound:
        return True


def _text_of(item: JobEvent | StepProgress, base_url: str) -> str:
    """One event of the stream. Progress has no id: it is not in the log, one resumes from the last event that is."""
    if isinstance(item, StepProgress):
        return f"event: job.progress\ndata: {item.model_dump_json()}\n\n"
    event = _with_url(item, base_url) if item.type in VARIANT_OF_CHUNK else item
    return f"id: {event.id}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n"


def _with_url(event: JobEvent, base_url: str) -> JobEvent:
    """A finished chunk's event with its link, which is not in the log: it begins as the listener reaches this API."""
    chunk = event.data["chunk"]
    url = chunk_url(base_url, event.job_id, chunk["index"], VARIANT_OF_CHUNK[event.type])
    return event.model_copy(update={"data": {**event.data, "chunk": {**chunk, "url": url}}})
