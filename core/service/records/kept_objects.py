"""The objects that a job needs, by its record; other objects under its prefix may be deleted."""

from __future__ import annotations

from collections.abc import Iterable

from core.service.domain.manifest import (
    ChunkPage,
    chunk_key,
    chunks_prefix,
    frames_key,
    frames_prefix,
    full_pages,
    inputs_prefix,
    manifest_key,
    page_key,
    pages_prefix,
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
from core.service.domain.schema import VARIANTS, ChunkLists, JobRecord

STATE_INTERVAL = 8
"""An ended job, and one without an end, keeps every eighth state: to branch from any chunk, at most seven are generated
again."""
KEPT_NEWEST_STATES = 2
"""A job without an end also keeps this many of the newest: that before the newest, for a manifest that was not
written."""
KEPT_REFINED_FRAMES = 2
"""Exact frames of this many chunks that are refined stay in a job without an end: refinement may go back one piece."""


def needed_keys(record: JobRecord, lists: ChunkLists) -> frozenset[str]:
    """Keys of all objects that a job needs, except its input media: everything while it runs, few states after. `lists`
    are the chunks that its totals count, or more."""
    job, num_chunks = record.id, record.chunks.count
    needed = {manifest_key(job), record.video_key, record.refined_video_key, record.thumbnail_key}
    for variant in VARIANTS:
        needed |= {chunk.key for chunk in lists.of(variant)}
        needed |= {page_key(job, ChunkPage(variant, n)) for n in range(full_pages(record.totals(variant)))}
    if record.status.is_terminal:
        needed |= {state_key(job, index) for index in range(num_chunks) if keeps_state(index, num_chunks)}
    else:
        needed |= _keys_of_work(record)
    return frozenset(key for key in needed if key is not None)


def unneeded_keys(record: JobRecord, lists: ChunkLists, stored: Iterable[str]) -> list[str]:
    """The keys of `stored` that the job does not need. Unknown kinds of objects are kept: a newer version may need
    them."""
    needed, job = needed_keys(record, lists), record.id
    # A running job needs its input media. Failed attempts to prepare them may have left more; those go at the end.
    inputs = (inputs_prefix(job),) if record.status.is_terminal else ()
    known = (
        *inputs,
        pages_prefix(job),
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
    job, num_chunks, num_refined = record.id, record.chunks.count, record.refined.count
    making = {chunk_key(job, num_chunks), refined_key(job, num_refined), refined_key(job, num_refined + 1)}
    making |= {page_key(job, ChunkPage(variant, full_pages(record.totals(variant)))) for variant in VARIANTS}
    states = {state_key(job, index) for index in range(num_chunks + 1) if _keeps_while_running(record, index)}
    not_refined = max(0, record.refine_done - KEPT_REFINED_FRAMES) if record.spec.is_endless else 0
    frames = {frames_key(job, index) for index in range(not_refined, num_chunks + 1)} if record.spec.refine else set()
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


def _keeps_while_running(record: JobRecord, index: int) -> bool:
    """Whether a running job keeps the state after chunk `index`."""
    newest = record.chunks.count - KEPT_NEWEST_STATES
    return not record.spec.is_endless or index >= newest or keeps_state(index, record.chunks.count)


def keeps_state(index: int, num_chunks: int) -> bool:
    """Whether an ended job keeps the state after chunk `index`: the first (its input media may be gone), the last (to
    extend the job), and every STATE_INTERVAL-th (to branch from it)."""
    return index in {0, num_chunks - 1} or (index + 1) % STATE_INTERVAL == 0
