"""A branch: a job that begins with the chunks of another one, which are copied before it can start."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import reduce

from core.service.domain.errors import StaleLease
from core.service.domain.ports import Lease
from core.service.domain.schema import ChunkRecord, ChunkTotals, FingerprintChange, JobRecord, JobStatus, LaneState
from core.service.domain.transitions.commits import with_fingerprint
from core.service.domain.transitions.rules import awaits_copies
from core.service.domain.transitions.transition import (
    ChunkWrite,
    Transition,
    require_newest_lease,
    started_if_made,
    updated,
    with_lane,
    with_revision,
)


def commit_copies(record: JobRecord, lease: Lease, chunks: Sequence[ChunkRecord], at: datetime) -> Transition:
    """The chunks that the branch shares are its own now. No event: they were there before it. A branch that is to have
    no other frames starts, or is finalized.

    Idempotent. Raises StaleLease if the token is old or the job no longer waits for them.
    """
    require_newest_lease(record, lease)
    if record.chunks.count and not record.status.is_terminal:
        return Transition(record)
    if record.status is not JobStatus.QUEUED or not awaits_copies(record):
        raise StaleLease(f"nothing is to be copied for {record.id}: {record.status}")
    copied = updated(
        with_lane(record, lease.lane, LaneState(token=lease.token)),
        chunks=totals_of_copies(chunks),
        fingerprints=reduce(_with_fingerprint_of, chunks, ()),
        first_chunk_at=at,
    )
    writes = tuple(ChunkWrite("preview", chunk) for chunk in chunks)
    # Not counted as a commit: CPU workers may make progress during an outage of all engine workers.
    return started_if_made(with_revision(Transition(copied, released=lease.lane, chunks=writes, is_prepared=True)), at)


def totals_of_copies(chunks: Sequence[ChunkRecord]) -> ChunkTotals:
    """The totals of a branch that has only these."""
    return reduce(ChunkTotals.followed_by, chunks, ChunkTotals()).at_new_start


def _with_fingerprint_of(known: tuple[FingerprintChange, ...], chunk: ChunkRecord) -> tuple[FingerprintChange, ...]:
    return known if chunk.fingerprint is None else with_fingerprint(known, chunk.index, chunk.fingerprint)
