"""Why a job has no such chunk or video: not yet, or never."""

from __future__ import annotations

from core.service.domain.errors import ChunkNotFound, ChunkNotReady, JobStateConflict, LongtakeError, VideoNotReady
from core.service.domain.frame_plan import num_chunks
from core.service.domain.schema import JobRecord


def no_chunk_error(record: JobRecord, not_ready: type[LongtakeError]) -> LongtakeError:
    """Why the job has no chunk at all: it has ended, or else an error of the class `not_ready`."""
    if record.status.is_terminal:
        return JobStateConflict(f"the job is {record.status} and has no chunk", fix="retry it, or submit it again")
    return not_ready("the first chunk is not ready yet", fix="try again after Retry-After seconds")


def chunk_error(record: JobRecord, index: int) -> ChunkNotReady | ChunkNotFound:
    """Why the job has no chunk `index` (0, 1, ...): not yet, or never."""
    planned = num_chunks(record.spec.length)
    if record.status.is_terminal or index >= planned:
        return ChunkNotFound(f"the job has no chunk {index}", fix="GET /jobs/{id}/chunks lists all chunks")
    of_all = "" if record.spec.is_endless else f" of {planned}"
    return ChunkNotReady(f"chunk {index}{of_all} is not generated yet", fix="try again after Retry-After seconds")


def video_error(record: JobRecord) -> VideoNotReady | JobStateConflict:
    """Why the job has no final video: not yet, or never."""
    if record.status.is_terminal:
        return JobStateConflict(f"the job is {record.status} and has no video", fix="retry it, or submit it again")
    of_all = "" if record.spec.num_frames is None else f" of {record.spec.num_frames}"
    return VideoNotReady(
        f"{record.frames_done}{of_all} frames are generated", fix="play the playlist meanwhile, or try again later"
    )
