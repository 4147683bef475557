"""Creating, finishing, failing, cancelling and deleting a job."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta

from core.service.domain.errors import JobStateConflict, StaleLease
from core.service.domain.ports import Lease, Results
from core.service.domain.refine_plan import is_made
from core.service.domain.schema import EventType, JobError, JobRecord, JobStatus, LaneState
from core.service.domain.transitions.counting import with_frames_counted
from core.service.domain.transitions.events import new_event
from core.service.domain.transitions.rules import ALL_LANES
from core.service.domain.transitions.transition import (
    Transition,
    ended_as,
    finalizing_if_canceled,
    moved_to,
    require_newest_lease,
    require_not_deleted,
    updated,
    with_event,
    with_event_count,
    with_lane,
    with_revision,
)

TOMBSTONE_TIME = timedelta(days=1)
"""Life of a tombstone: longer than a suspended worker may take to wake up and store something."""


def create(record: JobRecord) -> Transition:
    """A new queued job."""
    assert record.status is JobStatus.QUEUED, record.status
    counted = with_frames_counted(None, record, record.created_at)
    return with_event(counted, EventType.JOB_QUEUED, record.created_at)


def begin_finalizing(record: JobRecord) -> Transition:
    """running | canceling -> finalizing. Idempotent, also once the job has ended.

    Raises JobStateConflict if frames are missing and no cancel was requested: the video would be silently short.
    """
    require_not_deleted(record)
    if record.status is JobStatus.FINALIZING or record.status.is_terminal:
        return Transition(record)
    if not (is_made(record) or record.cancel_requested):
        raise JobStateConflict(
            f"{record.id} has {record.frames_done} of {record.spec.length} frames, {record.frames_refined} refined"
        )
    return with_revision(Transition(moved_to(record, JobStatus.FINALIZING, repairs=()), cleared_progress=ALL_LANES))


def finish(
    record: JobRecord,
    lease: Lease,
    *,
    results: Results,
    at: datetime,
    retention: timedelta,
) -> Transition:
    """finalizing -> canceled if a cancel was requested (possible only before the last frame), else succeeded.

    Idempotent under one lease. Raises StaleLease if the token is old or the job is not finalizing.
    """
    require_newest_lease(record, lease)
    if record.status in {JobStatus.SUCCEEDED, JobStatus.CANCELED}:
        return Transition(record)
    if record.status is not JobStatus.FINALIZING:
        raise StaleLease(f"{record.id} is {record.status}, not finalizing")
    status = JobStatus.CANCELED if record.cancel_requested else JobStatus.SUCCEEDED
    stored = with_lane(record, lease.lane, LaneState(token=lease.token))
    ended = ended_as(stored, status, at, retention, **asdict(results))
    return with_event(
        ended, EventType(f"job.{status}"), at, released=lease.lane, cleared_progress=ALL_LANES, is_commit=True
    )


def fail(record: JobRecord, error: JobError, at: datetime, retention: timedelta) -> Transition:
    """Any non-terminal status -> failed; an ended job is unchanged."""
    require_not_deleted(record)
    if record.status.is_terminal:
        return Transition(record)
    ended = ended_as(record, JobStatus.FAILED, at, retention, error=error)
    return with_event(ended, EventType.JOB_FAILED, at, cleared_progress=ALL_LANES)


def request_cancel(record: JobRecord, at: datetime, retention: timedelta) -> Transition:
    """queued -> canceled at once (finalizing, if it has chunks), running -> canceling. Idempotent. Raises
    JobStateConflict if it is too late."""
    require_not_deleted(record)
    if record.cancel_requested and record.status is not JobStatus.FAILED:
        return Transition(record)
    if record.status is JobStatus.RUNNING:
        return with_revision(
            Transition(finalizing_if_canceled(moved_to(record, JobStatus.CANCELING, cancel_requested=True)))
        )
    if record.status is not JobStatus.QUEUED:
        raise JobStateConflict(f"a job that is {record.status} cannot be canceled", fix="DELETE removes an ended job")
    if record.chunks.count:
        return with_revision(Transition(moved_to(record, JobStatus.FINALIZING, cancel_requested=True, repairs=())))
    ended = ended_as(record, JobStatus.CANCELED, at, retention, cancel_requested=True)
    return with_event(ended, EventType.JOB_CANCELED, at)


def request_delete(record: JobRecord, at: datetime, retention: timedelta) -> Transition:
    """Mark for deletion; a job that has not ended is canceled without finalizing.

    The log gets job.canceled so that event streams end, but no webhook is written: the deletion that follows removes
    undelivered ones.
    """
    require_not_deleted(record)
    if record.status.is_terminal:
        return Transition(updated(record, delete_requested=True), tombstone_until=at + TOMBSTONE_TIME)
    ended = ended_as(record, JobStatus.CANCELED, at, retention, cancel_requested=True, delete_requested=True)
    return with_event_count(
        record,
        Transition(
            ended,
            events=(new_event(ended, EventType.JOB_CANCELED, at),),
            cleared_progress=ALL_LANES,
            tombstone_until=at + TOMBSTONE_TIME,
        ),
    )


def revoke_links(record: JobRecord, secret: str) -> Transition:
    """A new `link_secret`: the tokens in all links that were given out open nothing any more. Idempotent."""
    require_not_deleted(record)
    if record.link_secret == secret:
        return Transition(record)
    return with_revision(Transition(updated(record, link_secret=secret)))


def end_webhooks(record: JobRecord, ended: int) -> Transition:
    """The first `ended` webhooks of the job need no further attempt. Reaches the manifest once the job has ended."""
    if ended <= record.webhooks_ended:
        return Transition(record)
    noted = Transition(updated(record, webhooks_ended=ended))
    return with_revision(noted) if record.status.is_terminal else noted
