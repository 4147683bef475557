"""Job: a job of the API, and what can be done with it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Self

import core.service.domain.schema as schema
from client.attributes import JobAttributes
from client.calls import jobs as calls
from client.calls import webhooks
from client.calls.call import Call, given
from client.calls.jobs import EVENT_SILENCE_SECONDS, UNCHANGED, ChunkInclude, NewLength, Seen
from client.errors import ClientError, WaitTimeout
from client.files import OnBytes, ignore_bytes
from client.following import MIN_SILENCE_SECONDS, SILENCE_SECONDS, Following
from client.options import PriorityName
from client.past_events import PastEvents
from client.sse import ServerEvent, parse_events
from client.sync.connection import Connection
from core.service.domain.schema import (
    ChangedJob,
    Chunk,
    ChunkList,
    JobMetrics,
    Variant,
    WebhookDelivery,
    WebhookDeliveryList,
)


class Job(JobAttributes):
    """A job. Its attributes are those of the last answer about it; methods that wait or change it bring new ones.

    Every method can raise ApiError and its subclasses, ApiUnreachable and ApiUnreadable.
    """

    def __init__(self, connection: Connection, seen: Seen) -> None:
        super().__init__(seen)
        self._connection = connection

    def refresh(self) -> Self:
        """Read the job again. An unchanged job costs a 304 without a body."""
        self._seen = self._connection.send(calls.get(self.id, self._seen))
        return self

    def wait(self, timeout_seconds: float | None = None) -> Self:
        """Return when the job has ended, whatever its status. Raises WaitTimeout."""
        begun = time.monotonic()
        silence_seconds = EVENT_SILENCE_SECONDS
        if timeout_seconds is not None:
            silence_seconds = min(SILENCE_SECONDS, max(timeout_seconds, MIN_SILENCE_SECONDS))
        for job in self._views(silence_seconds=silence_seconds):
            waited = time.monotonic() - begun
            if timeout_seconds is not None and waited >= timeout_seconds and not job.status.is_terminal:
                raise WaitTimeout(f"{self.id} was still {job.status} after {timeout_seconds:g} s")
        return self

    def follow(self) -> Iterator[schema.Job]:
        """The job now, after each of its events and denoising steps, and last when it has ended. Resumes broken event
        streams, and polls while there is none."""
        return self._views(shows_progress=True, silence_seconds=SILENCE_SECONDS)

    def chunks(self, after: int = -1, *, live: bool = True) -> Iterator[Chunk]:
        """Every chunk with an index above `after`, in order: those that are finished, then each new one until the job
        has ended. Without `live` only those that are finished now."""
        if not live:
            yield from self._finished_chunks(after)
            return
        for job in self._views():
            if job.progress.chunks_done > after + 1:
                for chunk in self._finished_chunks(after):
                    after = chunk.index
                    yield chunk

    def _finished_chunks(self, after: int) -> Iterator[Chunk]:
        next_after: int | None = after
        while next_after is not None:
            page = self.chunk_page(next_after, limit=1000)
            yield from page.chunks
            next_after = page.next_after

    def chunk_page(self, after: int = -1, limit: int = 100, include: ChunkInclude | None = None) -> ChunkList:
        """One page of finished chunks with an index above `after`, at most 1,000. Pass `next_after` of a page for the
        page after it. `include` presigned_urls: also URLs of the object storage, which expire."""
        return self._connection.send(calls.chunks(self.id, after, limit, include))

    def events(self, after: str = "") -> Iterator[ServerEvent]:
        """Every event after the event id `after`, until the job has ended. Resumes broken streams after the last event
        that came."""
        return self._follow_events(after)

    def _follow_events(self, after: str) -> Generator[ServerEvent]:
        retries = self._connection.retries()
        while True:
            try:
                with self._connection.stream(calls.events(self.id, after, EVENT_SILENCE_SECONDS)) as response:
                    if response.status_code == HTTPStatus.NO_CONTENT:
                        return
                    retries.reset()
                    event = None
                    for event in parse_events(response.iter_lines()):
                        after = event.id or after
                        yield event
                    if event is not None and event.is_last:
                        return
                time.sleep(self._connection.poll_seconds)
            except ClientError as error:
                self._connection.pause(retries, error)

    def past_events(self) -> Iterator[ServerEvent]:
        """The job's log until now: its events from the first that is kept to the one that brought its status or its
        newest chunk. The job is read for that; no event is waited for."""
        past = PastEvents(self.refresh().data)
        with closing(self._follow_events("")) as events:
            for event in events:
                if past.is_live(event):
                    return
                yield event
                if past.is_last(event):
                    return

    def save(self, path: Path | str, variant: Variant = "preview", on_bytes: OnBytes = ignore_bytes) -> Path:
        """Wait until the job has ended, and save its video as `path`, which appears only when it is complete. A
        connection that is cut is taken up where it ended."""
        self.wait()
        self._connection.download(calls.video_path(self.id, variant), Path(path), on_bytes)
        return Path(path)

    def steer(
        self,
        prompt: str | None = None,
        from_frame: int | None = None,
        metadata: Mapping[str, str] | None = None,
        num_frames: NewLength = UNCHANGED,
        priority: PriorityName | None = None,
    ) -> ChangedJob:
        """A new prompt, from `acts_from_frame` of the answer on, new metadata, another priority, for a job that has not
        ended. `num_frames`: another length; None: without end. Raises Conflict if the job has ended."""
        return self._connection.send(calls.steer(self.id, prompt, from_frame, metadata, num_frames, priority))

    def extend(self, num_frames: int, prompt: str | None = None) -> Self:
        """So many more frames for a job that has succeeded or was canceled. `prompt` acts from the first of them.
        Raises Conflict if the job has not ended or has failed."""
        return self._changed(calls.extend(self.id, num_frames, prompt))

    def branch(
        self,
        from_chunk: int,
        prompt: str | None = None,
        seed: int | None = None,
        num_frames: int | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: PriorityName | None = None,
        measure: bool | None = None,
    ) -> Job:
        """A new job that shares the chunks before `from_chunk`, and is as this one in what is left out."""
        changes = given(
            prompt=prompt, seed=seed, num_frames=num_frames, metadata=metadata, priority=priority, measure=measure
        )
        return Job(self._connection, Seen(self._connection.send(calls.branch(self.id, from_chunk, changes))))

    def retry(self) -> Self:
        """A failed or canceled job goes on from its last good chunk. Raises Conflict if it has not ended, has
        succeeded, or nothing is left to do."""
        return self._changed(calls.retry(self.id))

    def cancel(self) -> Self:
        """End the job: its finished chunks become the video. Raises Conflict if it has succeeded or failed."""
        return self._changed(calls.cancel(self.id))

    def metrics(self) -> JobMetrics:
        """What was measured of the video. Raises NotFound until it is measured: `code` metrics_not_ready, or
        metrics_not_asked if nobody asked; Conflict (measuring_failed) with the reason if it cannot be, or is lost."""
        return self._connection.send(calls.metrics(self.id))

    def measure(self) -> Self:
        """Have the video measured: at the job's end, or now if it has ended. It does not wait. Raises Conflict for a
        job that ended without a video."""
        return self._changed(calls.measure(self.id))

    def delete(self) -> None:
        """Delete the job and its objects. It is not found from then on."""
        self._connection.send(calls.delete(self.id))

    def revoke_links(self) -> None:
        """Make all links of the job invalid that were given out until now."""
        self._connection.send(calls.revoke_links(self.id))

    def webhook_deliveries(self, limit: int = 20, cursor: str | None = None) -> WebhookDeliveryList:
        """One page of the job's webhooks and what became of them, newest first."""
        return self._connection.send(webhooks.deliveries(self.id, limit, cursor))

    def redeliver_webhook(self, delivery_id: str) -> WebhookDelivery:
        """Send a webhook once more, at once and under the same id."""
        return self._connection.send(webhooks.redeliver(self.id, delivery_id))

    def _changed(self, call: Call[schema.Job]) -> Self:
        self._seen = Seen(self._connection.send(call))
        return self

    def _views(
        self, *, shows_progress: bool = False, silence_seconds: float = EVENT_SILENCE_SECONDS
    ) -> Iterator[schema.Job]:
        following = Following(self.refresh().data, time.monotonic(), shows_progress)
        yield following.job
        while not following.has_ended:
            for event in self._events_of_one_stream(following, silence_seconds):
                if following.apply(event, time.monotonic()):
                    following.refresh(self.refresh().data, time.monotonic())
                yield following.job
                if following.has_ended:
                    return
            # There is no stream. If the whole API is gone, reading the job raises.
            time.sleep(self._connection.poll_seconds)
            following.refresh(self.refresh().data, time.monotonic())
            yield following.job

    def _events_of_one_stream(self, following: Following, silence_seconds: float) -> Iterator[ServerEvent]:
        """Events of one connection, or none if there shall be none now."""
        if not following.may_stream(time.monotonic()):
            return
        try:
            call = calls.events(self.id, following.last_event_id, silence_seconds)
            with self._connection.stream(call) as response:
                yield from parse_events(response.iter_lines())
        except ClientError as error:
            following.lost(error, time.monotonic())
