"""What lanes and the janitor do with a job: wake workers, write its manifest, fail it, clean it up."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from core.service.domain.errors import (
    JobNotFound,
    LongtakeError,
    MediaFetchFailed,
    ObjectNotFound,
    StorageError,
    StoreError,
)
from core.service.domain.manifest import job_prefix
from core.service.domain.schema import JobError, JobRecord, Lane, WebhookEvent
from core.service.records import manifest_writer
from core.service.records.chunk_reads import all_chunks
from core.service.records.kept_objects import unneeded_keys
from core.service.records.wake import wake_workers
from worker import metrics
from worker.runtime.server_retry import ServerCall
from worker.runtime.services import Services

MANIFEST_SECONDS = 10.0
"""Longest wait for an object store that hangs: the piece is committed already, the janitor writes the manifest."""

logger = logging.getLogger(__name__)


def wake(services: Services, record: JobRecord, lanes: Iterable[Lane] = Lane) -> None:
    """Wake a worker for each of these lanes in which the job has work and that no worker holds."""
    wake_workers(services.queue, record, lanes)


def wake_another(services: Services, lanes: Sequence[Lane], model: str) -> None:
    """A message wakes one worker, so each wakes the next while jobs wait on one of its lanes: not only on that of its
    own message, because it may have claimed a piece of another. If the store fails the janitor does it: the job that
    was just claimed must not fail over this."""
    try:
        free = services.store.free_work(lanes, model)
    except StoreError as error:
        logger.warning("no other worker was woken: %s", error.message)
        return
    for lane, job_id in free.items():
        services.queue.wake(lane, model, job_id)


def start_finalizing(services: Services, job_id: str) -> None:
    """Finalize a cancelled job that no worker holds. If it was deleted, wake the janitor to remove it."""
    try:
        record = services.store.begin_finalizing(job_id)
    except JobNotFound:
        services.queue.janitor()
        return
    write_manifest(services, record)
    wake(services, record)


def fail_job(services: Services, job_id: str, error: JobError, lane: Lane) -> None:
    """Fail the job with `error` of its work on `lane`; its finished chunks stay playable. No-op if it is deleted."""
    logger.error("%s: failed: %s: %s", job_id, error.code, error.message)
    try:
        record = services.store.fail(job_id, error)
    except JobNotFound:
        return
    metrics.job_ended(record.status, lane)
    clean_up(services, record)
    if wants_webhook(record, "job.failed"):
        services.queue.deliver_webhooks()


def job_error(error: Exception, what: str, other_code: str) -> JobError:
    """What the client sees of an error: of a LongtakeError its code and public message, of any other `other_code` and
    the class name only. `what` says what failed. Retryable if a server's outage caused it."""
    ours = isinstance(error, LongtakeError)
    reason = error.public_message if ours else type(error).__name__
    outage = isinstance(error, StorageError | MediaFetchFailed) and not isinstance(error, ObjectNotFound)
    code = error.code if ours else other_code
    fix = error.public_fix if ours else None
    return JobError(code=code, message=f"{what}; last error: {reason}", retryable=outage, fix=fix)


def media_lost_error(times: int) -> JobError:
    """For a job whose prepared media were damaged or missing after every repair."""
    message = f"the prepared image or video was damaged or missing {times} times"
    return JobError(
        code="prepare_error", message=message, retryable=True, fix="tell the operator: storage loses objects"
    )


def poison_error(message: str) -> JobError:
    """For a job whose workers die."""
    fix = "submit it with other values, and tell the operator: the workers' logs show how they ended"
    return JobError(code="poison_job", message=message, retryable=False, fix=fix)


def clean_up(services: Services, record: JobRecord) -> None:
    """After the job's end: write the last manifest, then delete the objects that are not needed any more.

    They stay if the manifest was not written, because a job rebuilt from an older manifest needs them.
    """
    if not write_manifest(services, record):
        return
    try:
        lists = all_chunks(services.store, record.id)
        unneeded = unneeded_keys(record, lists, services.storage.list(job_prefix(record.id)))
        if services.store.get(record.id).generation == record.generation:  # else it has gone on meanwhile
            services.storage.delete(unneeded)
            services.store.cleanup_done(record.id)
    except (StorageError, StoreError, JobNotFound) as error:
        logger.warning("%s: unneeded objects are left for the janitor: %s", record.id, error)


def write_manifest(services: Services, record: JobRecord) -> bool:
    """Store the record as the job's manifest. False if that failed, hangs, or the job was deleted; the janitor retries.
    A manifest that was stored after a deletion is removed again."""
    store, storage = services.store, services.storage
    try:
        writing = ServerCall(lambda: manifest_writer.write_manifest(store, storage, record))
        writing.result_within(MANIFEST_SECONDS)
    except TimeoutError:
        logger.warning("%s: the manifest takes longer than %g s; the janitor will retry", record.id, MANIFEST_SECONDS)
        return False
    except JobNotFound:
        remove_deleted_objects(services, record.id)
        return False
    except (StorageError, StoreError) as error:
        logger.warning("%s: the manifest was not written: %s", record.id, error)
        return False
    return True


def remove_deleted_objects(services: Services, job_id: str) -> None:
    """Delete what was stored for a job after its deletion; what remains goes when its tombstone expires."""
    try:
        if services.store.has_tombstone(job_id):
            services.storage.delete_prefix(job_prefix(job_id))
    except (StorageError, StoreError) as error:
        logger.warning("%s: deleted, but some objects remain for now: %s", job_id, error)


def request_cleanup(services: Services, job_id: str) -> None:
    """A worker that came too late may have stored objects after the job's end: have the janitor look again."""
    try:
        if services.store.get(job_id).status.is_terminal:
            services.store.request_cleanup(job_id)
    except JobNotFound:
        remove_deleted_objects(services, job_id)
    except StoreError as error:
        logger.warning("%s: unneeded objects may remain: %s", job_id, error.message)


def wants_webhook(record: JobRecord, event: WebhookEvent) -> bool:
    """Whether the job has a webhook for `event`."""
    return record.spec.webhook_url is not None and event in record.spec.webhook_events
