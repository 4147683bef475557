"""The janitor reconciles records, queues, leases and objects. The record is the truth; messages only wake workers.

Each pass wakes workers for jobs that wait, finalizes abandoned cancelled jobs, removes deleted and expired jobs and old
uploads, writes missing manifests and, if Redis has lost everything, rebuilds the records from the manifests. The cost
of a pass grows with what is wrong, not with what is stored. Every action is idempotent and safe beside other processes.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Protocol

from core.service.domain.errors import (
    JobNotFound,
    ObjectDamaged,
    ObjectNotFound,
    StorageError,
    StoreDamaged,
    UploadNotFound,
)
from core.service.domain.manifest import (
    JOBS_PREFIX,
    TOMBSTONES_PREFIX,
    job_id_of_manifest,
    job_id_of_tombstone,
    job_prefix,
    manifest_key,
    tombstone_key,
)
from core.service.domain.schema import JobRecord, Lane
from core.service.domain.transitions import TOMBSTONE_TIME, awaits_media
from core.service.domain.uploads import UPLOADS_PREFIX, upload_id_of_key, upload_key
from core.service.media.uploads import SENDING_GRACE, found_upload
from core.service.records.stored_jobs import read_job
from core.service.records.wake import wake_for_all
from worker.lanes.completion import clean_up, start_finalizing, write_manifest
from worker.runtime.services import Services

logger = logging.getLogger(__name__)

UPLOAD_GRACE = timedelta(minutes=1)
"""A job accepted just before its upload expired may not be stored yet."""

ANNOUNCED_TIME = timedelta(seconds=30)
"""Longer than any request that creates a job takes."""
SWEPT_IN_A_PASS = 50


class JanitorLock(Protocol):
    """Shared by the janitors of all processes. Its state is lost together with the records."""

    def exclusive(self) -> AbstractContextManager[bool]:
        """Yields False if another janitor holds the lock."""
        ...

    def manifests_read(self) -> bool:
        """Whether the manifests were read since the records were last lost."""
        ...

    def begin_reading(self) -> None:
        """Before the first manifest is read."""
        ...

    def mark_manifests_read(self) -> bool:
        """Every manifest was read. False, without a mark, if the records were lost again meanwhile."""
        ...


class Janitor:
    """Each call of `run` is one pass."""

    def __init__(self, services: Services, lock: JanitorLock) -> None:
        self._services = services
        self._lock = lock

    def run(self) -> None:
        """One pass; nothing if another janitor is running. If the object store fails, the other actions still run."""
        with self._lock.exclusive() as mine:
            if not mine:
                return
            with _storage_may_fail():
                self._rebuild_once()
            self._wake_workers()
            for record in self._services.store.abandoned_cancels():
                start_finalizing(self._services, record.id)
            for remove in (
                self._remove_expired,
                self._remove_deleted,
                self._remove_unsent_uploads,
                self._remove_old_uploads,
                self._remove_deleted_uploads,
                self._remove_old_tombstones,
                self._remove_never_created,
            ):
                with _storage_may_fail():
                    remove()
            for record in self._services.store.cleanup_pending(SWEPT_IN_A_PASS):
                if not record.delete_requested:
                    clean_up(self._services, record)
            self._write_stale_manifests()

    def _wake_workers(self) -> None:
        added = self._services.store.reindex()
        if added:
            logger.warning("%d jobs of an older version were added to the queues", added)
        wake_for_all(self._services.store, self._services.queue)

    def _write_stale_manifests(self) -> None:
        for record in self._services.store.stale_manifests():
            if not record.delete_requested:
                write_manifest(self._services, record)

    def _rebuild_once(self) -> None:
        if self._lock.manifests_read():
            return
        self._lock.begin_reading()
        for key in self._services.storage.list(TOMBSTONES_PREFIX):
            self._bury_again(job_id_of_tombstone(key))
        stored = [job_id_of_manifest(key) for key in self._services.storage.list(JOBS_PREFIX)]
        restored = sum(self._restore(job_id) for job_id in stored if job_id is not None)
        if restored:
            logger.warning("the store had lost %d jobs; rebuilt from their manifests", restored)
        for key in self._services.storage.list(UPLOADS_PREFIX):
            self._adopt(key)
        if not self._lock.mark_manifests_read():
            logger.warning("the store lost its records again during the rebuild; the next pass repeats it")

    def _bury_again(self, job_id: str) -> None:
        """The client was told that the job is deleted: restore its tombstone and delete its remaining objects."""
        self._services.store.add_tombstone(job_id, self._services.clock.now() + TOMBSTONE_TIME)
        self._services.storage.delete_prefix(job_prefix(job_id))

    def _adopt(self, key: str) -> None:
        """Make a new record for an upload whose record is lost, so that it is usable and expires."""
        services, upload_id = self._services, upload_id_of_key(key)
        if upload_id is None:
            return
        try:
            services.uploads.get(upload_id)
        except StoreDamaged as error:
            logger.error("%s; skipped", error)
        except UploadNotFound:
            stored, now = services.storage.look_up(key), services.clock.now()
            upload = found_upload(upload_id, stored.content_type, stored.size_bytes, services.settings, now)
            services.uploads.create(upload)

    def _restore(self, job_id: str) -> bool:
        try:
            return self._services.store.restore(*read_job(self._services.storage, job_id))
        except ObjectNotFound:
            return False
        except ObjectDamaged as error:
            logger.error("%s is unreadable, its job is not rebuilt: %s", manifest_key(job_id), error)
            return False

    def _remove_expired(self) -> None:
        for record in self._services.store.expired(self._services.clock.now()):
            logger.info("%s: expired, removed", record.id)
            self._remove(record.id)
            # For a day no other job gets its id: caches may still hold its chunks.
            self._services.store.add_tombstone(record.id, self._services.clock.now() + TOMBSTONE_TIME)

    def _remove_deleted(self) -> None:
        for record in self._services.store.deleted():
            if not self._in_work(record):
                logger.info("%s: deleted, removed", record.id)
                self._remove(record.id)

    def _remove_old_uploads(self) -> None:
        """Uploads that no new job may name, unless a job still waits for them."""
        keep = timedelta(seconds=self._services.settings.upload_retention_seconds) + UPLOAD_GRACE
        old = self._services.uploads.older_than(self._services.clock.now() - keep)
        needed = self._needed_uploads() if old else set[str]()
        for upload in old:
            if upload.id not in needed:
                self._services.storage.delete_prefix(upload.key)
                self._services.uploads.remove(upload.id)

    def _remove_unsent_uploads(self) -> None:
        """Uploads whose URL expired before a file was sent. A file sent later is deleted, too."""
        uploads, storage = self._services.uploads, self._services.storage
        for upload in uploads.unsent(self._services.clock.now() - SENDING_GRACE):
            if storage.exists(upload.key):
                uploads.sent(upload.id)
                continue
            now = self._services.clock.now()
            with suppress(UploadNotFound):  # its client deleted it first
                uploads.discard(upload.id, now, now + SENDING_GRACE)

    def _remove_deleted_uploads(self) -> None:
        """Objects of uploads that clients deleted, unless a job still waits for them."""
        uploads = self._services.uploads
        gone = uploads.discarded(self._services.clock.now())
        needed = self._needed_uploads() if gone else set[str]()
        for discarded in gone:
            if discarded.upload_id not in needed:
                self._services.storage.delete([upload_key(discarded.upload_id)])
                uploads.forget_discarded(discarded)

    def _needed_uploads(self) -> set[str]:
        """Uploads of jobs whose media are not prepared yet."""
        waiting = [record.spec.input_media for record in self._services.store.active() if awaits_media(record)]
        return {media.reference for media in waiting if media is not None}

    def _remove_old_tombstones(self) -> None:
        """Together with objects that a stalled worker stored after the deletion."""
        store, storage = self._services.store, self._services.storage
        for job_id in store.expired_tombstones(self._services.clock.now()):
            storage.delete_prefix(job_prefix(job_id))
            storage.delete([tombstone_key(job_id)])
            store.remove_tombstone(job_id)

    def _remove_never_created(self) -> None:
        """Manifests of jobs that were never created, because the API died or a server failed in between."""
        store, storage = self._services.store, self._services.storage
        for job_id in store.unfinished_creates(self._services.clock.now() - ANNOUNCED_TIME):
            try:
                store.get(job_id)
            except JobNotFound:
                storage.delete_prefix(job_prefix(job_id))
            store.forget_create(job_id)

    def _remove(self, job_id: str) -> None:
        """Objects first: after a crash in between the next pass removes the rest."""
        self._services.storage.delete_prefix(job_prefix(job_id))
        self._services.store.purge(job_id)

    def _in_work(self, record: JobRecord) -> bool:
        """Whether a worker holds a lease."""
        return any(self._services.store.lease_alive(record.id, lane) for lane in Lane if record.lane(lane).held)


@contextmanager
def _storage_may_fail() -> Generator[None]:
    try:
        yield
    except StorageError as error:
        logger.warning("the object store failed; the next pass retries: %s", error)
