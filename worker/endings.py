"""How jobs leave a worker's hands (lanes, finalize, janitor): sent on, wound up, failed, written to the manifest.

Over ports only.
"""

from __future__ import annotations

import logging

from core.service.errors import JobNotFound, LongtakeError, MediaFetchFailed, ObjectNotFound, StorageError, StoreError
from core.service.manifest import frames_prefix, manifest_bytes, manifest_key, refine_states_prefix
from core.service.ports import TaskQueue
from core.service.refine_plan import refine_spec
from core.service.schema import JobError, JobRecord, JobStatus, Lane, WebhookEvent
from worker.services import Services

logger = logging.getLogger(__name__)

MANIFEST_TYPE = "application/json"


def send(queue: TaskQueue, record: JobRecord, lane: Lane) -> None:
    """The message that lets a worker go on with this lane of the job."""
    if lane is Lane.FINALIZE:
        queue.finalize_job(record.id)
    elif lane is Lane.GENERATE:
        queue.generate_chunk(record.id, record.spec.model)
    elif refine_spec(record.spec).schedule == "streaming":
        queue.refine_window(record.id, record.spec.model)
    else:
        queue.refine_step(record.id, record.spec.model)


def wind_up(services: Services, job_id: str) -> None:
    """A cancelled job that nobody works on: finalise what exists. A deleted one: let the janitor remove it now."""
    try:
        record = services.store.begin_finalizing(job_id)
    except JobNotFound:
        services.queue.janitor()
        return
    if record.status is JobStatus.FINALIZING:
        services.queue.finalize_job(job_id)


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
    """For the client: our own errors by code and in their words; of others (`other_code`) only the class is told, since
    their text is not meant for clients. Retryable is what an outage of somebody's server has caused."""
    ours = isinstance(error, LongtakeError)
    reason = error.message if ours else type(error).__name__
    outage = isinstance(error, StorageError | MediaFetchFailed) and not isinstance(error, ObjectNotFound)
    code = error.code if ours else other_code
    return JobError(code=code, message=f"{what}, at last: {reason}", retryable=outage)


def close(services: Services, record: JobRecord) -> None:
    """After the job's end: the last manifest, and what only refining needed goes.

    Without the manifest it stays: a job rebuilt from an older one would need it again.
    """
    if not write_manifest(services, record) or record.spec.refine is None:
        return
    try:
        for prefix in (frames_prefix(record.id), refine_states_prefix(record.id)):
            services.storage.delete_prefix(prefix)
    except StorageError as error:
        logger.warning("%s: exact frames are left until the job is removed: %s", record.id, error)


def write_manifest(services: Services, record: JobRecord) -> bool:
    """Copy the record beside the objects. A failure is logged only: the next commit or the end writes it again.

    The two lanes of a refined job may both be at this: each looks afterwards whether what it wrote is still the newest.
    """
    try:
        services.storage.put(manifest_key(record.id), manifest_bytes(record), MANIFEST_TYPE)
        newest = record if record.spec.refine is None else services.store.get(record.id)
    except (StorageError, StoreError, JobNotFound) as error:
        logger.warning("%s: manifest not written: %s", record.id, error)
        return False
    if (newest.version, newest.status) == (record.version, record.status):
        return True
    return write_manifest(services, newest)


def wants_webhook(record: JobRecord, event: WebhookEvent) -> bool:
    """Whether the store has put `event` into the outbox for this job."""
    return record.spec.webhook_url is not None and event in record.spec.webhook_events
