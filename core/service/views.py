"""Jobs as clients see them, computed from the record: progress, links, URLs of chunks.

Pure. Nothing here depends on the time of the call: an unchanged job gives an unchanged view, so ETags hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.service.frame_plan import num_chunks
from core.service.schema import (
    Chunk,
    ChunkRecord,
    Job,
    JobRecord,
    JobStatus,
    JobSummary,
    Links,
    Progress,
    StepProgress,
)

UrlOf = Callable[[str], str]
"""Object key -> URL that a client can fetch (Storage.url)."""


@dataclass(frozen=True)
class Pace:
    """How fast chunks come: seconds from one to the next, and seconds of video made per second."""

    seconds_per_chunk: float
    realtime_factor: float


def job_view(record: JobRecord, progress: Progress, url_of_chunk: UrlOf, base_url: str) -> Job:
    """The whole job. `progress` is from `progress_of`; `base_url` has no slash at its end."""
    chunks = [chunk_view(chunk, url_of_chunk) for chunk in record.chunks]
    return Job(**_summary_fields(record, progress, base_url), chunks=chunks)


def job_summary(record: JobRecord, progress: Progress, base_url: str) -> JobSummary:
    """The job without its chunks, for lists."""
    return JobSummary(**_summary_fields(record, progress, base_url))


def chunk_view(chunk: ChunkRecord, url_of_chunk: UrlOf) -> Chunk:
    """A finished chunk with the URL it plays from."""
    return Chunk(url=url_of_chunk(chunk.key), **chunk.model_dump(exclude={"key", "head_bytes"}))


def _summary_fields(record: JobRecord, progress: Progress, base_url: str) -> dict[str, Any]:
    return {
        "id": record.id,
        "status": record.status,
        "version": record.version,
        "request": record.spec,
        "progress": progress,
        "links": links_of(record.id, base_url),
        "error": record.error,
        "created_at": record.created_at,
        "started_at": record.started_at,
        "first_chunk_at": record.first_chunk_at,
        "finished_at": record.finished_at,
        "expires_at": record.expires_at,
    }


def links_of(job_id: str, base_url: str) -> Links:
    """Absolute URLs of everything that hangs on a job."""
    job = f"{base_url}/jobs/{job_id}"
    return Links(
        self=job,
        chunks=f"{job}/chunks",
        events=f"{job}/events",
        playlist=f"{job}/playlist.m3u8",
        video=f"{job}/video",
        cancel=f"{job}/cancel",
    )


def progress_of(record: JobRecord, progress: StepProgress | None, queue_position: int | None) -> Progress:
    """Where a job stands. `progress` counts only for the chunk that comes next."""
    if record.status is not JobStatus.RUNNING or (progress and progress.chunk_index != len(record.chunks)):
        progress = None
    pace = pace_of(record)
    return Progress(
        frames_done=record.frames_done,
        frames_total=record.spec.num_frames,
        chunks_done=len(record.chunks),
        chunks_total=num_chunks(record.spec.num_frames),
        step=progress.step if progress else 0,
        steps=progress.steps if progress else 0,
        seconds_playable=record.frames_done / record.spec.fps,
        seconds_per_chunk=pace.seconds_per_chunk if pace else None,
        realtime_factor=pace.realtime_factor if pace else None,
        eta_seconds=eta_seconds(record, progress),
        queue_position=queue_position,
    )


def pace_of(record: JobRecord) -> Pace | None:
    """The mean pace between commits; with one chunk, the pace from start to it; before that None.

    The first chunk is left out as soon as there is another: it comes from another network and waits for warm-up.
    """
    if len(record.chunks) == 0 or record.started_at is None:
        return None
    since = record.chunks[0].created_at if len(record.chunks) > 1 else record.started_at
    counted = record.chunks[1:] or record.chunks
    seconds = (record.chunks[-1].created_at - since).total_seconds()
    if seconds <= 0:
        return None
    video_seconds = sum(chunk.num_frames for chunk in counted) / record.spec.fps
    return Pace(seconds / len(counted), video_seconds / seconds)


def eta_seconds(record: JobRecord, progress: StepProgress | None) -> float | None:
    """Seconds until the last frame, counted from the newest commit or step; None where nothing is known or it ended."""
    if record.status is JobStatus.FINALIZING:
        return 0.0
    if record.status is not JobStatus.RUNNING or record.started_at is None:
        return None
    fraction = progress.step / progress.steps if progress and progress.steps else 0.0
    pace = pace_of(record)
    if pace:
        seconds_per_chunk = pace.seconds_per_chunk
    elif progress and fraction > 0:
        seconds_per_chunk = (progress.at - record.started_at).total_seconds() / fraction
    else:
        return None
    chunks_left = num_chunks(record.spec.num_frames) - len(record.chunks) - fraction
    return max(0.0, chunks_left * seconds_per_chunk)
