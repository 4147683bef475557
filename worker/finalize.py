"""The end of a job: one MP4 of all chunks (another of the refined ones) by stream copy, a thumbnail, the final status.

Also for a cancelled job, with the chunks that exist (none: no video). Runs on CPU workers. Over ports only. Doing it
twice gives the same objects, so a crash anywhere is mended by doing it again.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from core.service.errors import Interrupted, JobNotFound, StaleLease
from core.service.manifest import refined_video_key, thumbnail_key, video_key
from core.service.ports import Lease, Results
from core.service.schema import ChunkRecord, JobError, JobRecord, JobStatus, Lane, WebhookEvent
from core.service.video.contact_sheet import thumbnail
from core.service.video.decode import decode_frames
from core.service.video.final_video import join_chunks
from worker.endings import close, fail_job, job_error, wants_webhook
from worker.lane import Outcome
from worker.lease_keeper import LeaseKeeper
from worker.services import Services
from worker.uploads import PATIENCE_SECONDS, patiently

logger = logging.getLogger(__name__)

_END_EVENTS: dict[JobStatus, WebhookEvent] = {
    JobStatus.SUCCEEDED: "job.succeeded",
    JobStatus.CANCELED: "job.canceled",
}


def _nothing() -> None: ...


def finalize_job(
    services: Services,
    job_id: str,
    keep_message: Callable[[], None] = _nothing,
    upload_patience_seconds: float = PATIENCE_SECONDS,
) -> Outcome:
    """Finish the job, or nothing where it is not finalizing or another worker is at it.

    Raises what the object store or the joining raised, after the try is recorded.
    """
    ttl = services.settings.lease_ttl_seconds
    if services.drain.is_set():
        services.queue.finalize_job(job_id)
        return Outcome.INTERRUPTED
    try:
        lease = services.store.claim(job_id, Lane.FINALIZE, services.worker, ttl)
        if lease is None:
            logger.info("%s: nothing to finalise now, dropped", job_id)
            return Outcome.DROPPED
        with LeaseKeeper(services.store, lease, ttl, keep_message) as keeper:
            return _under_lease(services, lease, _Finalizer(services, keeper, upload_patience_seconds))
    except JobNotFound:
        services.queue.janitor()
        return Outcome.DROPPED


def _under_lease(services: Services, lease: Lease, finalizer: _Finalizer) -> Outcome:
    record = services.store.get(lease.job_id)
    if record.lane(Lane.FINALIZE).attempts > services.settings.max_attempts:
        error = JobError(code="worker_lost", message="the worker died each time it joined the video", retryable=False)
        fail_job(services, record.id, error)
        return Outcome.FAILED
    try:
        ended = services.store.finish(lease, finalizer.store_results(record))
    except Interrupted as reason:
        return _interrupted(services, lease, reason, lost=finalizer.keeper.lost.is_set())
    except StaleLease as reason:
        logger.warning("%s: %s", record.id, reason)
        return Outcome.DROPPED
    except JobNotFound:
        services.store.release(lease, count_attempt=False)
        raise
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


def _interrupted(services: Services, lease: Lease, reason: Interrupted, *, lost: bool) -> Outcome:
    logger.info("%s: %s", lease.job_id, reason)
    if not lost:
        services.store.release(lease, count_attempt=False)
        services.queue.finalize_job(lease.job_id)
    return Outcome.INTERRUPTED


def _record_failure(services: Services, record: JobRecord, lease: Lease, error: Exception) -> None:
    """Count the try; the janitor brings the job back after a pause, unless it was the last try."""
    services.store.release(lease, count_attempt=True)
    attempts = record.lane(Lane.FINALIZE).attempts
    logger.error("%s: try %d of finalising failed: %r", record.id, attempts, error)
    if attempts >= services.settings.max_attempts:
        what = f"joining the video failed {attempts} times"
        fail_job(services, record.id, job_error(error, what, "finalize_error"))


class _Finalizer:
    """Makes and stores the final objects of one job; stops when told to."""

    def __init__(self, services: Services, keeper: LeaseKeeper, patience_seconds: float) -> None:
        self.keeper = keeper
        self._services = services
        self._patience = patience_seconds

    def store_results(self, record: JobRecord) -> Results:
        """Keys of both videos and of the thumbnail; None where there is no chunk to make it of."""
        return Results(
            video_key=self._store_video(record.chunks, video_key(record.id)),
            refined_video_key=self._store_video(record.refined, refined_video_key(record.id)),
            thumbnail_key=self._store_thumbnail(record),
        )

    def _store_video(self, chunks: Sequence[ChunkRecord], key: str) -> str | None:
        if not chunks:
            return None
        with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
            video = Path(folder) / "video.mp4"
            join_chunks(self._pieces(chunks), video)
            self._patiently(lambda: self._services.storage.put_file(key, video, "video/mp4"))
        return key

    def _store_thumbnail(self, record: JobRecord) -> str | None:
        best = record.refined or record.chunks
        if not best:
            return None
        key, picture = thumbnail_key(record.id), thumbnail(decode_frames(self._get(best[0].key)))
        self._patiently(lambda: self._services.storage.put(key, picture, "image/jpeg"))
        return key

    def _pieces(self, chunks: Sequence[ChunkRecord]) -> Iterator[bytes]:
        for chunk in chunks:
            self._check_stop()
            yield self._get(chunk.key)

    def _get(self, key: str) -> bytes:
        return patiently(lambda: self._services.storage.get(key), self._pause, self._patience)

    def _patiently(self, action: Callable[[], None]) -> None:
        self._check_stop()
        patiently(action, self._pause, self._patience)

    def _pause(self, seconds: float) -> None:
        self._services.drain.wait(seconds)
        self._check_stop()

    def _check_stop(self) -> None:
        self.keeper.check()
        if self._services.drain.is_set():
            raise Interrupted(f"{self._services.worker} is stopping")
