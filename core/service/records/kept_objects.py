"""The objects that a job needs, by its record; other objects under its prefix may be deleted."""

from __future__ import annotations

from collections.abc import Iterable

from core.service.domain.manifest import (
    chunk_key,
    chunks_prefix,
    frames_key,
    frames_prefix,
    inputs_prefix,
    manifest_key,
    refine_state_key,
    refined_key,
    refined_prefix,
    refined_video_key,
    state_key,
    states_prefix,
    thumbnail_key,
    video_key,
)
from core.service.domain.refine_plan import num_pieces, refine_piece
from core.service.domain.schema import JobRecord

STATE_INTERVAL = 8
"""An ended job keeps every eighth state: to branch from any chunk, at most seven are generated again."""


def needed_keys(record: JobRecord) -> frozenset[str]:
    """Keys of all objects that a job needs, except its input media: everything while it runs, few states after."""
    job, num_chunks = record.id, len(record.chunks)
    needed = {manifest_key(job), record.video_key, record.refined_video_key, record.thumbnail_key}
    needed |= {chunk_key(job, chunk.index) for chunk in record.chunks}
    needed |= {refined_key(job, chunk.index) for chunk in record.refined}
    if record.status.is_terminal:
        needed |= {state_key(job, index) for index in range(num_chunks) if keeps_state(index, num_chunks)}
    else:
        needed |= _keys_of_work(record)
    return frozenset(key for key in needed if key is not None)


def unneeded_keys(record: JobRecord, stored: Iterable[str]) -> list[str]:
    """The keys of `stored` that the job does not need. Unknown kinds of objects are kept: a newer version may need
    them."""
    needed, job = needed_keys(record), record.id
    # A running job needs its input media. Failed attempts to prepare them may have left more; those go at the end.
    inputs = (inputs_prefix(job),) if record.status.is_terminal else ()
    known = (
        *inputs,
        chunks_prefix(job),
        refined_prefix(job),
        states_prefix(job),
        frames_prefix(job),
        manifest_key(job),
        video_key(job),
        refined_video_key(job),
        thumbnail_key(job),
    )
    return [key for key in stored if key not in needed and key.startswith(known)]


def _keys_of_work(record: JobRecord) -> set[str]:
    """What a running job needs beside its chunks, including pieces that are stored but not committed yet."""
    job, num_chunks = record.id, len(record.chunks)
    making = {
        chunk_key(job, num_chunks),
        refined_key(job, len(record.refined)),
        refined_key(job, len(record.refined) + 1),
    }
    states = {state_key(job, index) for index in range(num_chunks + 1)}
    frames = {frames_key(job, index) for index in range(num_chunks + 1)} if record.spec.refine else set[str]()
    ends = {video_key(job), refined_video_key(job), thumbnail_key(job)}
    return making | states | frames | ends | _refine_state_keys(record)


def _refine_state_keys(record: JobRecord) -> set[str]:
    """States that the next piece reads, the ones before them, and the one that it leaves."""
    if record.spec.refine is None:
        return set()
    done, last = record.refine_done, num_pieces(record.spec) - 1
    read = refine_piece(record.spec, min(done, last)).state_of
    kept = {done - 1, done} if read is None else {read - 1, read, done - 1, done}
    return {refine_state_key(record.id, piece) for piece in kept if piece >= 0}


def keeps_state(index: int, num_chunks: int) -> bool:
    """Whether an ended job keeps the state after chunk `index`: the first (its input media may be gone), the last (to
    extend the job), and every STATE_INTERVAL-th (to branch from it)."""
    return index in {0, num_chunks - 1} or (index + 1) % STATE_INTERVAL == 0
