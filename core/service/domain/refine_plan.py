"""Refinement as a sequence of pieces, one task each: what a piece reads, what it publishes, and when it can start.

Streaming: piece k is refinement window k. Lockstep: one piece per denoising step of the whole video, then one piece per
chunk to decode.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.service.domain.frame_plan import (
    CHUNK_FRAMES,
    ChunkSpan,
    chunk_span,
    num_chunks,
    num_refinement_windows,
    published_with,
    refinement_window,
)
from core.service.domain.schema import JobRecord, JobSpec, RefineSpec


@dataclass(frozen=True)
class RefinePiece:
    """Piece `index` of a job's refinement: it reads the preview frames `needs` and the state after piece `state_of`
    (None: no state), and publishes the refined frames `publishes`."""

    index: int
    state_of: int | None
    needs: range
    publishes: range


def refine_spec(spec: JobSpec) -> RefineSpec:
    """The job's refinement config. The job must have one."""
    assert spec.refine is not None, "a job without `refine` has no refinement"
    return spec.refine


def num_pieces(spec: JobSpec) -> int:
    """Number of pieces of the whole refinement."""
    refine = refine_spec(spec)
    if refine.schedule == "streaming":
        return num_refinement_windows(spec.length)
    return refine.num_inference_steps + num_chunks(spec.length)


def refine_piece(spec: JobSpec, index: int) -> RefinePiece:
    """Piece `index`, 0 <= index < num_pieces(spec)."""
    assert 0 <= index < num_pieces(spec), (index, num_pieces(spec))
    refine, before = refine_spec(spec), index - 1 if index else None
    if refine.schedule == "streaming":
        window = refinement_window(index, spec.length)
        needs = range(window.first_frame, window.end_frame)
        return RefinePiece(index, before, needs, published_with(window, spec.length))
    num_steps = refine.num_inference_steps
    if index < num_steps:
        return RefinePiece(index, before, range(spec.length if index == 0 else 0), range(0))
    span = chunk_span(index - num_steps, spec.length)
    return RefinePiece(index, num_steps - 1, range(0), range(span.first_frame, span.first_frame + span.num_frames))


def is_ready(record: JobRecord) -> bool:
    """Whether there is a next piece and its frames are generated. Lockstep starts after the last frame."""
    if record.spec.refine is None or record.refine_done >= num_pieces(record.spec):
        return False
    if record.spec.refine.schedule == "lockstep":
        return record.is_complete
    return record.frames_done >= refine_piece(record.spec, record.refine_done).needs.stop


def is_made(record: JobRecord) -> bool:
    """Whether all chunks are generated and refined, so that the job can be finalized."""
    refined = record.spec.refine is None or record.refine_done >= num_pieces(record.spec)
    return record.is_complete and refined and not record.repairs


def spans_of(frames: range, num_frames: int) -> list[ChunkSpan]:
    """The chunks that consist of these published frames."""
    first, last = frames.start // CHUNK_FRAMES, -(-frames.stop // CHUNK_FRAMES)
    spans = [chunk_span(index, num_frames) for index in range(first, last)]
    assert sum(span.num_frames for span in spans) == len(frames), (frames, spans)
    return spans
