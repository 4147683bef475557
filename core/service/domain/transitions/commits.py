"""Commits of prepared media, chunks and refinement, and repairs of what is damaged."""

from __future__ import annotations

from datetime import datetime

from core.service.domain.errors import StaleLease
from core.service.domain.ports import Lease
from core.service.domain.schema import (
    ChunkRecord,
    EventType,
    FingerprintChange,
    JobRecord,
    JobStatus,
    JobWarning,
    LaneState,
    PreparedMedia,
    StateChecksum,
)
from core.service.domain.transitions.events import deliveries_for, new_event
from core.service.domain.transitions.rules import TAKES_CHUNKS, awaits_media
from core.service.domain.transitions.transition import (
    Transition,
    finalizing_if_canceled,
    finalizing_if_made,
    require_newest_lease,
    updated,
    updated_lane,
    with_event,
    with_event_count,
    with_lane,
    with_revision,
)


def commit_prepare(
    record: JobRecord, lease: Lease, prepared: PreparedMedia, warnings: tuple[JobWarning, ...] = ()
) -> Transition:
    """What the job begins with is ready; `warnings` are of it. No event: clients see it in the job's progress.

    Idempotent. Raises StaleLease where the token is old or the job has ended.
    """
    require_newest_lease(record, lease)
    if record.prepared == prepared:
        return Transition(record)
    if record.status not in {JobStatus.QUEUED, *TAKES_CHUNKS} or not awaits_media(record):
        raise StaleLease(f"nothing is to be prepared for {record.id}: {record.status}")
    new = tuple(warning for warning in warnings if warning not in record.warnings)
    ready = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        prepared=prepared,
        prepare_again=False,
        warnings=(*record.warnings, *new),
    )
    # No commit as others count them: CPU workers get on while all workers with engines have an outage.
    return with_revision(Transition(finalizing_if_canceled(ready), released=lease.lane))


def commit_chunk(record: JobRecord, lease: Lease, chunk: ChunkRecord, fingerprint: str, at: datetime) -> Transition:
    """Append the next chunk. Committing the same chunk twice under one lease is one commit (the first answer was lost).

    Raises StaleLease where the token is old, the index is not the next or the job no longer takes chunks.
    """
    require_newest_lease(record, lease)
    if record.chunks and record.chunks[-1] == chunk:
        return Transition(record)
    if record.status not in TAKES_CHUNKS or chunk.index != len(record.chunks):
        raise StaleLease(f"chunk {chunk.index} of {record.id} cannot follow: {len(record.chunks)}, {record.status}")
    committed = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        version=record.version + 1,
        chunks=(*record.chunks, chunk),
        chunk_versions=(*record.chunk_versions, record.version + 1),
        fingerprints=_with_fingerprint(record.fingerprints, chunk.index, fingerprint),
        first_chunk_at=record.first_chunk_at or at,
    )
    made = finalizing_if_canceled(finalizing_if_made(committed))
    return with_event(
        made, EventType.CHUNK_COMPLETED, at, released=lease.lane, cleared_progress=(lease.lane,), is_commit=True
    )


def commit_repair(record: JobRecord, lease: Lease, chunk: ChunkRecord) -> Transition:
    """Chunk `chunk.index` was made again with all its objects. No event: clients have been told of it.

    Idempotent. Raises StaleLease where the token is old, the chunk is none of the job's or the job no longer takes
    chunks.
    """
    require_newest_lease(record, lease)
    if not record.lane(lease.lane).held:
        return Transition(record)
    if chunk.index >= len(record.chunks) or record.status not in TAKES_CHUNKS:
        raise StaleLease(f"chunk {chunk.index} of {record.id} is not to be made again: {record.status}")
    chunks = (*record.chunks[: chunk.index], chunk, *record.chunks[chunk.index + 1 :])
    repaired = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        chunks=chunks,
        repairs=tuple(index for index in record.repairs if index != chunk.index),
    )
    made = finalizing_if_canceled(finalizing_if_made(repaired))
    return with_revision(Transition(made, released=lease.lane, cleared_progress=(lease.lane,), is_commit=True))


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
    require_newest_lease(record, lease)
    if record.refine_done == done and all(chunk in record.refined for chunk in chunks):
        return Transition(record)
    new = tuple(chunk for chunk in chunks if chunk.index >= len(record.refined))
    follows = done == record.refine_done + 1 and all(
        chunk.index == index for index, chunk in enumerate(new, len(record.refined))
    )
    if record.status not in TAKES_CHUNKS or not follows:
        raise StaleLease(f"piece {done} of refining {record.id} cannot follow: {record.refine_done}, {record.status}")
    known = _with_replaced(record.refined, chunks)
    counted = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        version=record.version + 1,
        refined=known,
        refine_done=done,
        refine_fingerprints=_with_fingerprint(record.refine_fingerprints, len(record.refined), fingerprint),
        refine_states=_with_checksum(record.refine_states, done - 1, state_sha256),
    )
    told = [
        updated(
            counted,
            refined=(*known, *new[: count + 1]),
            refined_versions=(*record.refined_versions, *range(counted.version, counted.version + count + 1)),
            version=counted.version + count,
        )
        for count in range(len(new))
    ]
    made = finalizing_if_canceled(finalizing_if_made(told[-1] if told else counted))
    return with_event_count(
        record,
        with_revision(
            Transition(
                made,
                events=tuple(new_event(state, EventType.CHUNK_REFINED, at) for state in told),
                deliveries=tuple(row for state in told for row in deliveries_for(state, EventType.CHUNK_REFINED, at)),
                released=lease.lane,
                cleared_progress=(lease.lane,),
                is_commit=True,
            )
        ),
    )


def _with_replaced(known: tuple[ChunkRecord, ...], made: tuple[ChunkRecord, ...]) -> tuple[ChunkRecord, ...]:
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
    require_newest_lease(record, lease)
    changes: dict[str, object] = {"repairs": tuple(sorted({*record.repairs, *chunks}))}
    if refine_from is not None:
        changes["refine_done"] = min(record.refine_done, refine_from)
    if media:
        changes |= {"prepared": None, "prepare_again": True, "media_repairs": record.media_repairs + 1}
    if record.status is JobStatus.FINALIZING:
        changes["status"] = JobStatus.RUNNING
    state = updated_lane(record.lane(lease.lane), held=False)
    damaged = updated(with_lane(record, lease.lane, state), **changes)
    return with_revision(Transition(damaged, released=lease.lane, cleared_progress=(lease.lane,)))


def _with_checksum(known: tuple[StateChecksum, ...], piece: int, sha256: str | None) -> tuple[StateChecksum, ...]:
    """With that of a new state; those that it replaces, and all but the two newest, go."""
    if sha256 is None:
        return known
    return (*(one for one in known if one.piece < piece), StateChecksum(piece=piece, sha256=sha256))[-2:]


def _with_fingerprint(
    known: tuple[FingerprintChange, ...], chunk_index: int, fingerprint: str
) -> tuple[FingerprintChange, ...]:
    if known and known[-1].fingerprint == fingerprint:
        return known
    return (*known, FingerprintChange(from_chunk=chunk_index, fingerprint=fingerprint))
