"""Answers computed from job records: progress, links, URLs of chunks.

Nothing here depends on the time of the call: an unchanged job gives an unchanged answer, so that ETags are stable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from core.service.domain import transitions
from core.service.domain.chunk_order import next_new_chunk
from core.service.domain.frame_plan import CHUNK_FRAMES, num_chunks
from core.service.domain.frame_rate import seconds_of
from core.service.domain.schema import (
    ChangedJob,
    Chunk,
    ChunkRecord,
    ChunkTotals,
    JobRecord,
    JobStatus,
    JobSummary,
    JobWarning,
    Lane,
    Links,
    Progress,
    StepProgress,
    Variant,
)


@dataclass(frozen=True)
class PublicUrls:
    """The base URLs of links, without trailing slashes: of the API, and of media (a CDN, or the API as well)."""

    api: str
    media: str


@dataclass(frozen=True)
class Pace:
    """Generation speed: seconds per chunk, and seconds of video per second."""

    seconds_per_chunk: float
    realtime_factor: float


def job_summary(record: JobRecord, progress: Progress, base_url: PublicUrls) -> JobSummary:
    """A job without its chunks. `progress` is from `progress_of`."""
    return JobSummary(**_summary_fields(record, progress, base_url))


def changed_job(
    record: JobRecord,
    progress: Progress,
    base_url: PublicUrls,
    acts_from_frame: int | None,
    warnings: tuple[JobWarning, ...],
) -> ChangedJob:
    """A job after a change by its client; `warnings` are about the change."""
    fields = _summary_fields(record, progress, base_url)
    fields["warnings"] = (*record.warnings, *warnings)
    return ChangedJob(**fields, acts_from_frame=acts_from_frame)


def _summary_fields(record: JobRecord, progress: Progress, base_url: PublicUrls) -> dict[str, Any]:
    return {
        "id": record.id,
        "status": record.status,
        "version": record.version,
        "generation": record.generation,
        "branched_from": record.branched_from,
        "request": record.spec,
        "progress": progress,
        "links": links_of(record.id, base_url),
        "error": record.error,
        "warnings": record.warnings,
        "created_at": record.created_at,
        "started_at": record.started_at,
        "first_chunk_at": record.first_chunk_at,
        "finished_at": record.finished_at,
        "expires_at": record.expires_at,
    }


def job_json(summary_json: str, chunks: Sequence[Chunk]) -> str:
    """JSON of a Job with chunks, from the JSON of its JobSummary, which is not serialized again."""
    return f'{summary_json[:-1]},"chunks":{_CHUNKS.dump_json(chunks).decode()}}}'


_CHUNKS = TypeAdapter(Sequence[Chunk])


def chunk_views(record: JobRecord, chunks: Sequence[ChunkRecord], base_url: PublicUrls) -> list[Chunk]:
    """Preview chunks of a job as clients see them. They are refined in order."""
    num_refined = record.refined.count
    return [_chunk_view(chunk, chunk.index < num_refined, record.id, base_url.media) for chunk in chunks]


def _chunk_view(chunk: ChunkRecord, is_refined: bool, job_id: str, media_url: str) -> Chunk:
    return Chunk(
        url=chunk_url(media_url, job_id, chunk.index),
        refined_url=chunk_url(media_url, job_id, chunk.index, "refined") if is_refined else None,
        index=chunk.index,
        first_frame=chunk.first_frame,
        num_frames=chunk.num_frames,
        size_bytes=chunk.size_bytes,
        sha256=chunk.sha256,
        created_at=chunk.created_at,
        timings=chunk.timings,
    )


def chunk_url(media_url: str, job_id: str, index: int, variant: Variant = "preview") -> str:
    """Stable URL of a chunk: the API streams the object, or redirects to it, on request."""
    return f"{media_url}/jobs/{job_id}/{chunk_path(index, variant)}"


def chunk_path(index: int, variant: Variant = "preview") -> str:
    """URL of a chunk relative to the job's URL, for example in its playlist."""
    return f"chunks/{index}.mp4" + ("" if variant == "preview" else f"?variant={variant}")


def links_of(job_id: str, base_url: PublicUrls) -> Links:
    """Absolute URLs of a job's resources."""
    job, media = f"{base_url.api}/jobs/{job_id}", f"{base_url.media}/jobs/{job_id}"
    return Links(
        self=job,
        chunks=f"{job}/chunks",
        events=f"{job}/events",
        playlist=f"{job}/playlist.m3u8",
        video=f"{media}/video.mp4",
        thumbnail=f"{media}/thumbnail.jpg",
        cancel=f"{job}/cancel",
    )


def progress_of(record: JobRecord, steps: Mapping[Lane, StepProgress], queue_position: int | None) -> Progress:
    """Progress of a job. `steps` count only if they are of the next chunk on their lane."""
    if record.status is not JobStatus.RUNNING:
        steps = {}
    making = _of_chunk(steps.get(Lane.GENERATE), next_new_chunk(record))
    refining = _of_chunk(steps.get(Lane.REFINE), record.refined.count)
    pace = pace_of(record.chunks, record)
    return Progress(
        frames_done=record.frames_done,
        frames_total=record.spec.num_frames,
        chunks_done=record.chunks.count,
        chunks_total=None if record.spec.num_frames is None else num_chunks(record.spec.num_frames),
        chunks_refined=None if record.spec.refine is None else record.refined.count,
        step=making.step if making else 0,
        steps=making.steps if making else 0,
        refine_step=refining.step if refining else 0,
        refine_steps=refining.steps if refining else 0,
        seconds_playable=seconds_of(record.frames_done, record.spec.fps),
        seconds_per_chunk=pace.seconds_per_chunk if pace else None,
        realtime_factor=pace.realtime_factor if pace else None,
        eta_seconds=eta_seconds(record, making, refining),
        queue_position=queue_position,
        preparing=transitions.wants(record, Lane.PREPARE),
    )


def _of_chunk(progress: StepProgress | None, index: int) -> StepProgress | None:
    return progress if progress and progress.chunk_index == index else None


def pace_of(chunks: ChunkTotals, record: JobRecord) -> Pace | None:
    """Mean speed between commits of a lane's chunks of this generation; with one chunk, from the start to it; None
    without chunks.

    From the second chunk on the first is not counted: it comes from another network and includes warm-up.
    """
    own, started_at = chunks.count - chunks.before, record.begun_at
    if chunks.last is None or own <= 0 or started_at is None:
        return None
    num_others = own - 1
    since = chunks.first_created_at if num_others and chunks.first_created_at else started_at
    seconds = (chunks.last.created_at - since).total_seconds()
    if seconds <= 0:
        return None
    num_frames = chunks.num_frames - chunks.num_frames_before - (CHUNK_FRAMES if num_others else 0)
    return Pace(seconds / (num_others or 1), seconds_of(num_frames, record.spec.fps) / seconds)


def eta_seconds(record: JobRecord, making: StepProgress | None, refining: StepProgress | None) -> float | None:
    """Seconds until the last frame of the slower lane, from the newest commit or step.

    None if unknown, if the job has ended or has no end."""
    if record.status is JobStatus.FINALIZING:
        return 0.0
    if record.status is not JobStatus.RUNNING or record.started_at is None or record.spec.is_endless:
        return None
    made = _lane_eta(record, record.chunks, making)
    if record.spec.refine is None or made is None:
        return made
    lockstep = record.spec.refine.schedule == "lockstep"
    refined = _lockstep_eta(record, refining) if lockstep else _lane_eta(record, record.refined, refining)
    return None if refined is None else max(made, refined)


def _lockstep_eta(record: JobRecord, progress: StepProgress | None) -> float | None:
    """ETA of the denoising steps over the whole video, which start after its last frame; then of decoding its chunks.

    The time of the first refined chunk includes all steps, so it says nothing about the others.
    """
    if record.refined.count:
        return _lane_eta(record, record.refined, progress) if record.refined.count > 1 else None
    if not progress or not progress.step or record.chunks.last is None:
        return None
    taken = (progress.at - record.chunks.last.created_at).total_seconds()
    return max(0.0, taken * (progress.steps / progress.step - 1))


def _lane_eta(record: JobRecord, chunks: ChunkTotals, progress: StepProgress | None) -> float | None:
    fraction = progress.step / progress.steps if progress and progress.steps else 0.0
    pace = pace_of(chunks, record)
    if pace:
        seconds_per_chunk = pace.seconds_per_chunk
    elif progress and (started_at := record.begun_at) and fraction > 0:
        seconds_per_chunk = (progress.at - started_at).total_seconds() / fraction
    else:
        return None
    chunks_left = num_chunks(record.spec.length) - chunks.count - fraction
    return max(0.0, chunks_left * seconds_per_chunk)
