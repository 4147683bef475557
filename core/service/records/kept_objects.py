"""The objects that a job needs, by its record; other objects under its prefix may be deleted."""

from __future__ import annotations

from collections.abc import Iterable

from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.manifest import (
    ChunkPage,
    chunk_key,
    chunks_prefix,
    frames_key,
    frames_prefix,
    full_pages,
    generation_of,
    inputs_prefix,
    manifest_key,
    metrics_key,
    metrics_prefix,
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
    videos_prefix,
)
from core.service.domain.refine_plan import num_pieces, refine_piece
from core.service.domain.schema import VARIANTS, ChunkLists, ChunkTotals, JobRecord

STATE_INTERVAL = 8
"""An ended job, and one without an end, keeps every eighth state: to branch from any chunk, at most seven are generated
again."""
KEPT_NEWEST_STATES = 2
"""A job without an end also keeps this many of the newest: that before the newest, for a manifest that was not
written."""
KEPT_FRAMES = 2
"""Chunks whose exact frames a refined job keeps after refining them, if it has ended or has no end: those of the
refinement window with which it would go on. One that ends before it is refined keeps those not refined, too."""


def needed_keys(record: JobRecord, lists: ChunkLists) -> frozenset[str]:
    """Keys of all objects that a job needs, except its input media: everything while it runs, few states after. `lists`
    are the chunks that its totals count, or more."""
    job = record.id
    needed = {manifest_key(job), record.video_key, record.refined_video_key, record.thumbnail_key}
    for variant in VARIANTS:
        needed |= {chunk.key for chunk in lists.of(variant)}
        needed |= {page_key(job, ChunkPage(variant, n)) for n in range(full_pages(record.totals(variant)))}
    if record.spec.measure:  # also before the commit that counts them
        needed.add(metrics_key(job, record.generation))
    if record.status.is_terminal:
        needed |= _keys_to_go_on(record, lists)
    else:
        needed |= _keys_of_work(record, lists)
    return frozenset(key for key in needed if key is not None)


def unneeded_keys(record: JobRecord, lists: ChunkLists, stored: Iterable[str]) -> list[str]:
    """The keys of `stored` that the job does not need. Unknown kinds of objects are kept, because a newer version may
    need them, and so are those of a later generation than that of `record`: the job has gone on meanwhile."""
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
        videos_prefix(job),
        metrics_prefix(job),
        thumbnail_key(job),
    )
    return [
        key for key in stored if key not in needed and key.startswith(known) and generation_of(key) <= record.generation
    ]


def _keys_to_go_on(record: JobRecord, lists: ChunkLists) -> set[str]:
    """What an ended job keeps to be extended, retried and branched: few states, and what the refiner reads next."""
    job, chunks = record.id, lists.preview
    short_end = bool(chunks) and chunks[-1].num_frames < CHUNK_FRAMES
    kept = (chunk for chunk in chunks if keeps_state(chunk.index, len(chunks), short_end=short_end))
    made = [state_key(job, chunk.index, generation_of(chunk.key)) for chunk in kept]
    if record.spec.refine is None or record.spec.refine.schedule == "lockstep":
        return {*made}
    piece = refine_piece(record.spec, min(record.refine_done, num_pieces(record.spec) - 1))
    first = max(0, min(piece.needs.start // CHUNK_FRAMES, len(chunks) - KEPT_FRAMES))
    frames = (frames_key(job, chunk.index, generation_of(chunk.key)) for chunk in chunks[first:])
    read = piece.state_of
    states = (refine_state_key(job, one.piece, one.generation) for one in record.refine_states if one.piece == read)
    return {*made, *frames, *states}


def _keys_of_work(record: JobRecord, lists: ChunkLists) -> set[str]:
    """What a running job needs beside its chunks, including pieces that are stored but not committed yet."""
    job, run = record.id, record.generation
    in_work = _in_work(record.chunks, 1)
    making = {chunk_key(job, index, run) for index in in_work}
    making |= {refined_key(job, index, run) for index in _in_work(record.refined, 2)}
    making |= {page_key(job, ChunkPage(variant, full_pages(record.totals(variant)))) for variant in VARIANTS}
    pieces = [(chunk.index, generation_of(chunk.key)) for chunk in lists.preview]
    pieces += [(index, run) for index in in_work]
    if record.branched_from is not None and not record.chunks.count:
        pieces += [(index, run) for index in range(record.branched_from.from_chunk)]
        making |= {chunk_key(job, *piece) for piece in pieces}
    states = {state_key(job, *piece) for piece in pieces if _keeps_while_running(record, piece[0])}
    not_refined = max(0, record.refine_done - KEPT_FRAMES) if record.spec.is_endless else 0
    unrefined = [piece for piece in pieces if piece[0] >= not_refined and record.spec.refine is not None]
    frames = {frames_key(job, *piece) for piece in unrefined}
    ends = {video_key(job, run), refined_video_key(job, run), thumbnail_key(job)}
    return making | states | frames | ends | _refine_state_keys(record)


def _in_work(totals: ChunkTotals, ahead: int) -> range:
    """Indices of chunks that may be stored but not committed: a short last one that is completed, and `ahead` more."""
    return range(max(0, totals.count - 1), totals.count + ahead)


def _refine_state_keys(record: JobRecord) -> set[str]:
    """States that the next piece reads, the ones before them, and the one that it leaves."""
    if record.spec.refine is None:
        return set()
    done, last = record.refine_done, num_pieces(record.spec) - 1
    read = refine_piece(record.spec, min(done, last)).state_of
    kept = {done - 1, done} if read is None else {read - 1, read, done - 1, done}
    made = {one.piece: one.generation for one in record.refine_states}
    of_pieces = {refine_state_key(record.id, piece, made.get(piece, 0)) for piece in kept if piece >= 0}
    return of_pieces | {refine_state_key(record.id, piece, record.generation) for piece in kept if piece >= 0}


def _keeps_while_running(record: JobRecord, index: int) -> bool:
    """Whether a running job keeps the state after chunk `index`."""
    newest = record.chunks.count - KEPT_NEWEST_STATES
    return not record.spec.is_endless or index >= newest or keeps_state(index, record.chunks.count)


def keeps_state(index: int, num_chunks: int, *, short_end: bool = False) -> bool:
    """Whether an ended job keeps the state after chunk `index`: the first (its input media may be gone), the last (to
    extend the job; if it is short, from the state before it), and every STATE_INTERVAL-th (to branch from it)."""
    ends = {0, num_chunks - 1, num_chunks - 1 - short_end}
    return index in ends or (index + 1) % STATE_INTERVAL == 0
