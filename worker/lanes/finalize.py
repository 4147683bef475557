"""The end of a job: one MP4 of all chunks (another of the refined ones) by stream copy, a thumbnail, the final status.

Also for a cancelled job, with the chunks that exist (none: no video). Runs on CPU workers. Over ports only. Doing it
twice gives the same objects, so a crash anywhere is mended by doing it again. Every chunk is compared with its
checksum: a damaged one is made again before the job succeeds.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from core.service.domain.errors import Interrupted, JobNotFound, ObjectNotFound, StaleLease, StorageError, StoreError
from core.service.domain.manifest import refined_video_key, thumbnail_key, video_key
from core.service.domain.ports import Lease, Results
from core.service.domain.schema import ChunkRecord, JobRecord, JobStatus, Lane, WebhookEvent
from core.service.video.contact_sheet import thumbnail
from core.service.video.decode import decode_frames
from core.service.video.final_video import join_chunks
from worker.lanes.completion import (
    close,
    fail_job,
    job_error,
    poison_error,
    remove_deleted_objects,
    sweep_again,
    wake,
    wake_another,
    wants_webhook,
    write_manifest,
)
from worker.lanes.lane import Damaged, Outcome
from worker.lanes.lease_keeper import LeaseKeeper
from worker.runtime.disk_errors import is_disk_trouble
from worker.runtime.server_retry import ServerCall, patiently
from worker.runtime.services import Services
from worker.runtime.temporary_folders import temporary_folder

logger = logging.getLogger(__name__)

_END_EVENTS: dict[JobStatus, WebhookEvent] = {
    JobStatus.SUCCEEDED: "job.succeeded",
    JobStatus.CANCELED: "job.canceled",
}
T = TypeVar("T")


def finalize_next(services: Services) -> Outcome:
    """Finish the job that comes next, or nothing where none waits.

    Raises what the joining raised, after the try is recorded.
    """
    ttl = services.settings.lease_ttl_seconds
    try:
        if services.drain.is_set():
            wake_another(services, Lane.FINALIZE, "")
            return Outcome.INTERRUPTED
        lease = services.store.claim_next(Lane.FINALIZE, "", services.worker, ttl)
        if lease is None:
            return Outcome.DROPPED
        wake_another(services, Lane.FINALIZE, "")
        with LeaseKeeper(services.store, lease, ttl) as keeper:
            return _under_lease(services, lease, _Finalizer(services, keeper))
    except StoreError as error:
        logger.warning("the store fails, the janitor wakes a worker later: %s", error.message)
        return Outcome.DROPPED


def _under_lease(services: Services, lease: Lease, finalizer: _Finalizer) -> Outcome:
    try:
        record = finalizer.patiently(lambda: services.store.get(lease.job_id))
        if lease.poison:
            return _poisoned(services, record)
        return _finish(services, record, lease, finalizer)
    except (Interrupted, JobNotFound) as reason:
        return _interrupted(services, lease, reason, lost=finalizer.keeper.lost.is_set())


def _finish(services: Services, record: JobRecord, lease: Lease, finalizer: _Finalizer) -> Outcome:
    try:
        results = finalizer.store_results(record)
        ended = finalizer.patiently(lambda: services.store.finish(lease, results))
    except (Interrupted, JobNotFound):
        raise
    except StaleLease as reason:
        logger.warning("%s: %s", record.id, reason)
        sweep_again(services, record.id)
        return Outcome.DROPPED
    except Damaged as damage:
        return _repair(services, lease, damage)
    except Exception as error:  # the task's boundary: record the try, let the error through
        _record_failure(services, record, lease, error)
        raise
    _announce(services, ended)
    return Outcome.COMMITTED


def _announce(services: Services, record: JobRecord) -> None:
    logger.info("%s: %s with %d frames", record.id, record.status, record.frames_done)
    close(services, record)
    event = _END_EVENTS.get(record.status)
    if event is not None and wants_webhook(record, event):
        services.queue.deliver_webhooks()


def _repair(services: Services, lease: Lease, damage: Damaged) -> Outcome:
    """The job goes back to the workers that make chunks."""
    logger.warning("%s: %s", lease.job_id, damage)
    record = services.store.repair(lease, damage.chunks, refine_from=damage.refine_from)
    write_manifest(services, record)
    wake(services, record)
    return Outcome.INTERRUPTED


def _interrupted(services: Services, lease: Lease, reason: Exception, *, lost: bool) -> Outcome:
    logger.info("%s: %s", lease.job_id, reason)
    if lost:
        return Outcome.INTERRUPTED
    services.store.release(lease, count_attempt=False)
    try:
        wake(services, services.store.get(lease.job_id))
    except JobNotFound:
        remove_deleted_objects(services, lease.job_id)
        services.queue.janitor()
    return Outcome.INTERRUPTED


def _record_failure(services: Services, record: JobRecord, lease: Lease, error: Exception) -> None:
    """Count the try, unless a server failed; the job comes back after a pause, unless it was the last try."""
    counts = not (isinstance(error, StorageError | StoreError) or is_disk_trouble(error))
    attempts = record.lane(Lane.FINALIZE).attempts + counts
    rest = services.settings.janitor_interval_seconds * 2**attempts
    services.store.release(lease, count_attempt=counts, rest_seconds=rest)
    logger.error("%s: try %d of finalising failed: %r", record.id, attempts, error)
    if attempts >= services.settings.max_attempts:
        what = f"joining the video failed {attempts} times"
        fail_job(services, record.id, job_error(error, what, "finalize_error"))


def _poisoned(services: Services, record: JobRecord) -> Outcome:
    message = f"{record.lane(Lane.FINALIZE).deaths} workers died one after the other while they joined the video"
    fail_job(services, record.id, poison_error(message))
    return Outcome.FAILED


class _Finalizer:
    """Makes and stores the final objects of one job; stops when told to."""

    def __init__(self, services: Services, keeper: LeaseKeeper) -> None:
        self.keeper = keeper
        self._services = services

    def store_results(self, record: JobRecord) -> Results:
        """Keys of both videos and of the thumbnail; None where there is no chunk to make it of.

        Raises Damaged where chunks are not what was stored. A cancelled job gets what comes before those.
        """
        video = self._store_video(record, record.chunks, video_key(record.id))
        refined = self._store_video(record, record.refined, refined_video_key(record.id))
        best = record.refined if refined else record.chunks if video else ()
        return Results(video, refined, self._store_thumbnail(record.id, best))

    def patiently(self, action: Callable[[], T]) -> T:
        """For the store, whose calls end by themselves."""
        return patiently(action, self._pause)

    def _store_video(self, record: JobRecord, chunks: Sequence[ChunkRecord], key: str) -> str | None:
        pieces = self._pieces(record, chunks)
        first = next(pieces, None)
        if first is None:
            return None
        with temporary_folder() as folder:
            video = Path(folder) / "video.mp4"
            join_chunks(chain([first], pieces), video)
            self._call(lambda: self._services.storage.put_file(key, video, "video/mp4"))
        return key

    def _store_thumbnail(self, job_id: str, best: Sequence[ChunkRecord]) -> str | None:
        if not best:
            return None
        key, picture = thumbnail_key(job_id), thumbnail(decode_frames(self._get(best[0].key)))
        self._call(lambda: self._services.storage.put(key, picture, "image/jpeg"))
        return key

    def _pieces(self, record: JobRecord, chunks: Sequence[ChunkRecord]) -> Iterator[bytes]:
        """The chunks' bytes, as they were stored, one after the other."""
        for position, chunk in enumerate(chunks):
            data = self._good_bytes(chunk)
            if data is None and record.cancel_requested:
                return
            if data is None:
                raise self._damage(record, chunks[position:])
            yield data

    def _damage(self, record: JobRecord, chunks: Sequence[ChunkRecord]) -> Damaged:
        """All that is damaged from the first of `chunks` on, which is, so that it is made again in one go."""
        if chunks[0] in record.refined:
            return Damaged(refine_from=0)
        later = [chunk.index for chunk in chunks[1:] if self._good_bytes(chunk) is None]
        return Damaged((chunks[0].index, *later))

    def _good_bytes(self, chunk: ChunkRecord) -> bytes | None:
        """None where the object is missing or not what was stored."""
        try:
            data = self._get(chunk.key)
        except ObjectNotFound:
            logger.warning("%s is missing", chunk.key)
            return None
        if hashlib.sha256(data).hexdigest() != chunk.sha256:
            logger.warning("%s is damaged", chunk.key)
            return None
        return data

    def _get(self, key: str) -> bytes:
        return self._call(lambda: self._services.storage.get(key))

    def _call(self, action: Callable[[], T]) -> T:
        """For the object store, whose calls may hang."""
        self._check_stop()
        return ServerCall(lambda: patiently(action, self._pause)).result(self._check_stop)

    def _pause(self, seconds: float, reason: str) -> None:
        del reason
        self._services.drain.wait(seconds)
        self._check_stop()

    def _check_stop(self) -> None:
        self.keeper.check()
        if self._services.drain.is_set():
            raise Interrupted(f"{self._services.worker} is stopping")
