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
    """The input media are prepared; `warnings` are about them. No event: clients see it in the job's progress.

    Idempotent. Raises StaleLease if the token is old or the job has ended.
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
    # Not counted as a commit: CPU workers may make progress during an outage of all engine workers.
    return with_revision(Transition(finalizing_if_canceled(ready), released=lease.lane))


def commit_chunk(record: JobRecord, lease: Lease, chunk: ChunkRecord, fingerprint: str, at: datetime) -> Transition:
    """Append the next chunk. Idempotent under one lease (the first answer may have been lost).

    Raises StaleLease if the token is old, the index is not the next, or the job no longer takes chunks.
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
    """Replace chunk `chunk.index`, generated again with all its objects. No event: clients know the chunk.

    Idempotent. Raises StaleLease if the token is old, the job has no such chunk, or it no longer takes chunks.
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
    """Count one refinement piece (now `done`) and append the refined chunks that it publishes, often one.

    Chunks that the job already has were refined again after damage: they are replaced, without an event.
    `state_sha256` is the checksum of the state that the piece left, if any.
    Idempotent as `commit_chunk`. Raises StaleLease if the token is old, the piece is not the next, or the job no longer
    takes chunks.
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
    published = [
        updated(
            counted,
            refined=(*known, *new[: count + 1]),
            refined_versions=(*record.refined_versions, *range(counted.version, counted.version + count + 1)),
            version=counted.version + count,
        )
        for count in range(len(new))
    ]
    made = finalizing_if_canceled(finalizing_if_made(published[-1] if published else counted))
    return with_event_count(
        record,
        with_revision(
            Transition(
                made,
                events=tuple(new_event(state, EventType.CHUNK_REFINED, at) for state in published),
                deliveries=tuple(
                    row for state in published for row in deliveries_for(state, EventType.CHUNK_REFINED, at)
                ),
                released=lease.lane,
                cleared_progress=(lease.lane,),
                is_commit=True,
            )
        ),
    )


def _with_replaced(known: tuple[ChunkRecord, ...], made: tuple[ChunkRecord, ...]) -> tuple[ChunkRecord, ...]:
    """`known` with the chunks of `made` replaced: a changed engine produces other bytes. `created_at` and `timings` of
    the first generation stay."""
    again = {chunk.index: chunk for chunk in made}

    def newest(chunk: ChunkRecord) -> ChunkRecord:
        kept = {"created_at": chunk.created_at, "timings": chunk.timings}
        return again[chunk.index].model_copy(update=kept) if chunk.index in again else chunk

    return tuple(map(newest, known))


def repair(
    record: JobRecord, lease: Lease, chunks: tuple[int, ...], *, refine_from: int | None = None, media: bool = False
) -> Transition:
    """Release the lane because objects are damaged or missing: those of `chunks`, refined ones (refinement continues
    after piece `refine_from`), or the prepared input media (`media`). A finalizing job becomes running again.

    Raises StaleLease if the token is old.
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
    """Add the checksum of a new state; keep the two newest."""
    if sha256 is None:
        return known
    return (*(one for one in known if one.piece < piece), StateChecksum(piece=piece, sha256=sha256))[-2:]


def _with_fingerprint(
    known: tuple[FingerprintChange, ...], chunk_index: int, fingerprint: str
) -> tuple[FingerprintChange, ...]:
    if known and known[-1].fingerprint == fingerprint:
        return known
    return (*known, FingerprintChange(from_chunk=chunk_index, fingerprint=fingerprint))
