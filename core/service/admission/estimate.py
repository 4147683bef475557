"""Estimates of how long a job will take, from the speed of chunks that were made lately; and what workers measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.service.domain.chunk_order import next_new_chunk
from core.service.domain.frame_plan import CHUNK_FRAMES, num_chunks
from core.service.domain.ports import SpeedOf
from core.service.domain.schema import ChunkRecord, Estimate, JobRecord, JobSpec, Lane

WAITING = frozenset({"queue"})
"""Phases of a chunk's timings in which nobody works on it."""
STORING = frozenset({"encode", "upload"})
"""Phases that may run beside the next chunk, whose `commit` is what is left of them then."""


def estimate_of(spec: JobSpec, speeds: Mapping[SpeedOf, float], *, along_input: bool = False) -> Estimate | None:
    """Seconds of work on a job: chunk by chunk, then refined, if it is, as on one device. Waiting for a worker does not
    count. None if a chunk that the job needs was never measured, or if it has a size of its own: only those of the
    model's size are measured.

    The first chunk of a model that continues a video is that video's end and costs nothing; `along_input`: but each
    frame is made from one of the input.
    """
    of_chunks = _seconds_of_chunks(spec, speeds, along_input=along_input)
    if of_chunks is None:
        return None
    total = None if spec.is_endless else of_chunks.total(num_chunks(spec.length))
    return Estimate(seconds_per_chunk=of_chunks.next + of_chunks.refined, seconds_total=total)


def seconds_left(record: JobRecord, speeds: Mapping[SpeedOf, float]) -> float | None:
    """Seconds of work that are left of a job, as `estimate_of` counts them. None where that is None, and for a job
    without an end or whose length is not known yet."""
    along_input = record.prepared is not None and record.prepared.whole_video
    of_chunks = _seconds_of_chunks(record.spec, speeds, along_input=along_input)
    if of_chunks is None or record.spec.num_frames is None:
        return None
    return of_chunks.total(num_chunks(record.spec.length), next_new_chunk(record), record.refined.count)


@dataclass(frozen=True)
class _SecondsOfChunks:
    """Seconds of work on the first chunk, on a later one, and on refining one."""

    first: float
    next: float
    refined: float

    def total(self, count: int, made: int = 0, refined: int = 0) -> float:
        """Of `count` chunks, so many of which are made and refined already."""
        of_first = 0.0 if made else self.first
        return of_first + (count - max(1, made)) * self.next + (count - refined) * self.refined


def _seconds_of_chunks(spec: JobSpec, speeds: Mapping[SpeedOf, float], *, along_input: bool) -> _SecondsOfChunks | None:
    """None as of `estimate_of`."""
    if spec.height is not None:
        return None
    of_first = 0.0 if spec.video is not None and not along_input else _seconds(spec, "first", speeds)
    of_next = _seconds(spec, "next", speeds) if num_chunks(spec.length) > 1 else of_first
    of_refined = 0.0 if spec.refine is None else _seconds(spec, "refined", speeds)
    if of_first is None or of_next is None or of_refined is None:
        return None
    return _SecondsOfChunks(of_first, of_next, of_refined)


def measured(
    spec: JobSpec, chunk: ChunkRecord, lane: Lane, *, along_input: bool = False, stored_meanwhile: bool = False
) -> tuple[SpeedOf, float] | None:
    """Kind and seconds per step of a chunk that was made, without what ran beside the next one (`stored_meanwhile`: it
    was encoded and stored while that was made); None if it says nothing about others: it is short, of another
    size than the model's, the end of an input video, or was refined with all others at once."""
    kind = _kind_of(chunk, lane)
    is_given = kind == "first" and spec.video is not None and not along_input
    if chunk.num_frames < CHUNK_FRAMES or spec.height is not None or is_given:
        return None
    if kind == "refined" and spec.refine is not None and spec.refine.schedule == "lockstep":
        return None
    not_counted = WAITING | STORING if stored_meanwhile else WAITING
    seconds = sum(seconds for phase, seconds in chunk.timings.items() if phase not in not_counted)
    return kind, seconds / _steps(spec, kind)


def _kind_of(chunk: ChunkRecord, lane: Lane) -> SpeedOf:
    if lane is Lane.REFINE:
        return "refined"
    return "next" if chunk.index else "first"


def _seconds(spec: JobSpec, kind: SpeedOf, speeds: Mapping[SpeedOf, float]) -> float | None:
    per_step = speeds.get(kind)
    return None if per_step is None else per_step * _steps(spec, kind)


def _steps(spec: JobSpec, kind: SpeedOf) -> int:
    """Denoising steps per window; 1 for engines that take none."""
    if kind == "refined":
        return spec.refine.num_inference_steps if spec.refine else 1
    if kind == "first":
        return spec.first_chunk.num_inference_steps if spec.first_chunk else spec.num_inference_steps or 1
    return spec.num_inference_steps or 1
