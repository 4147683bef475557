"""Every change of a job as a pure function: JobRecord -> Transition. The status graph is enforced here and only here.

A Transition is the new record with all that must become visible together with it: log entries, webhook deliveries,
a lease given back, progress cleared. Both stores (Redis, fake) apply it atomically. Knows no store and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from core.service.domain.errors import JobNotFound, JobStateConflict, StaleLease
from core.service.domain.ports import Delivery, Lease, Results
from core.service.domain.refine_plan import is_made, is_ready
from core.service.domain.schema import (
    LANES_WITH_STEPS,
    ChunkRecord,
    EventType,
    FingerprintChange,
    JobError,
    JobRecord,
    JobStatus,
    JobWarning,
    Lane,
    LaneState,
    PreparedMedia,
    StateChecksum,
)
from core.service.domain.webhooks import payload

NEXT_STATUSES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.CANCELING, JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.CANCELING: frozenset({JobStatus.FINALIZING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.FINALIZING: frozenset({JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}
"""The status graph. A job whose chunks are damaged goes back from finalizing. Nothing leads to expired yet: retention
removes a job altogether."""

ACTIVE_STATUSES = tuple(status for status in JobStatus if not status.is_terminal)

TAKES_CHUNKS = frozenset({JobStatus.RUNNING, JobStatus.CANCELING})
ALL_LANES = tuple(Lane)

POISON_DEATHS = 5
"""A piece of a job that ended so many workers, while other jobs got on each time, is what ends them."""
LONELY_DEATHS = 20
"""The same where no other job was there to compare with: machines end for many reasons."""

TOMBSTONE_TIME = timedelta(days=1)
"""How long a deletion is remembered: longer than any worker that stood still may wake up to store something."""

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
    rest_seconds: float = 0.0
    """How long nobody may claim the lane that is given back."""
    progress_over: tuple[Lane, ...] = ()
    """Lanes whose progress is cleared."""
    buried_until: datetime | None = None
    """Until when the deletion is remembered."""
    is_commit: bool = False
    """A piece of work is done: others that died meanwhile did not die of a general outage."""


def create(record: JobRecord) -> Transition:
    """A new queued job."""
    assert record.status is JobStatus.QUEUED, record.status
    return _with_event(record, EventType.JOB_QUEUED, record.created_at)


def is_same_job(one: JobRecord, other: JobRecord) -> bool:
    """Whether these are of one job, however far it has got."""
    return (one.id, one.spec, one.created_at) == (other.id, other.spec, other.created_at)


def restore(record: JobRecord) -> Transition:
    """A job rebuilt from its manifest: the log is written anew, entry for entry with the numbers that it had; webhooks
    that may not have arrived are sent again, under the same ids; old tokens are fenced off."""
    lanes = {
        lane: LaneState(token=record.lane(lane).token + TOKENS_SKIPPED_BY_RESTORE, attempts=record.lane(lane).attempts)
        for lane in Lane
    }
    past = _past(record)
    rows = [row for state, event, at in past for row in _deliveries(state, event, at)]
    events = tuple(_new_event(state, event, at) for state, event, at in past)
    counted = _changed(record, lanes={**record.lanes, **lanes}, num_events=0)
    return _numbered(counted, Transition(counted, events=events, deliveries=tuple(rows[record.webhooks_ended :])))


def wants(record: JobRecord, lane: Lane) -> bool:
    """Whether there is work for this lane now."""
    if record.delete_requested:
        return False
    if lane is Lane.PREPARE:
        return record.status in {JobStatus.QUEUED, JobStatus.RUNNING} and awaits_media(record)
    if lane is Lane.FINALIZE:
        return record.status is JobStatus.FINALIZING
    if lane is Lane.REFINE:
        return record.status is JobStatus.RUNNING and not record.repairs and is_ready(record)
    if awaits_media(record):
        return False
    if record.repairs:
        return record.status is JobStatus.RUNNING
    return record.status in {JobStatus.QUEUED, JobStatus.RUNNING} and not record.is_complete


def awaits_media(record: JobRecord) -> bool:
    """Whether the image or video that the job begins with must be prepared before anything is generated: needed for
    chunk 0 only, and where that (or the state after it) must be made again."""
    given = record.spec.image is not None or record.spec.video is not None
    return given and record.prepared is None and (not record.chunks or record.prepare_again)


def lanes_with_progress(record: JobRecord) -> tuple[Lane, ...]:
    """Lanes of which a step may have been reported."""
    if record.status is not JobStatus.RUNNING:
        return ()
    return LANES_WITH_STEPS if record.spec.refine else (Lane.GENERATE,)


def is_prepared_ahead(record: JobRecord) -> bool:
    """Whether the job's media are ready and it has not begun."""
    return record.status is JobStatus.QUEUED and record.prepared is not None and not record.delete_requested


def rank(record: JobRecord) -> int:
    """Which jobs come first where several want a lane: what has begun, then what is new; among equals the oldest."""
    return 1 if record.status is JobStatus.QUEUED else 0


def is_poison(state: LaneState) -> bool:
    """Whether a lane's piece has ended so many workers that it will end the next one, too."""
    return state.deaths - state.lonely_deaths >= POISON_DEATHS or state.deaths >= LONELY_DEATHS


def shall_stop(record: JobRecord) -> bool:
    """Whether a worker that is making or refining a chunk of this job shall stop at its next step."""
    return record.cancel_requested or record.delete_requested or record.status.is_terminal


def claim(record: JobRecord, lane: Lane, at: datetime, commits: int) -> Transition:
    """Hand the lane to a new worker, with the next fencing token. The first claim but for preparing starts the job.

    A lane that is still held by a claim without a lease was left by a worker that died. `commits` are those of all jobs
    so far.
    """
    assert wants(record, lane), (record.id, record.status, lane)
    state = _after_death(record.lane(lane), commits)
    held = _changed_lane(state, token=state.token + 1, held=True, commits_at_claim=commits)
    claimed = _with_lane(record, lane, held)
    if record.status is not JobStatus.QUEUED or lane is Lane.PREPARE:
        return Transition(claimed)
    return _with_event(_moved(claimed, JobStatus.RUNNING, started_at=at), EventType.JOB_STARTED, at)


def release(record: JobRecord, lease: Lease, *, count_attempt: bool, rest_seconds: float = 0.0) -> Transition | None:
    """Give the lane back without a commit; None where the lease is no longer the newest one or was given back."""
    state = record.lane(lease.lane)
    if state.token != lease.token or not state.held:
        return None
    attempts = state.attempts + 1 if count_attempt else state.attempts
    return _given_back(record, lease.lane, _changed_lane(state, held=False, attempts=attempts), rest_seconds)


def abandon(record: JobRecord, lane: Lane, token: int, commits: int) -> Transition | None:
    """The worker that holds the lane under `token` has died; None where it does not hold it any more."""
    state = record.lane(lane)
    if state.token != token or not state.held:
        return None
    return _given_back(record, lane, _after_death(state, commits))


def _after_death(state: LaneState, commits: int) -> LaneState:
    """The lane with a death counted, where its holder has died: who commits or gives back does not hold it."""
    if not state.held:
        return state
    lonely = state.lonely_deaths + (commits == state.commits_at_claim)
    return _changed_lane(state, held=False, deaths=state.deaths + 1, lonely_deaths=lonely)


def _given_back(record: JobRecord, lane: Lane, state: LaneState, rest_seconds: float = 0.0) -> Transition:
    """The lane is free; a job that is to be cancelled is wound up as soon as nobody works on it."""
    free = _wound_up(_with_lane(record, lane, state))
    return Transition(free, released=lane, rest_seconds=rest_seconds, progress_over=(lane,))


def commit_prepare(
    record: JobRecord, lease: Lease, prepared: PreparedMedia, warnings: tuple[JobWarning, ...] = ()
) -> Transition:
    """What the job begins with is ready; `warnings` are of it. No event: clients see it in the job's progress.

    Idempotent. Raises StaleLease where the token is old or the job has ended.
    """
    _require_newest(record, lease)
    if record.prepared == prepared:
        return Transition(record)
    if record.status not in {JobStatus.QUEUED, *TAKES_CHUNKS} or not awaits_media(record):
        raise StaleLease(f"nothing is to be prepared for {record.id}: {record.status}")
    new = tuple(warning for warning in warnings if warning not in record.warnings)
    ready = _changed(
        _with_lane(record, lease.lane, LaneState(token=lease.token)),
        prepared=prepared,
        prepare_again=False,
        warnings=(*record.warnings, *new),
    )
    # No commit as others count them: CPU workers get on while all workers with engines have an outage.
    return _durable(Transition(_wound_up(ready), released=lease.lane))


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
        _with_lane(record, lease.lane, LaneState(token=lease.token)),
        version=record.version + 1,
        chunks=(*record.chunks, chunk),
        chunk_versions=(*record.chunk_versions, record.version + 1),
        fingerprints=_noted(record.fingerprints, chunk.index, fingerprint),
        first_chunk_at=record.first_chunk_at or at,
    )
    made = _wound_up(_finalizing_if_made(committed))
    return _with_event(
        made, EventType.CHUNK_COMPLETED, at, released=lease.lane, progress_over=(lease.lane,), is_commit=True
    )


def commit_repair(record: JobRecord, lease: Lease, chunk: ChunkRecord) -> Transition:
    """Chunk `chunk.index` was made again with all its objects. No event: clients have been told of it.

    Idempotent. Raises StaleLease where the token is old, the chunk is none of the job's or the job no longer takes
    chunks.
    """
    _require_newest(record, lease)
    if not record.lane(lease.lane).held:
        return Transition(record)
    if chunk.index >= len(record.chunks) or record.status not in TAKES_CHUNKS:
        raise StaleLease(f"chunk {chunk.index} of {record.id} is not to be made again: {record.status}")
    chunks = (*record.chunks[: chunk.index], chunk, *record.chunks[chunk.index + 1 :])
    repaired = _changed(
        _with_lane(record, lease.lane, LaneState(token=lease.token)),
        chunks=chunks,
        repairs=tuple(index for index in record.repairs if index != chunk.index),
    )
    made = _wound_up(_finalizing_if_made(repaired))
    return _durable(Transition(made, released=lease.lane, progress_over=(lease.lane,), is_commit=True))


def commit_refined(
    record: JobRecord,
    lease: Lease,
    done: int,
    chunks: tuple[ChunkRecord, ...],
    fingerprint: str,
    at: datetime,
    state_sha256: str | None = None,
) -> Transition:
    """Count one more piece of refinement (`done` of them now) and append the chunks that it publishes, often one.

    Chunks that the job has already were made again, since something was damaged; nobody is told of them twice.
    `state_sha256` is of the state that the piece has left, where it left one.
    Idempotent as `commit_chunk`. Raises StaleLease where the token is old, the piece is not the next or the job no
    longer takes chunks.
    """
    _require_newest(record, lease)
    if record.refine_done == done and all(chunk in record.refined for chunk in chunks):
        return Transition(record)
    new = tuple(chunk for chunk in chunks if chunk.index >= len(record.refined))
    follows = done == record.refine_done + 1 and all(
        chunk.index == index for index, chunk in enumerate(new, len(record.refined))
    )
    if record.status not in TAKES_CHUNKS or not follows:
        raise StaleLease(f"piece {done} of refining {record.id} cannot follow: {record.refine_done}, {record.status}")
    known = _made_again(record.refined, chunks)
    counted = _changed(
        _with_lane(record, lease.lane, LaneState(token=lease.token)),
        version=record.version + 1,
        refined=known,
        refine_done=done,
        refine_fingerprints=_noted(record.refine_fingerprints, len(record.refined), fingerprint),
        refine_states=_with_checksum(record.refine_states, done - 1, state_sha256),
    )
    told = [
        _changed(
            counted,
            refined=(*known, *new[: count + 1]),
            refined_versions=(*record.refined_versions, *range(counted.version, counted.version + count + 1)),
            version=counted.version + count,
        )
        for count in range(len(new))
    ]
    made = _wound_up(_finalizing_if_made(told[-1] if told else counted))
    return _numbered(
        record,
        _durable(
            Transition(
                made,
                events=tuple(_new_event(state, EventType.CHUNK_REFINED, at) for state in told),
                deliveries=tuple(row for state in told for row in _deliveries(state, EventType.CHUNK_REFINED, at)),
                released=lease.lane,
                progress_over=(lease.lane,),
                is_commit=True,
            )
        ),
    )


def _made_again(known: tuple[ChunkRecord, ...], made: tuple[ChunkRecord, ...]) -> tuple[ChunkRecord, ...]:
    """`known` with those of `made` in their places: an engine that has changed gives other bytes. When a chunk was
    first made, and how long that took, stays."""
    again = {chunk.index: chunk for chunk in made}

    def newest(chunk: ChunkRecord) -> ChunkRecord:
        kept = {"created_at": chunk.created_at, "timings": chunk.timings}
        return again[chunk.index].model_copy(update=kept) if chunk.index in again else chunk

    return tuple(map(newest, known))


def repair(
    record: JobRecord, lease: Lease, chunks: tuple[int, ...], *, refine_from: int | None = None, media: bool = False
) -> Transition:
    """Objects of these chunks are damaged or missing, or refined ones (then refinement goes on after piece
    `refine_from`), or what the job begins with (`media`): the lane is given back, and a job that was to be finalised
    goes back to work.

    Raises StaleLease where the token is old.
    """
    _require_newest(record, lease)
    changes: dict[str, object] = {"repairs": tuple(sorted({*record.repairs, *chunks}))}
    if refine_from is not None:
        changes["refine_done"] = min(record.refine_done, refine_from)
    if media:
        changes |= {"prepared": None, "prepare_again": True, "media_repairs": record.media_repairs + 1}
    if record.status is JobStatus.FINALIZING:
        changes["status"] = JobStatus.RUNNING
    state = _changed_lane(record.lane(lease.lane), held=False)
    damaged = _changed(_with_lane(record, lease.lane, state), **changes)
    return _durable(Transition(damaged, released=lease.lane, progress_over=(lease.lane,)))


def begin_finalizing(record: JobRecord) -> Transition:
    """running | canceling -> finalizing. Idempotent, also once the job has ended.

    Raises JobStateConflict where frames are missing and nobody asked to stop: a video would be silently short.
    """
    _require_not_deleted(record)
    if record.status is JobStatus.FINALIZING or record.status.is_terminal:
        return Transition(record)
    if not (is_made(record) or record.cancel_requested):
        raise JobStateConflict(
            f"{record.id} has {record.frames_done} of {record.spec.num_frames} frames, {record.frames_refined} refined"
        )
    return _durable(Transition(_moved(record, JobStatus.FINALIZING, repairs=()), progress_over=ALL_LANES))


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
    stored = _with_lane(record, lease.lane, LaneState(token=lease.token))
    ended = _ended(stored, status, at, retention, **asdict(results))
    return _with_event(
        ended, EventType(f"job.{status}"), at, released=lease.lane, progress_over=ALL_LANES, is_commit=True
    )


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
        return _durable(Transition(_wound_up(_moved(record, JobStatus.CANCELING, cancel_requested=True))))
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
        return Transition(_changed(record, delete_requested=True), buried_until=at + TOMBSTONE_TIME)
    ended = _ended(record, JobStatus.CANCELED, at, retention, cancel_requested=True, delete_requested=True)
    return _numbered(
        record,
        Transition(
            ended,
            events=(_new_event(ended, EventType.JOB_CANCELED, at),),
            progress_over=ALL_LANES,
            buried_until=at + TOMBSTONE_TIME,
        ),
    )


def end_webhooks(record: JobRecord, ended: int) -> Transition:
    """The first `ended` webhooks of the job need no further try. The last one is worth a manifest."""
    if ended <= record.webhooks_ended:
        return Transition(record)
    noted = Transition(_changed(record, webhooks_ended=ended))
    return _durable(noted) if record.status.is_terminal else noted


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


def _changed_lane(state: LaneState, **changes: object) -> LaneState:
    return state.model_copy(update=changes)


def _moved(record: JobRecord, status: JobStatus, **changes: object) -> JobRecord:
    assert status in NEXT_STATUSES[record.status], (record.status, status)
    return _changed(record, status=status, **changes)


def _ended(record: JobRecord, status: JobStatus, at: datetime, retention: timedelta, **changes: object) -> JobRecord:
    return _moved(record, status, finished_at=at, expires_at=at + retention, **changes)


def _with_lane(record: JobRecord, lane: Lane, state: LaneState) -> JobRecord:
    return _changed(record, lanes={**record.lanes, lane: state})


def _finalizing_if_made(record: JobRecord) -> JobRecord:
    return _moved(record, JobStatus.FINALIZING) if is_made(record) else record


def _wound_up(record: JobRecord) -> JobRecord:
    """A job that is to be cancelled is finalised with what it has as soon as nobody works on it."""
    busy = any(record.lane(lane).held for lane in Lane)
    return (
        _moved(record, JobStatus.FINALIZING, repairs=())
        if record.status is JobStatus.CANCELING and not busy
        else record
    )


def _with_checksum(known: tuple[StateChecksum, ...], piece: int, sha256: str | None) -> tuple[StateChecksum, ...]:
    """With that of a new state; those that it replaces, and all but the two newest, go."""
    if sha256 is None:
        return known
    return (*(one for one in known if one.piece < piece), StateChecksum(piece=piece, sha256=sha256))[-2:]


def _durable(transition: Transition) -> Transition:
    """With a change of the record that must reach the manifest."""
    record = transition.record
    return replace(transition, record=_changed(record, revision=record.revision + 1))


def _numbered(before: JobRecord, transition: Transition) -> Transition:
    """With the events counted. The log of a job that an older version made is not: its entries have other ids."""
    if before.num_events is None and transition.record.status is not JobStatus.QUEUED:
        return transition
    counted = (before.num_events or 0) + len(transition.events)
    return replace(transition, record=_changed(transition.record, num_events=counted))


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
    is_commit: bool = False,
) -> Transition:
    """A durable change that is told in the log and by webhook."""
    return _numbered(
        record,
        _durable(
            Transition(
                record,
                events=(_new_event(record, event_type, at),),
                deliveries=_deliveries(record, event_type, at),
                released=released,
                progress_over=progress_over,
                is_commit=is_commit,
            )
        ),
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
        data["error"] = record.error.model_dump(exclude_none=True)
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


Told = tuple[JobRecord, EventType, datetime]
"""A job as an event left it."""


def _past(record: JobRecord) -> list[Told]:
    """The events that led to `record`, as far as the record tells."""
    queued = _changed(record, status=JobStatus.QUEUED, version=0, chunks=(), refined=(), error=None)
    past = [(queued, EventType.JOB_QUEUED, record.created_at)]
    if record.started_at is not None:
        started = _changed(queued, status=JobStatus.RUNNING)
        past.append((started, EventType.JOB_STARTED, record.started_at))
        past += _past_commits(started, record)
    if record.finished_at is not None and record.status is not JobStatus.EXPIRED:
        past.append((record, EventType(f"job.{record.status}"), record.finished_at))
    return past


def _past_commits(started: JobRecord, record: JobRecord) -> Iterator[Told]:
    """One event per chunk of either lane, in the order of their commits; of a job that an older version has worked on,
    in the order in which they were made."""
    of_lanes = (
        (EventType.CHUNK_COMPLETED, "chunks", record.chunks, record.chunk_versions),
        (EventType.CHUNK_REFINED, "refined", record.refined, record.refined_versions),
    )
    known = all(len(chunks) == len(versions) for _, _, chunks, versions in of_lanes)
    commits = [
        (version, chunk.created_at, event, field, chunk)
        for event, field, chunks, versions in of_lanes
        for chunk, version in zip(chunks, versions if known else [0] * len(chunks), strict=True)
    ]
    past, ordered = started, sorted(commits, key=lambda commit: commit[:2])
    for number, (version, at, event, field, chunk) in enumerate(ordered, 1):
        past = _changed(past, version=version or past.version + 1, **{field: (*getattr(past, field), chunk)})
        yield _finalizing_if_made(past) if number == len(ordered) else past, event, at
