"""Every change of a job as a pure function: JobRecord -> Transition. The status graph is enforced here and only here.

A Transition is the new record with all that must become visible together with it: log entries, webhook deliveries,
a lease given back, progress cleared. Both stores (Redis, fake) apply it atomically. Knows no store and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from core.service.errors import JobNotFound, JobStateConflict, StaleLease
from core.service.ports import Delivery, Lease, Results
from core.service.refine_plan import is_ready
from core.service.schema import (
    ChunkRecord,
    EventType,
    FingerprintChange,
    JobError,
    JobRecord,
    JobStatus,
    Lane,
    LaneState,
)
from core.service.webhooks import payload

NEXT_STATUSES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.CANCELING, JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.CANCELING: frozenset({JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.FINALIZING: frozenset({JobStatus.SUCCEEDED, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}
"""The status graph. Nothing leads to expired yet: retention removes a job altogether."""

ACTIVE_STATUSES = tuple(status for status in JobStatus if not status.is_terminal)

TAKES_CHUNKS = frozenset({JobStatus.RUNNING, JobStatus.CANCELING})
ALL_LANES = tuple(Lane)

TOKENS_SKIPPED_BY_RESTORE = 1_000_000
"""A worker that outlived a lost Redis may hold a token newer than the manifest's; a restored lane starts beyond it."""


@dataclass(frozen=True)
class NewEvent:
    """An entry for the job's event log, before the log has given it an id."""

    type: EventType
    at: datetime
    data: dict[str, Any]


@dataclass(frozen=True)
class Transition:
    """What a store writes in one transaction."""

    record: JobRecord
    events: tuple[NewEvent, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    released: Lane | None = None
    progress_over: tuple[Lane, ...] = ()
    """Lanes whose progress is cleared."""


def create(record: JobRecord) -> Transition:
    """A new queued job."""
    assert record.status is JobStatus.QUEUED, record.status
    return _with_event(record, EventType.JOB_QUEUED, record.created_at)


def restore(record: JobRecord) -> Transition:
    """A job rebuilt from its manifest: the log is written anew, no webhook is sent again, old tokens are fenced off."""
    lanes = {
        lane: LaneState(token=record.lane(lane).token + TOKENS_SKIPPED_BY_RESTORE, attempts=record.lane(lane).attempts)
        for lane in Lane
    }
    return Transition(_changed(record, lanes=lanes), events=_past_events(record))


def wants(record: JobRecord, lane: Lane) -> bool:
    """Whether there is work for this lane now."""
    if record.delete_requested:
        return False
    if lane is Lane.FINALIZE:
        return record.status is JobStatus.FINALIZING
    if lane is Lane.REFINE:
        return record.status is JobStatus.RUNNING and is_ready(record)
    return record.status in {JobStatus.QUEUED, JobStatus.RUNNING} and not record.is_complete


def shall_stop(record: JobRecord) -> bool:
    """Whether a worker that is making or refining a chunk of this job shall stop at its next step."""
    return record.cancel_requested or record.delete_requested or record.status.is_terminal


def claim(record: JobRecord, lane: Lane, at: datetime) -> Transition:
    """Hand the lane to a new worker: next fencing token, one more attempt. The first claim starts the job."""
    assert wants(record, lane), (record.id, record.status, lane)
    state = record.lane(lane)
    claimed = _with_lane(record, lane, LaneState(token=state.token + 1, attempts=state.attempts + 1))
    if record.status is not JobStatus.QUEUED:
        return Transition(claimed)
    return _with_event(_moved(claimed, JobStatus.RUNNING, started_at=at), EventType.JOB_STARTED, at)


def release(record: JobRecord, lease: Lease, *, count_attempt: bool) -> Transition | None:
    """Give the lane back without a commit; None where the lease is no longer the newest one."""
    state = record.lane(lease.lane)
    if state.token != lease.token:
        return None
    attempts = state.attempts if count_attempt else max(0, state.attempts - 1)
    given_back = _with_lane(record, lease.lane, LaneState(token=state.token, attempts=attempts))
    return Transition(given_back, released=lease.lane, progress_over=(lease.lane,))


def commit_chunk(record: JobRecord, lease: Lease, chunk: ChunkRecord, fingerprint: str, at: datetime) -> Transition:
    """Append the next chunk. Committing the same chunk twice under one lease is one commit (the first answer was lost).

    Raises StaleLease where the token is old, the index is not the next or the job no longer takes chunks.
    """
    _require_newest(record, lease)
    if record.chunks and record.chunks[-1] == chunk:
        return Transition(record)
    if record.status not in TAKES_CHUNKS or chunk.index != len(record.chunks):
        raise StaleLease(f"chunk {chunk.index} of {record.id} cannot follow: {len(record.chunks)}, {record.status}")
    committed = _changed(
        _with_lane(record, lease.lane, LaneState(token=lease.token, attempts=0)),
        version=record.version + 1,
        chunks=(*record.chunks, chunk),
        fingerprints=_noted(record.fingerprints, chunk.index, fingerprint),
        first_chunk_at=record.first_chunk_at or at,
    )
    made = _finalizing_if_made(committed)
    return _with_event(made, EventType.CHUNK_COMPLETED, at, released=lease.lane, progress_over=(lease.lane,))


def commit_refined(
    record: JobRecord, lease: Lease, done: int, chunks: tuple[ChunkRecord, ...], fingerprint: str, at: datetime
) -> Transition:
    """Count one more piece of refinement (`done` of them now) and append the chunks that it publishes, often one.

    Idempotent as `commit_chunk`. Raises StaleLease where the token is old, the piece is not the next or the job no
    longer takes chunks.
    """
    _require_newest(record, lease)
    if record.refine_done == done and record.refined[len(record.refined) - len(chunks) :] == chunks:
        return Transition(record)
    follows = done == record.refine_done + 1 and all(
        chunk.index == index for index, chunk in enumerate(chunks, len(record.refined))
    )
    if record.status not in TAKES_CHUNKS or not follows:
        raise StaleLease(f"piece {done} of refining {record.id} cannot follow: {record.refine_done}, {record.status}")
    counted = _changed(
        _with_lane(record, lease.lane, LaneState(token=lease.token, attempts=0)),
        version=record.version + 1,
        refine_done=done,
        refine_fingerprints=_noted(record.refine_fingerprints, len(record.refined), fingerprint),
    )
    told = [
        _changed(counted, refined=(*record.refined, *chunks[: count + 1]), version=counted.version + count)
        for count in range(len(chunks))
    ]
    made = _finalizing_if_made(told[-1] if told else counted)
    return Transition(
        made,
        events=tuple(_new_event(state, EventType.CHUNK_REFINED, at) for state in told),
        deliveries=tuple(row for state in told for row in _deliveries(state, EventType.CHUNK_REFINED, at)),
        released=lease.lane,
        progress_over=(lease.lane,),
    )


def begin_finalizing(record: JobRecord) -> Transition:
    """running | canceling -> finalizing. Idempotent, also once the job has ended.

    Raises JobStateConflict where frames are missing and nobody asked to stop: a video would be silently short.
    """
    _require_not_deleted(record)
    if record.status is JobStatus.FINALIZING or record.status.is_terminal:
        return Transition(record)
    if not (record.is_made or record.cancel_requested):
        raise JobStateConflict(
            f"{record.id} has {record.frames_done} of {record.spec.num_frames} frames, {record.frames_refined} refined"
        )
    return Transition(_moved(record, JobStatus.FINALIZING), progress_over=ALL_LANES)


def finish(
    record: JobRecord,
    lease: Lease,
    *,
    results: Results,
    at: datetime,
    retention: timedelta,
) -> Transition:
    """finalizing -> canceled where cancel was requested (only possible before all frames were made), else succeeded.

    Repeated under one lease it changes nothing. Raises StaleLease where the token is old or the job is elsewhere.
    """
    _require_newest(record, lease)
    if record.status in {JobStatus.SUCCEEDED, JobStatus.CANCELED}:
        return Transition(record)
    if record.status is not JobStatus.FINALIZING:
        raise StaleLease(f"{record.id} is {record.status}, not finalizing")
    status = JobStatus.CANCELED if record.cancel_requested else JobStatus.SUCCEEDED
    stored = _with_lane(record, lease.lane, LaneState(token=lease.token, attempts=0))
    ended = _ended(stored, status, at, retention, **asdict(results))
    return _with_event(ended, EventType(f"job.{status}"), at, released=lease.lane, progress_over=ALL_LANES)


def fail(record: JobRecord, error: JobError, at: datetime, retention: timedelta) -> Transition:
    """Any status but a terminal one -> failed; a job that has ended stays as it ended."""
    _require_not_deleted(record)
    if record.status.is_terminal:
        return Transition(record)
    ended = _ended(record, JobStatus.FAILED, at, retention, error=error)
    return _with_event(ended, EventType.JOB_FAILED, at, progress_over=ALL_LANES)


def request_cancel(record: JobRecord, at: datetime, retention: timedelta) -> Transition:
    """queued -> canceled at once, running -> canceling. Idempotent. Raises JobStateConflict where it is too late."""
    _require_not_deleted(record)
    if record.cancel_requested and record.status is not JobStatus.FAILED:
        return Transition(record)
    if record.status is JobStatus.RUNNING:
        return Transition(_moved(record, JobStatus.CANCELING, cancel_requested=True))
    if record.status is not JobStatus.QUEUED:
        raise JobStateConflict(f"a job that is {record.status} cannot be canceled", fix="DELETE removes an ended job")
    ended = _ended(record, JobStatus.CANCELED, at, retention, cancel_requested=True)
    return _with_event(ended, EventType.JOB_CANCELED, at)


def request_delete(record: JobRecord, at: datetime, retention: timedelta) -> Transition:
    """Mark for deletion; a job not yet ended is canceled without finalising.

    The log says job.canceled so that whoever follows it is released, but no webhook is written: the deletion that
    follows takes undelivered ones with it.
    """
    _require_not_deleted(record)
    if record.status.is_terminal:
        return Transition(_changed(record, delete_requested=True))
    ended = _ended(record, JobStatus.CANCELED, at, retention, cancel_requested=True, delete_requested=True)
    return Transition(ended, events=(_new_event(ended, EventType.JOB_CANCELED, at),), progress_over=ALL_LANES)


def _require_not_deleted(record: JobRecord) -> None:
    if record.delete_requested:
        raise JobNotFound(f"there is no job {record.id}")


def _require_newest(record: JobRecord, lease: Lease) -> None:
    _require_not_deleted(record)
    newest = record.lane(lease.lane).token
    if lease.token != newest:
        raise StaleLease(
            f"{lease.worker} holds token {lease.token} of {record.id}/{lease.lane}, the newest is {newest}"
        )


def _changed(record: JobRecord, **changes: object) -> JobRecord:
    return record.model_copy(update=changes)


def _moved(record: JobRecord, status: JobStatus, **changes: object) -> JobRecord:
    assert status in NEXT_STATUSES[record.status], (record.status, status)
    return _changed(record, status=status, **changes)


def _ended(record: JobRecord, status: JobStatus, at: datetime, retention: timedelta, **changes: object) -> JobRecord:
    return _moved(record, status, finished_at=at, expires_at=at + retention, **changes)


def _with_lane(record: JobRecord, lane: Lane, state: LaneState) -> JobRecord:
    return _changed(record, lanes={**record.lanes, lane: state})


def _finalizing_if_made(record: JobRecord) -> JobRecord:
    return _moved(record, JobStatus.FINALIZING) if record.is_made else record


def _noted(known: tuple[FingerprintChange, ...], chunk_index: int, fingerprint: str) -> tuple[FingerprintChange, ...]:
    if known and known[-1].fingerprint == fingerprint:
        return known
    return (*known, FingerprintChange(from_chunk=chunk_index, fingerprint=fingerprint))


def _with_event(
    record: JobRecord,
    event_type: EventType,
    at: datetime,
    *,
    released: Lane | None = None,
    progress_over: tuple[Lane, ...] = (),
) -> Transition:
    return Transition(
        record,
        events=(_new_event(record, event_type, at),),
        deliveries=_deliveries(record, event_type, at),
        released=released,
        progress_over=progress_over,
    )


def _new_event(record: JobRecord, event_type: EventType, at: datetime) -> NewEvent:
    return NewEvent(event_type, at, _event_data(record, event_type))


def _event_data(record: JobRecord, event_type: EventType) -> dict[str, Any]:
    """What an entry of the log tells beside its type: thin, and true at that moment for ever."""
    data: dict[str, Any] = {
        "status": record.status.value,
        "version": record.version,
        "frames_done": record.frames_done,
        "frames_total": record.spec.num_frames,
    }
    chunks = {EventType.CHUNK_COMPLETED: record.chunks, EventType.CHUNK_REFINED: record.refined}.get(event_type)
    if chunks is not None:
        data["chunk"] = chunks[-1].model_dump(
            mode="json", include={"index", "first_frame", "num_frames", "size_bytes", "sha256"}
        )
    if record.error is not None:
        data["error"] = record.error.model_dump()
    return data


def _deliveries(record: JobRecord, event_type: EventType, at: datetime) -> tuple[Delivery, ...]:
    if record.spec.webhook_url is None or event_type.value not in record.spec.webhook_events:
        return ()
    return (
        Delivery(
            id=_delivery_id(record, event_type),
            job_id=record.id,
            event_type=event_type,
            url=record.spec.webhook_url,
            body=payload(event_type, record, at),
            created_at=at,
            next_attempt_at=at,
        ),
    )


def _delivery_id(record: JobRecord, event_type: EventType) -> str:
    """Derived, not drawn: an event told twice carries the same id. No '.', which the signed text uses as separator."""
    return f"msg_{record.id.removeprefix('job_')}_{record.version}_{event_type.value.replace('.', '_')}"


def _past_events(record: JobRecord) -> tuple[NewEvent, ...]:
    """The log that led to `record`, as far as the record tells."""
    queued = _changed(record, status=JobStatus.QUEUED, version=0, chunks=(), refined=(), error=None)
    events = [_new_event(queued, EventType.JOB_QUEUED, record.created_at)]
    if record.started_at is not None:
        started = _changed(queued, status=JobStatus.RUNNING)
        events.append(_new_event(started, EventType.JOB_STARTED, record.started_at))
        events += _past_commits(started, record)
    if record.finished_at is not None and record.status is not JobStatus.EXPIRED:
        events.append(_new_event(record, EventType(f"job.{record.status}"), record.finished_at))
    return tuple(events)


def _past_commits(started: JobRecord, record: JobRecord) -> Iterator[NewEvent]:
    """One event per chunk of either lane, in the order they were made."""
    of_lanes = (
        (EventType.CHUNK_COMPLETED, "chunks", record.chunks),
        (EventType.CHUNK_REFINED, "refined", record.refined),
    )
    commits = [(chunk.created_at, event, field, chunk) for event, field, chunks in of_lanes for chunk in chunks]
    past = started
    for at, event, field, chunk in sorted(commits, key=lambda commit: commit[0]):
        past = _changed(past, version=past.version + 1, **{field: (*getattr(past, field), chunk)})
        yield _new_event(_finalizing_if_made(past), event, at)
