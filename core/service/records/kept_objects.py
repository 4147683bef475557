"""Which objects of a job are needed, by its record: what is under its prefix beside these may go. Pure."""

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

STATES_APART = 8
"""Of an ended job every so many states are kept: to go on from any chunk, at most so many less one are made again."""


def needed_keys(record: JobRecord) -> frozenset[str]:
    """Keys of all objects that a job needs beside what it begins with: all it has while it runs; of its states a few
    once it has ended."""
    job, num_chunks = record.id, len(record.chunks)
    needed = {manifest_key(job), record.video_key, record.refined_video_key, record.thumbnail_key}
    needed |= {chunk_key(job, chunk.index) for chunk in record.chunks}
    needed |= {refined_key(job, chunk.index) for chunk in record.refined}
    if record.status.is_terminal:
        needed |= {state_key(job, index) for index in range(num_chunks) if keeps_state(index, num_chunks)}
    else:
        needed |= _of_work(record)
    return frozenset(key for key in needed if key is not None)


def unneeded_keys(record: JobRecord, stored: Iterable[str]) -> list[str]:
    """Those of `stored` that the job does not need. What this version does not know is left alone: a newer one may have
    stored it for a reason."""
    needed, job = needed_keys(record), record.id
    # What a running job begins with is needed; tries to prepare that came to nothing may have left more: few, that go
    # in the end.
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


def _of_work(record: JobRecord) -> set[str]:
    """What a running job needs beside its chunks: with the pieces that are being made and not committed yet."""
    job, num_chunks = record.id, len(record.chunks)
    making = {
        chunk_key(job, num_chunks),
        refined_key(job, len(record.refined)),
        refined_key(job, len(record.refined) + 1),
    }
    states = {state_key(job, index) for index in range(num_chunks + 1)}
    frames = {frames_key(job, index) for index in range(num_chunks + 1)} if record.spec.refine else set[str]()
    ends = {video_key(job), refined_video_key(job), thumbnail_key(job)}
    return making | states | frames | ends | _states_of_refinement(record)


def _states_of_refinement(record: JobRecord) -> set[str]:
    """Those that the next piece goes on from, the one before, and the one that the next piece leaves."""
    if record.spec.refine is None:
        return set()
    done, last = record.refine_done, num_pieces(record.spec) - 1
    goes_on_from = refine_piece(record.spec, min(done, last)).state_of
    kept = {done - 1, done} if goes_on_from is None else {goes_on_from - 1, goes_on_from, done - 1, done}
    return {refine_state_key(record.id, piece) for piece in kept if piece >= 0}


def keeps_state(index: int, num_chunks: int) -> bool:
    """Whether the state after chunk `index` of an ended job is kept: the first one, since what a job was given may be
    gone; the last one, to extend it; and every STATES_APART-th, to branch off."""
    return index in {0, num_chunks - 1} or (index + 1) % STATES_APART == 0
