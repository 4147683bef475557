"""The listeners of one event loop: takes updates from the log reader and wakes the listeners of the job.

A listener has no queue. It knows the id of the last event that it sent and reads on from there (api/events/pages.py);
of progress only the newest report is kept. A slow client thus costs no memory and misses no event.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from anyio import CapacityLimiter, to_thread

from api.backends.ports import Ports
from api.events.fan_out import FanOut
from api.events.log_reader import LogReader, Update
from api.events.pages import PageCache
from core.service.domain.errors import JobNotFound, LongtakeError
from core.service.domain.schema import JobRecord, Lane
from core.service.domain.transitions import awaits_measuring


def order(event_id: str) -> tuple[int, int]:
    """Sort key of a Redis stream id: its two numbers."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)


def has_no_more_events(record: JobRecord) -> bool:
    """Whether the job has ended and is not to be measured."""
    return record.status.is_terminal and not awaits_measuring(record)


class Channel:
    """One job that has listeners."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.head: str | None = None
        """Id of the newest event; None until the reader has read it."""
        self.progress: dict[Lane, tuple[int, str]] = {}
        """The newest report of each lane, with a number that counts the reports of all lanes."""
        self.num_reports = 0
        self.ended = False
        """No more events will come, although the log has no last event."""
        self.listeners = set[Listener]()
        self.updated_at = time.monotonic()


class Listener:
    """One open stream."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._reported = channel.num_reports
        self._waiting: asyncio.Future[None] | None = None
        self._missed = False

    def is_behind(self, after: str) -> bool:
        """Whether the log has events after `after`."""
        head = self._channel.head
        return head is not None and order(head) > order(after)

    @property
    def head(self) -> str | None:
        """Id of the newest event; None if it is not known yet."""
        return self._channel.head

    @property
    def has_ended(self) -> bool:
        return self._channel.ended

    def new_progress(self) -> str:
        """The text of reports that this listener has not sent yet."""
        new = sorted(entry for entry in self._channel.progress.values() if entry[0] > self._reported)
        self._reported = self._channel.num_reports
        return "".join(text for _, text in new)

    def wake(self, *_reason: object) -> None:
        if self._waiting is None:
            self._missed = True
        elif not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Wait for an update, which may have come since the last wait, or until the time is up."""
        if self._missed or seconds <= 0:
            self._missed = False
            return
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(seconds, self.wake)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting, self._missed = None, False


class Hub:
    """All listeners of one event loop. `limiter` limits the threads that read logs and records for them.

    A job without updates for `silence_seconds` is looked up in the store.
    """

    def __init__(self, ports: Ports, limiter: CapacityLimiter, retry_seconds: float, silence_seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.pages = PageCache(ports, limiter)
        self._ports = ports
        self._limiter = limiter
        self._silence_seconds = silence_seconds
        self._fan_out = FanOut(self.loop)
        self._reader = LogReader(ports, self._receive, retry_seconds)
        self.channels: dict[str, Channel] = {}
        """By job id, of the jobs that have listeners."""
        self._checking: asyncio.Task[None] | None = None

    @contextmanager
    def listener(self, job_id: str) -> Generator[Listener]:
        channel = self.channels.get(job_id)
        if channel is None:
            channel = self.channels[job_id] = Channel(job_id)
            self._reader.follow(job_id)
        listener = Listener(channel)
        channel.listeners.add(listener)
        if self._checking is None or self._checking.done():
            self._checking = self.loop.create_task(self._check_silent_jobs())
        try:
            yield listener
        finally:
            self._leave(channel, listener)

    def wake_all(self) -> None:
        for channel in self.channels.values():
            for listener in channel.listeners:
                listener.wake()

    def _leave(self, channel: Channel, listener: Listener) -> None:
        channel.listeners.discard(listener)
        if not channel.listeners:
            self.channels.pop(channel.job_id, None)
            self._reader.unfollow(channel.job_id)

    def _receive(self, updates: Sequence[Update]) -> bool:
        """Called in the reader's thread. False if the loop is closed."""
        try:
            self.loop.call_soon_threadsafe(self._apply_all, updates)
        except RuntimeError:
            return False
        return True

    def _apply_all(self, updates: Sequence[Update]) -> None:
        for update in updates:
            channel = self.channels.get(update.job_id)
            if channel is not None:
                self._apply(channel, update)

    def _apply(self, channel: Channel, update: Update) -> None:
        channel.updated_at = time.monotonic()
        if update.head is not None:
            if update.page is not None and channel.head is not None:
                self.pages.put(channel.job_id, channel.head, update.page)
            channel.head = update.head
            channel.progress.clear()  # their piece is done, or will be reported again
            self._fan_out.events(channel, channel.listeners)
        for lane, text in update.progress.items():
            channel.num_reports += 1
            channel.progress[lane] = (channel.num_reports, text)
            self._fan_out.progress(channel, channel.listeners)

    async def _check_silent_jobs(self) -> None:
        """A job without updates may be deleted, or its last event lost."""
        while self.channels:
            await asyncio.sleep(self._silence_seconds / 2)
            silent_since = time.monotonic() - self._silence_seconds
            silent = [job_id for job_id, channel in self.channels.items() if channel.updated_at <= silent_since]
            with contextlib.suppress(LongtakeError):
                for job_id in await to_thread.run_sync(self._ended_of, silent, limiter=self._limiter):
                    self._end(job_id)

    def _ended_of(self, job_ids: Sequence[str]) -> list[str]:
        stopped = self._ports.events.stopped(job_ids) if job_ids else ()
        return [job_id for job_id in stopped if self._has_ended(job_id)]

    def _has_ended(self, job_id: str) -> bool:
        try:
            return has_no_more_events(self._ports.store.get(job_id))
        except JobNotFound:
            return True
        except LongtakeError:
            return False  # unknown now; check the others

    def _end(self, job_id: str) -> None:
        channel = self.channels.get(job_id)
        if channel is not None:
            channel.ended = True
            self._fan_out.events(channel, channel.listeners)
