"""Makes records, queue, leases and objects agree again: the queue is a hint, the record is the truth.

Each pass brings back jobs that nobody works on, removes deleted and expired ones and old uploads, and, where Redis has
lost everything, rebuilds the records from what is in the object store. Every action may be repeated and may meet others
doing the same. Over ports only.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from core.service import transitions
from core.service.errors import JobNotFound, ObjectNotFound, StorageError, UploadNotFound
from core.service.manifest import JOBS_PREFIX, job_id_of_manifest, job_prefix, record_from_manifest
from core.service.media.uploads import UPLOADS_PREFIX, found_upload, upload_id_of_key
from core.service.schema import JobRecord, JobStatus, Lane
from worker.endings import send, wind_up
from worker.services import Services

logger = logging.getLogger(__name__)

UPLOAD_GRACE = timedelta(minutes=1)
"""A job may have been accepted with an upload in its last moment, and not be stored yet."""
LONGEST_BACKOFF = 5
"""Doublings of the pause before a job that keeps failing, or keeps waiting, is sent again."""


class Coordination(Protocol):
    """What janitors of several processes share; lost together with the records."""

    def exclusive(self) -> AbstractContextManager[bool]:
        """False inside where another janitor is at work."""
        ...

    def manifests_read(self) -> bool: ...

    def mark_manifests_read(self) -> None: ...


@dataclass(frozen=True)
class _Idle:
    """A lane seen without anybody working on it: since when, at which state of its record, how often sent since."""

    since: datetime
    mark: tuple[JobStatus, int, int]
    times_sent: int = 0


class Janitor:
    """Keeps what it saw in earlier passes, so that a job is brought back only after a grace."""

    def __init__(self, services: Services, coordination: Coordination) -> None:
        self._services = services
        self._coordination = coordination
        self._idle: dict[tuple[str, Lane], _Idle] = {}

    def run(self) -> None:
        """One pass, or nothing where another janitor is at it. A broken object store stops only what needs it."""
        with self._coordination.exclusive() as mine:
            if not mine:
                return
            with _storage_may_fail():
                self._rebuild_once()
                self._remove_expired()
            active = self._services.store.active()
            with _storage_may_fail():
                self._remove_deleted(active)
                self._remove_old_uploads(active)
            self._bring_back_idle(active)

    def _rebuild_once(self) -> None:
        if self._coordination.manifests_read():
            return
        manifests = [key for key in self._services.storage.list(JOBS_PREFIX) if job_id_of_manifest(key) is not None]
        restored = sum(self._restore(key) for key in manifests)
        if restored:
            logger.warning("the store had lost %d jobs, rebuilt from their manifests", restored)
        for key in self._services.storage.list(UPLOADS_PREFIX):
            self._adopt(key)
        self._coordination.mark_manifests_read()

    def _adopt(self, key: str) -> None:
        """An upload whose record is lost begins its life again, so that it can be used, and ends some day."""
        services, upload_id = self._services, upload_id_of_key(key)
        if upload_id is None:
            return
        try:
            services.uploads.get(upload_id)
        except UploadNotFound:
            stored, now = services.storage.look_up(key), services.clock.now()
            upload = found_upload(upload_id, stored.content_type, stored.size_bytes, services.settings, now)
            services.uploads.create(upload)

    def _restore(self, key: str) -> bool:
        try:
            data = self._services.storage.get(key)
        except ObjectNotFound:
            return False
        try:
            return self._services.store.restore(record_from_manifest(data))
        except StorageError as error:
            logger.error("%s cannot be read, its job is not rebuilt: %s", key, error)
            return False

    def _remove_expired(self) -> None:
        for record in self._services.store.expired(self._services.clock.now()):
            logger.info("%s: expired, removed", record.id)
            self._remove(record.id)

    def _remove_deleted(self, active: Sequence[JobRecord]) -> None:
        for record in active:
            if record.delete_requested and not self._in_work(record):
                logger.info("%s: deleted, removed", record.id)
                self._remove(record.id)

    def _remove_old_uploads(self, active: Sequence[JobRecord]) -> None:
        """Those that no new job may name any more, unless one that has no chunk yet still waits for them."""
        waiting = [record.spec for record in active if not record.chunks and not record.delete_requested]
        needed = {reference for spec in waiting for reference in (spec.image, spec.video)}
        keep = timedelta(seconds=self._services.settings.upload_retention_seconds) + UPLOAD_GRACE
        for upload in self._services.uploads.older_than(self._services.clock.now() - keep):
            if upload.id not in needed:
                self._services.storage.delete_prefix(upload.key)
                self._services.uploads.remove(upload.id)

    def _remove(self, job_id: str) -> None:
        """Objects first: a crash in between is mended by the next pass."""
        self._services.storage.delete_prefix(job_prefix(job_id))
        self._services.store.purge(job_id)

    def _in_work(self, record: JobRecord) -> bool:
        """Somebody holds a lease. Nobody does on a queued job: the first claim starts it."""
        if record.status is JobStatus.QUEUED:
            return False
        return any(self._services.store.lease_alive(record.id, lane) for lane in Lane)

    def _bring_back_idle(self, active: Sequence[JobRecord]) -> None:
        now = self._services.clock.now()
        idle: dict[tuple[str, Lane], _Idle] = {}
        for record in active:
            for lane in self._idle_lanes(record):
                seen = self._seen(record, lane, now)
                if now - seen.since >= self._grace(record, lane, seen.times_sent):
                    self._bring_back(record, lane)
                    seen = _Idle(now, seen.mark, seen.times_sent + 1)
                idle[record.id, lane] = seen
        self._idle = idle

    def _idle_lanes(self, record: JobRecord) -> list[Lane]:
        """Lanes with work that nobody does. A job that is to be wound up rests on its first."""
        if record.delete_requested:
            return []
        wanted = [lane for lane in Lane if transitions.wants(record, lane)]
        if not wanted:
            return [] if self._in_work(record) else [Lane.GENERATE]
        if record.status is JobStatus.QUEUED:
            return wanted
        return [lane for lane in wanted if not self._services.store.lease_alive(record.id, lane)]

    def _seen(self, record: JobRecord, lane: Lane, now: datetime) -> _Idle:
        """Since when this lane of the job rests at this very state."""
        mark = (record.status, record.version, record.lane(lane).token)
        before = self._idle.get((record.id, lane))
        return before if before is not None and before.mark == mark else _Idle(now, mark)

    def _grace(self, record: JobRecord, lane: Lane, times_sent: int) -> timedelta:
        """A waiting message is given one interval. The pause doubles with each failed try, and with each message sent:
        a job that only waits its turn in a long queue is not asked about in every pass."""
        doublings = min(record.lane(lane).attempts + times_sent, LONGEST_BACKOFF)
        return timedelta(seconds=self._services.settings.janitor_interval_seconds * 2**doublings)

    def _bring_back(self, record: JobRecord, lane: Lane) -> None:
        """Send its message (again; the queue keeps no message twice)."""
        try:
            if transitions.wants(record, lane):
                send(self._services.queue, record, lane)
            else:
                wind_up(self._services, record.id)
        except JobNotFound:
            logger.info("%s: deleted meanwhile", record.id)


@contextmanager
def _storage_may_fail() -> Generator[None]:
    try:
        yield
    except StorageError as error:
        logger.warning("the object store failed, left for the next pass: %s", error)
