"""Which chunk of a job is made next.

A job that was extended may have a last chunk with fewer than 16 frames. That one is made again first, with more frames:
its first frames are the same, and the engine goes on from the state before it.
"""

from __future__ import annotations

from core.service.domain.frame_plan import chunk_span
from core.service.domain.schema import ChunkRecord, ChunkTotals, JobRecord, JobSpec


def is_completed_by(old: ChunkRecord, new: ChunkRecord) -> bool:
    """Whether `new` is the same chunk with more frames."""
    return old.index == new.index and old.num_frames < new.num_frames


def has_short_end(totals: ChunkTotals, spec: JobSpec) -> bool:
    """Whether the last chunk has fewer frames than it has in the video that is asked for."""
    last = totals.last
    return last is not None and last.num_frames < chunk_span(last.index, spec.length).num_frames


def next_new_chunk(record: JobRecord) -> int:
    """Index of the next chunk that brings new frames."""
    return record.chunks.count - has_short_end(record.chunks, record.spec)


def next_chunk(record: JobRecord) -> int:
    """Index of the next chunk to be made: a damaged one first."""
    return record.repairs[0] if record.repairs else next_new_chunk(record)
