"""Transition, what a store writes in one transaction, and the steps that changes are built of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core.service.domain.errors import JobNotFound, StaleLease
from core.service.domain.ports import Delivery, Lease
from core.service.domain.refine_plan import is_made
from core.service.domain.schema import ChunkRecord, EventType, JobRecord, JobStatus, Lane, LaneState, Variant
from core.service.domain.transitions.counting import with_frames_counted
from core.service.domain.transitions.events import NewEvent, deliveries_for, new_event
from core.service.domain.transitions.rules import NEXT_STATUSES, should_start_at_once


@dataclass(frozen=True)
class ChunkWrite:
    """A chunk for a job's list of one variant. Its position there is its index."""

    variant: Variant
    chunk: ChunkRecord


@dataclass(frozen=True)
class Transition:
    """What a store writes in one transaction."""

    record: JobRecord
    events: tuple[NewEvent, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    released: Lane | None = None
    revoked: tuple[Lane, ...] = ()
    """Lanes whose leases end although their holders have not released them."""
    rest_seconds: float = 0.0
    """How long the released lane cannot be claimed."""
    cleared_progress: tuple[Lane, ...] = ()
    """Lanes whose progress is cleared."""
    tombstone_until: datetime | None = None
    """When the tombstone of a deleted job expires."""
    chunks: tuple[ChunkWrite, ...] = ()
    """Chunks to be appended, or to replace those with their index, in order."""
    is_commit: bool = False
    """Counts as progress of the service: workers that die meanwhile do not die of a general outage."""
    is_prepared: bool = False
    """The lane that it releases has done its work, which does not count as that progress."""

    def has_made(self, lane: Lane) -> bool:
        """Whether it ends a piece of this lane that is made, not given back or lost."""
        if self.is_commit:
            return lane is (self.released or Lane.GENERATE)  # no other lane is kept for the next piece
        return self.is_prepared and lane is self.released


def require_not_deleted(record: JobRecord) -> None:
    if record.delete_requested:
        raise JobNotFound(f"there is no job {record.id}")


def require_newest_lease(record: JobRecord, lease: Lease) -> None:
    require_not_deleted(record)
    newest = record.lane(lease.lane).token
    if lease.token != newest:
        raise StaleLease(
            f"{lease.worker} holds token {lease.token} of {record.id}/{lease.lane}, the newest is {newest}"
        )


def updated(record: JobRecord, **changes: object) -> JobRecord:
    return record.model_copy(update=changes)


def updated_lane(state: LaneState, **changes: object) -> LaneState:
    return state.model_copy(update=changes)


def moved_to(record: JobRecord, status: JobStatus, **changes: object) -> JobRecord:
    assert status in NEXT_STATUSES[record.status], (record.status, status)
    return updated(record, status=status, **changes)


def ended_as(record: JobRecord, status: JobStatus, at: datetime, retention: timedelta, **changes: object) -> JobRecord:
    ended = moved_to(record, status, finished_at=at, expires_at=at + retention, **changes)
    return with_frames_counted(record, ended, at)


def with_lane(record: JobRecord, lane: Lane, state: LaneState) -> JobRecord:
    return updated(record, lanes={**record.lanes, lane: state})


def finalizing_if_made(record: JobRecord) -> JobRecord:
    return moved_to(record, JobStatus.FINALIZING) if is_made(record) else record


def finalizing_if_canceled(record: JobRecord) -> JobRecord:
    """A canceling job moves to finalizing as soon as no lane is held."""
    busy = any(record.lane(lane).held for lane in Lane)
    return (
        moved_to(record, JobStatus.FINALIZING, repairs=())
        if record.status is JobStatus.CANCELING and not busy
        else record
    )


def with_revision(transition: Transition) -> Transition:
    """Count a change that must reach the manifest."""
    record = transition.record
    return replace(transition, record=updated(record, revision=record.revision + 1))


def with_event_count(before: JobRecord, transition: Transition) -> Transition:
    """Count the events. Not for jobs of an older version, whose log entries have other ids."""
    if before.num_events is None and transition.record.status is not JobStatus.QUEUED:
        return transition
    counted = (before.num_events or 0) + len(transition.events)
    return replace(transition, record=updated(transition.record, num_events=counted))


def with_event(
    record: JobRecord,
    event_type: EventType,
    at: datetime,
    *,
    released: Lane | None = None,
    cleared_progress: tuple[Lane, ...] = (),
    chunks: tuple[ChunkWrite, ...] = (),
    revoked: tuple[Lane, ...] = (),
    is_commit: bool = False,
) -> Transition:
    """A change with a log entry and, if requested, a webhook delivery."""
    return with_event_count(
        record,
        with_revision(
            Transition(
                record,
                events=(new_event(record, event_type, at),),
                deliveries=deliveries_for(record, event_type, at),
                released=released,
                cleared_progress=cleared_progress,
                chunks=chunks,
                revoked=revoked,
                is_commit=is_commit,
            )
        ),
    )


def together(first: Transition, then: Transition, record: JobRecord | None = None) -> Transition:
    """Both changes in one, `then` being made after `first`; with another record than the one after both, if given."""
    return replace(
        first,
        record=record or then.record,
        events=(*first.events, *then.events),
        deliveries=(*first.deliveries, *then.deliveries),
    )


def started_if_made(change: Transition, at: datetime) -> Transition:
    """`change`, after which a job that misses no new frame is not queued: no claim of the lane that makes frames would
    start it. A job with nothing left to make is finalized."""
    record = change.record
    if record.status is not JobStatus.QUEUED or not should_start_at_once(record):
        return replace(change, record=finalizing_if_made(record))
    begun = {"started_at": record.started_at or at, "resumed_at": at if record.generation else None}
    started = with_event(moved_to(record, JobStatus.RUNNING, **begun), EventType.JOB_STARTED, at)
    return together(change, started, finalizing_if_made(started.record))
