"""Commits of prepared media, chunks and refinement, and repairs of what is damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce

from core.service.domain.chunk_order import has_short_end, is_completed_by, next_new_chunk
from core.service.domain.errors import StaleLease
from core.service.domain.ports import Lease
from core.service.domain.schema import (
    ChunkRecord,
    ChunkTotals,
    EndedGeneration,
    EventType,
    FingerprintChange,
    JobRecord,
    JobStatus,
    JobWarning,
    LaneState,
    PreparedMedia,
    StateChecksum,
    WarningCode,
)
from core.service.domain.transitions.counting import with_frames_counted
from core.service.domain.transitions.events import deliveries_for, new_event
from core.service.domain.transitions.length import ends_where_planned, with_length_of_input, with_limit_told
from core.service.domain.transitions.rules import TAKES_CHUNKS, awaits_media, is_kept, wants
from core.service.domain.transitions.transition import (
    ChunkWrite,
    Transition,
    finalizing_if_canceled,
    finalizing_if_made,
    require_newest_lease,
    require_not_deleted,
    updated,
    updated_lane,
    with_event,
    with_event_count,
    with_lane,
    with_revision,
)

KEPT_FINGERPRINTS = 100
"""Changes of the engine that a record keeps: two unlike workers may take turns on a job without an end."""


def commit_prepare(
    record: JobRecord, lease: Lease, prepared: PreparedMedia, warnings: tuple[JobWarning, ...] = ()
) -> Transition:
    """The input media are prepared; `warnings` are about them. A job that is as long as its input video has its length
    now. No event: clients see it in the job's progress.

    Idempotent. Raises StaleLease if the token is old or the job has ended.
    """
    require_newest_lease(record, lease)
    if record.prepared == prepared:
        return Transition(record)
    if record.status not in {JobStatus.QUEUED, *TAKES_CHUNKS} or not awaits_media(record):
        raise StaleLease(f"nothing is to be prepared for {record.id}: {record.status}")
    told = (*warnings, *_of_another_input(record, prepared))
    new = tuple(warning for warning in told if warning not in record.warnings)
    ready = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        prepared=prepared,
        prepare_again=False,
        warnings=(*record.warnings, *new),
    )
    if record.spec.is_endless and prepared.num_frames is not None:
        ready = with_length_of_input(ready, prepared.num_frames)
    ready = with_frames_counted(record, ready, prepared.at)
    # Not counted as a commit: CPU workers may make progress during an outage of all engine workers.
    return with_revision(Transition(finalizing_if_canceled(ready), released=lease.lane, is_prepared=True))


def _of_another_input(record: JobRecord, prepared: PreparedMedia) -> Iterator[JobWarning]:
    """A warning if the chunks that exist were made from another whole video than those to come."""
    media = record.spec.input_media
    if media is None or not record.chunks.count or record.input_sha256 in {None, prepared.sha256}:
        return
    message = f"{media.field} has changed since the first {record.frames_done} frames were made from it"
    yield JobWarning(code=WarningCode.INPUT_CHANGED, message=message, field=media.field)


def commit_chunk(record: JobRecord, lease: Lease, chunk: ChunkRecord, fingerprint: str, at: datetime) -> Transition:
    """Append the next chunk, or replace a short last one by the same with more frames. Idempotent under one lease (the
    first answer may have been lost).

    Raises StaleLease if the token is old, the index is not the next, the job no longer takes chunks, or its length has
    changed so that the chunk has too few frames or too many.
    """
    require_newest_lease(record, lease)
    if _is_stored(chunk, record.chunks):
        return Transition(record)
    if record.status not in TAKES_CHUNKS or chunk.index != next_new_chunk(record):
        raise StaleLease(f"chunk {chunk.index} of {record.id} cannot follow: {record.chunks.count}, {record.status}")
    if not ends_where_planned(record, chunk):
        raise StaleLease(f"chunk {chunk.index} of {record.id} was made for another length")
    version = record.version + 1
    made = _as_committed(chunk, version, fingerprint)
    committed = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        version=version,
        chunks=record.chunks.with_new(made),
        earlier=_with_replaced(record.earlier, "replaced", record.chunks, made),
        repairs=tuple(index for index in record.repairs if index != made.index),
        fingerprints=with_fingerprint(record.fingerprints, chunk.index, fingerprint),
        first_chunk_at=record.first_chunk_at or at,
    )
    return with_event(
        finalizing_if_canceled(finalizing_if_made(with_limit_told(committed))),
        EventType.CHUNK_COMPLETED,
        at,
        released=lease.lane,
        cleared_progress=(lease.lane,),
        chunks=(ChunkWrite("preview", made),),
        is_commit=True,
    )


def commit_and_claim(
    record: JobRecord, lease: Lease, chunk: ChunkRecord, fingerprint: str, at: datetime, commits: int
) -> Transition:
    """`commit_chunk`, and the same worker claims the lane again in the same step if the job has more work on it: then
    the lane is held, under the next token. `commits` counts the commits of all jobs before this one.

    Idempotent and raises as `commit_chunk`.
    """
    require_not_deleted(record)
    if is_kept(record.lane(lease.lane), lease) and _is_stored(chunk, record.chunks):
        return Transition(record)
    committed = commit_chunk(record, lease, chunk, fingerprint, at)
    if committed.record is record or not wants(committed.record, lease.lane):
        return committed
    token = lease.token + 1
    kept = LaneState(token=token, held=True, kept_token=token, commits_at_claim=commits + 1)
    return replace(committed, record=with_lane(committed.record, lease.lane, kept), released=None)


def commit_repair(record: JobRecord, lease: Lease, chunk: ChunkRecord) -> Transition:
    """Replace chunk `chunk.index`, generated again with all its objects. No event: clients know the chunk.

    What stays of the first one (`created_at`, `timings`, `version`) is in `chunk` already.

    Idempotent. Raises StaleLease if the token is old, the job has no such chunk, or it no longer takes chunks.
    """
    require_newest_lease(record, lease)
    if not record.lane(lease.lane).held:
        return Transition(record)
    if chunk.index >= record.chunks.count or record.status not in TAKES_CHUNKS:
        raise StaleLease(f"chunk {chunk.index} of {record.id} is not to be made again: {record.status}")
    repaired = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        chunks=record.chunks.with_replaced(chunk),
        repairs=tuple(index for index in record.repairs if index != chunk.index),
    )
    return with_revision(
        Transition(
            finalizing_if_canceled(finalizing_if_made(repaired)),
            released=lease.lane,
            cleared_progress=(lease.lane,),
            chunks=(ChunkWrite("preview", chunk),),
            is_commit=True,
        )
    )


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

    Chunks that the job already has were refined again after damage: they are replaced, without an event. What stays of
    the first ones (`created_at`, `timings`, `version`) is in `chunks` already.
    `state_sha256` is the checksum of the state that the piece left, if any.
    Idempotent as `commit_chunk`. Raises StaleLease if the token is old, the piece is not the next, or the job no longer
    takes chunks.
    """
    require_newest_lease(record, lease)
    if record.refine_done == done and all(_is_known(chunk, record.refined) for chunk in chunks):
        return Transition(record)
    first_new = record.refined.count - has_short_end(record.refined, record.spec)
    made_again = (chunk for chunk in chunks if chunk.index < first_new)
    again = [chunk.model_copy(update={"fingerprint": fingerprint}) for chunk in made_again]
    new = [chunk for chunk in chunks if chunk.index >= first_new]
    follows = done == record.refine_done + 1 and all(chunk.index == n for n, chunk in enumerate(new, first_new))
    if record.status not in TAKES_CHUNKS or not follows:
        raise StaleLease(f"piece {done} of refining {record.id} cannot follow: {record.refine_done}, {record.status}")
    counted = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        version=record.version + 1,
        refined=reduce(ChunkTotals.with_replaced, again, record.refined),
        refine_done=done,
        refine_fingerprints=with_fingerprint(record.refine_fingerprints, record.refined.count, fingerprint),
        refine_states=_with_checksum(record, done - 1, state_sha256),
    )
    published = _published(counted, new, fingerprint)
    made = finalizing_if_canceled(finalizing_if_made(published[-1] if published else counted))
    written = [*again, *(state.refined.last for state in published if state.refined.last)]
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
                chunks=tuple(ChunkWrite("refined", chunk) for chunk in written),
                is_commit=True,
            )
        ),
    )


def _published(counted: JobRecord, new: Sequence[ChunkRecord], fingerprint: str) -> list[JobRecord]:
    """The job after each new refined chunk of one piece. The piece itself was counted with the first."""
    states, before = list[JobRecord](), counted
    for version, chunk in enumerate(new, counted.version):
        made = _as_committed(chunk, version, fingerprint)
        earlier = _with_replaced(before.earlier, "replaced_refined", before.refined, made)
        before = updated(before, refined=before.refined.with_new(made), earlier=earlier, version=version)
        states.append(before)
    return states


def _with_replaced(
    earlier: tuple[EndedGeneration, ...], field: str, totals: ChunkTotals, chunk: ChunkRecord
) -> tuple[EndedGeneration, ...]:
    """Note the last chunk if it is completed by `chunk`: the event log told of it."""
    if totals.last is None or not earlier or not is_completed_by(totals.last, chunk):
        return earlier
    replaced = totals.last.model_copy(update={"timings": {}})
    return (*earlier[:-1], earlier[-1].model_copy(update={field: replaced}))


def _as_committed(chunk: ChunkRecord, version: int, fingerprint: str) -> ChunkRecord:
    return chunk.model_copy(update={"version": version, "fingerprint": fingerprint})


def _is_known(chunk: ChunkRecord, totals: ChunkTotals) -> bool:
    """Whether `chunk` was committed before, as far as the totals tell: of an earlier one than the last, its index."""
    return chunk.index < totals.count - 1 or _is_stored(chunk, totals)


def _is_stored(chunk: ChunkRecord, totals: ChunkTotals) -> bool:
    """Whether `chunk` is the last one of these, committed before."""
    last = totals.last
    return last is not None and chunk == last.model_copy(
        update={"version": chunk.version, "fingerprint": chunk.fingerprint}
    )


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
        changes["followed_sha256"] = record.input_sha256
    if record.status is JobStatus.FINALIZING:
        changes["status"] = JobStatus.RUNNING
    state = updated_lane(record.lane(lease.lane), held=False)
    damaged = updated(with_lane(record, lease.lane, state), **changes)
    return with_revision(Transition(damaged, released=lease.lane, cleared_progress=(lease.lane,)))


def _with_checksum(record: JobRecord, piece: int, sha256: str | None) -> tuple[StateChecksum, ...]:
    """Add the checksum of a new state; keep the two newest."""
    if sha256 is None:
        return record.refine_states
    new = StateChecksum(piece=piece, sha256=sha256, generation=record.generation)
    return (*(one for one in record.refine_states if one.piece < piece), new)[-2:]


def with_fingerprint(
    known: tuple[FingerprintChange, ...], chunk_index: int, fingerprint: str
) -> tuple[FingerprintChange, ...]:
    """Add a change; keep the newest ones. Every chunk has the fingerprint of its own engine as well."""
    if known and known[-1].fingerprint == fingerprint:
        return known
    return (*known, FingerprintChange(from_chunk=chunk_index, fingerprint=fingerprint))[-KEPT_FINGERPRINTS:]
