"""What the scheduling policy knows of a job: derived from its record alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from core.service.domain.frame_plan import CHUNK_FRAMES, num_chunks
from core.service.domain.frame_rate import seconds_of
from core.service.domain.refine_plan import num_pieces
from core.service.domain.scheduling import Entry
from core.service.domain.schema import ChunkTotals, JobRecord, JobStatus, Lane
from core.service.domain.transitions.rules import wants


def entry_of(record: JobRecord, lane: Lane) -> Entry | None:
    """The job in the queue of `lane`, whether or not a worker holds it. None if it has no work there."""
    if not wants(record, lane):
        return None
    made, endless = record.totals("refined" if lane is Lane.REFINE else "preview"), record.spec.is_endless
    begun_at, newest = record.begun_at or record.created_at, made.last.created_at if made.last else None
    ready = max(begun_at, newest, record.prepared.at if record.prepared else begun_at) if newest else begun_at
    if lane is Lane.MEASURE:
        ready = max(record.measure_asked_at or ready, record.finished_at or ready)
    return Entry(
        job_id=record.id,
        lane=lane,
        owner=record.owner or "",
        priority=record.spec.priority.number,
        begun=record.status is not JobStatus.QUEUED and not endless,
        # One without an end waits in turn: others would never be served.
        order=(newest if endless and newest else record.created_at).timestamp(),
        waits_since=ready.timestamp(),
        stalls_at=stalls_at(record, made),
        share=record.share,
        pieces=1 if endless else _pieces_left(record, lane),
        plays_seconds=seconds_of(CHUNK_FRAMES, record.spec.fps) if lane is Lane.GENERATE else 0.0,
    )


def place_of(record: JobRecord) -> Entry:
    """A queued job as it will be in the queue of the generate lane, also while its input media are not ready."""
    created = record.created_at.timestamp()
    owner, priority = record.owner or "", record.spec.priority.number
    return Entry(record.id, Lane.GENERATE, owner, priority, begun=False, order=created, waits_since=created)


def after_next_chunk(entry: Entry, record: JobRecord, num_frames: int, at: float) -> Entry:
    """`entry`, of the generate lane, as it will be once a next chunk of `num_frames` is committed, at `at` (seconds
    since 1970)."""
    seconds = seconds_of(num_frames, record.spec.fps)
    stalls_at = (at if entry.stalls_at is None else entry.stalls_at) + seconds
    order = at if record.spec.is_endless else entry.order
    return replace(entry, begun=not record.spec.is_endless, order=order, waits_since=at, stalls_at=stalls_at)


def stalls_at(record: JobRecord, made: ChunkTotals) -> float | None:
    """Entry.stalls_at, if there was no stall before. Viewers begin with the first chunk of a generation: it is what
    they waited for."""
    if made.first_created_at is None:
        return None
    seconds = seconds_of(made.num_frames - made.num_frames_before, record.spec.fps)
    return (made.first_created_at + timedelta(seconds=seconds)).timestamp()


def _pieces_left(record: JobRecord, lane: Lane) -> int:
    if lane is Lane.GENERATE:
        return max(1, num_chunks(record.spec.length) - record.chunks.count)
    return max(1, num_pieces(record.spec) - record.refine_done) if lane is Lane.REFINE else 1
