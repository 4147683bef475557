"""How jobs leave a worker's hands (lanes, finalize, janitor): sent on, wound up, failed, written to the manifest.

Over ports only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from core.service.domain import transitions
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
from core.service.records.kept_objects import unneeded_keys
from worker.runtime.server_retry import ServerCall
from worker.runtime.services import Services

MANIFEST_SECONDS = 10.0
"""A worker waits no longer for an object store that hangs: the piece is committed already."""

logger = logging.getLogger(__name__)


def wake(services: Services, record: JobRecord, lanes: Iterable[Lane] = Lane) -> None:
    """Wake a worker for each of these lanes that the job wants now and that nobody has."""
    for lane in lanes:
        if transitions.wants(record, lane) and not record.lane(lane).held:
            services.queue.wake(lane, record.spec.model, record.id)


def wake_another(services: Services, lane: Lane, model: str) -> None:
    """One message wakes one worker; it passes the word on while there is more to do. Where the store fails the janitor
    does: whoever has just claimed a job must not lose it over this."""
    try:
        job_id = services.store.next_ready(lane, model)
    except StoreError as error:
        logger.warning("no other worker is woken: %s", error.message)
        return
    if job_id is not None:
        services.queue.wake(lane, model, job_id)


def wind_up(services: Services, job_id: str) -> None:
    """A cancelled job that nobody works on: finalise what exists. A deleted one: let the janitor remove it now."""
    try:
        record = services.store.begin_finalizing(job_id)
    except JobNotFound:
        services.queue.janitor()
        return
    write_manifest(services, record)
    wake(services, record)


def fail_job(services: Services, job_id: str, error: JobError) -> None:
    """End the job with `error`; its finished chunks stay playable. A job deleted meanwhile is left alone."""
    logger.error("%s: failed for good: %s: %s", job_id, error.code, error.message)
    try:
        record = services.store.fail(job_id, error)
    except JobNotFound:
        return
    close(services, record)
    if wants_webhook(record, "job.failed"):
        services.queue.deliver_webhooks()


def job_error(error: Exception, what: str, other_code: str) -> JobError:
    """For the client: our own errors by code and in words without addresses, keys and folders; of others (`other_code`)
    only the class is told, since their text is not meant for clients. Retryable is what an outage of somebody's server
    has caused."""
    ours = isinstance(error, LongtakeError)
    reason = error.public_message if ours else type(error).__name__
    outage = isinstance(error, StorageError | MediaFetchFailed) and not isinstance(error, ObjectNotFound)
    code = error.code if ours else other_code
    fix = error.public_fix if ours else None
    return JobError(code=code, message=f"{what}, at last: {reason}", retryable=outage, fix=fix)


def media_lost_error(times: int) -> JobError:
    """Of a job whose media were prepared again and again, and were never what had been stored."""
    message = f"what was prepared of its image or video was damaged or missing {times} times"
    return JobError(
        code="prepare_error", message=message, retryable=True, fix="tell the operator: storage loses objects"
    )


def poison_error(message: str) -> JobError:
    """Of a job that ends the processes which work on it."""
    fix = "submit it again with other values, and tell the operator: the workers' logs say how they ended"
    return JobError(code="poison_job", message=message, retryable=False, fix=fix)


def close(services: Services, record: JobRecord) -> None:
    """After the job's end: the last manifest, and every object goes that nobody can need any more.

    Without the manifest they stay: a job rebuilt from an older one would need them again.
    """
    if not write_manifest(services, record):
        return
    try:
        services.storage.delete(unneeded_keys(record, services.storage.list(job_prefix(record.id))))
        services.store.cleanup_done(record.id)
    except (StorageError, StoreError) as error:
        logger.warning("%s: objects that nobody needs are left for the janitor: %s", record.id, error)


def write_manifest(services: Services, record: JobRecord) -> bool:
    """Copy the record beside the objects. False where that failed or takes long: the janitor sees to it then. The
    manifest of a job that was deleted meanwhile goes again."""
    store, storage = services.store, services.storage
    try:
        writing = ServerCall(lambda: manifest_writer.write_manifest(store, storage, record))
        writing.result_within(MANIFEST_SECONDS)
    except TimeoutError:
        logger.warning("%s: the manifest takes longer than %g s, the janitor sees to it", record.id, MANIFEST_SECONDS)
        return False
    except JobNotFound:
        remove_deleted_objects(services, record.id)
        return False
    except (StorageError, StoreError) as error:
        logger.warning("%s: manifest not written: %s", record.id, error)
        return False
    return True


def remove_deleted_objects(services: Services, job_id: str) -> None:
    """What was stored for a job while it was deleted goes again; what stays is removed with its tombstone."""
    try:
        if services.store.has_tombstone(job_id):
            services.storage.delete_prefix(job_prefix(job_id))
    except (StorageError, StoreError) as error:
        logger.warning("%s: deleted, but objects are left for now: %s", job_id, error)


def sweep_again(services: Services, job_id: str) -> None:
    """Objects may have been stored for a job after its end: whoever comes too late says so."""
    try:
        if services.store.get(job_id).status.is_terminal:
            services.store.request_cleanup(job_id)
    except JobNotFound:
        remove_deleted_objects(services, job_id)
    except StoreError as error:
        logger.warning("%s: objects may be left: %s", job_id, error.message)


def wants_webhook(record: JobRecord, event: WebhookEvent) -> bool:
    """Whether the store has put `event` into the outbox for this job."""
    return record.spec.webhook_url is not None and event in record.spec.webhook_events
