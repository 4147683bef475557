"""All jobs of an owner as their clients see them, told as they change: what `GET /events` streams.

One look a second for each owner that has listeners, whatever their number: the marks of the jobs in sight, which are
cheap, and then only those jobs whose mark has changed. In sight are the newest jobs and those that have not ended. A
listener has no queue: it knows how much it has been told, and gets each job once, as it is then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from api.backends.ports import Ports
from core.service.domain.errors import JobNotFound, StoreError
from core.service.domain.ports import LiveStatus, Look
from core.service.domain.schema import JobRecord, JobStatus, Progress

NEWEST = 100
"""Jobs in sight, beside those that have not ended."""
MOST = 400
"""Jobs in sight at most: the oldest that have ended go first."""
_UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FINALIZING, JobStatus.CANCELING)
ProgressNow = Callable[[JobRecord, LiveStatus], Progress]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changed:
    """A job as it is now; `record` None: it was deleted."""

    job_id: str
    record: JobRecord | None = None
    progress: Progress | None = None


class Overview:
    """The jobs of one owner (JobRecord.owner; None: of all), for the listeners of one event loop."""

    def __init__(
        self, ports: Ports, limiter: CapacityLimiter, owner: str | None, progress: ProgressNow, look_seconds: float
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._ports = ports
        self._progress = progress
        self._limiter = limiter
        self._owner = owner
        self._look_seconds = look_seconds
        self._marks: dict[str, str] | None = None
        """By job id, of the jobs in sight; None before the first look."""
        self._newest: str | None = None
        self._told: dict[str, tuple[int, Changed]] = {}
        """By job id: the number of its last change, and that change."""
        self._number = 0
        self._listeners = 0
        self._task: asyncio.Task[None] | None = None
        self._new = asyncio.Event()

    @property
    def number(self) -> int:
        """Of the last change. A listener is told those after the number that it knows."""
        return self._number

    @property
    def is_ready(self) -> bool:
        """Whether everything that changes from now on will be told."""
        return self._marks is not None

    @property
    def has_listeners(self) -> bool:
        return self._listeners > 0

    @contextmanager
    def listened(self) -> Generator[None]:
        self._listeners += 1
        if self._task is None or self._task.done():
            self._task = self.loop.create_task(self._look_again_and_again())
        try:
            yield
        finally:
            self._listeners -= 1

    def after(self, number: int) -> list[Changed]:
        """What has changed after this number, each job once, in the order of its last change."""
        return [changed for at, changed in sorted(self._told.values(), key=lambda told: told[0]) if at > number]

    async def wait(self, seconds: float) -> None:
        """Until the next look, or the time is up."""
        try:
            async with asyncio.timeout(seconds):
                await self._new.wait()
        except TimeoutError:
            return

    async def _look_again_and_again(self) -> None:
        while self.has_listeners:
            try:
                changes = await to_thread.run_sync(self._look, limiter=self._limiter)
            except StoreError as error:
                _log.debug("the jobs of %s: %s", self._owner, error)
            else:
                for changed in changes:
                    self._number += 1
                    self._told[changed.job_id] = (self._number, changed)
                self._new.set()
                self._new = asyncio.Event()
            await asyncio.sleep(self._look_seconds)
        self._marks, self._told = None, {}  # who listens next has read the list before

    def _look(self) -> list[Changed]:
        """In a thread: what has changed since the last look; nothing at the first one. Raises StoreError."""
        if self._marks is None:
            self._marks = dict(self._marked(self._in_sight()))
            return []
        known, ids = self._marks, self._ids(self._marks)
        marked = dict(self._marked(ids))
        changed = [job_id for job_id in ids if job_id not in known or marked.get(job_id) != known[job_id]]
        looks = self._ports.store.looks(changed) if changed else ()
        changes = [self._changed(job_id, look) for job_id, look in zip(changed, looks, strict=True)]
        self._marks = {job_id: mark for job_id, mark in marked.items() if job_id in ids}
        return changes

    def _marked(self, ids: Sequence[str]) -> Generator[tuple[str, str]]:
        for job_id, mark in zip(ids, self._ports.store.marks(ids) if ids else (), strict=True):
            if mark is not None:
                yield job_id, mark

    def _changed(self, job_id: str, look: Look | None) -> Changed:
        """None says either that there is no such job, or that it must be looked at alone."""
        if look is None:
            with suppress(JobNotFound):
                look = self._ports.store.look(job_id)
        if look is None:
            return Changed(job_id)
        return Changed(job_id, look.record, self._progress(look.record, look.live))

    def _ids(self, known: dict[str, str]) -> list[str]:
        """Of the jobs in sight, newest first. The list is read again where a new job has come."""
        (newest, *_) = self._list(1) or (None,)
        if newest == self._newest:
            return [*known]
        self._newest = newest
        return [*dict.fromkeys([*self._list(NEWEST), *known])][:MOST]

    def _in_sight(self) -> list[str]:
        newest = self._list(NEWEST)
        self._newest = newest[0] if newest else None
        unfinished = [job_id for status in _UNFINISHED for job_id in self._list(NEWEST, status)]
        return [*dict.fromkeys([*newest, *unfinished])]

    def _list(self, limit: int, status: JobStatus | None = None) -> list[str]:
        page = self._ports.store.list(owner=self._owner, status=status, limit=limit)
        return [record.id for record in page.jobs]
