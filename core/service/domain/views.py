"""Answers computed from job records: progress, links, URLs of chunks.

Nothing here depends on the time of the call: an unchanged job gives an unchanged answer, so that ETags are stable. (The
tokens of links change with the period of `expiry_of_links`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from core.service.domain import transitions
from core.service.domain.chunk_order import next_new_chunk
from core.service.domain.frame_plan import CHUNK_FRAMES, num_chunks
from core.service.domain.frame_rate import seconds_of
from core.service.domain.link_tokens import NO_TOKENS, LinkTokens, with_token
from core.service.domain.ports import LiveStatus
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
    MeasurementView,
    Progress,
    StepProgress,
    Variant,
)


@dataclass(frozen=True)
class PublicUrls:
    """The base URLs of links, without trailing slashes: of the API, and of media (a CDN, or the API as well); and the
    tokens that links carry."""

    api: str
    media: str
    tokens: LinkTokens = NO_TOKENS

    def token_of(self, record: JobRecord) -> str | None:
        """The token of links of a job."""
        return self.tokens.of(record.id, record.link_secret)


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
        "owner": record.owner,
        "status": record.status,
        "version": record.version,
        "generation": record.generation,
        "branched_from": record.branched_from,
        "request": record.spec,
        "progress": progress,
        "links": links_of(record, base_url),
        "error": record.error,
        "measurement": measurement_of(record),
        "warnings": record.warnings,
        "created_at": record.created_at,
        "started_at": record.started_at,
        "first_chunk_at": record.first_chunk_at,
        "finished_at": record.finished_at,
        "expires_at": record.expires_at,
    }


def measurement_of(record: JobRecord) -> MeasurementView | None:
    """Where measuring the job stands; None if nobody asked for it, or the job has ended without a video."""
    if not record.spec.measure or (record.status.is_terminal and not transitions.has_final_video(record)):
        return None
    newest = record.measurement
    if newest is None:
        return MeasurementView(status="waiting", at=None, error=None)
    return MeasurementView(status="failed" if newest.error else "measured", at=newest.at, error=newest.error)


def job_json(summary_json: str, chunks: Sequence[Chunk]) -> str:
    """JSON of a Job with chunks, from the JSON of its JobSummary, which is not serialized again."""
    return f'{summary_json[:-1]},"chunks":{_CHUNKS.dump_json(chunks).decode()}}}'


_CHUNKS = TypeAdapter(Sequence[Chunk])


def chunk_views(record: JobRecord, chunks: Sequence[ChunkRecord], base_url: PublicUrls) -> list[Chunk]:
    """Preview chunks of a job as clients see them. They are refined in order."""
    num_refined, token = record.refined.count, base_url.token_of(record)

    def url(chunk: ChunkRecord, variant: Variant) -> str:
        return with_token(chunk_url(base_url.media, record.id, chunk.index, variant), token)

    return [
        _chunk_view(chunk, url(chunk, "preview"), url(chunk, "refined") if chunk.index < num_refined else None)
        for chunk in chunks
    ]


def _chunk_view(chunk: ChunkRecord, url: str, refined_url: str | None) -> Chunk:
    return Chunk(
        url=url,
        refined_url=refined_url,
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


def job_url(job_id: str, base_url: PublicUrls) -> str:
    """Absolute URL of a job."""
    return f"{base_url.api}/jobs/{job_id}"


def links_of(record: JobRecord, base_url: PublicUrls) -> Links:
    """Absolute URLs of a job's resources. Those that only read them carry the token."""
    job, media, token = job_url(record.id, base_url), f"{base_url.media}/jobs/{record.id}", base_url.token_of(record)
    return Links(
        self=job,
        chunks=with_token(f"{job}/chunks", token),
        events=with_token(f"{job}/events", token),
        playlist=with_token(f"{job}/playlist.m3u8", token),
        video=with_token(f"{media}/video.mp4", token),
        thumbnail=with_token(f"{media}/thumbnail.jpg", token),
        metrics=with_token(f"{job}/metrics", token),
        cancel=f"{job}/cancel",
    )


def progress_of(record: JobRecord, live: LiveStatus, work_seconds: float | None = None) -> Progress:
    """Progress of a job. Steps count only if they are of the next chunk on their lane.

    `work_seconds`: expected seconds of work that are left of a job in the queue (`seconds_left` of
    core.service.admission.estimate); None if unknown."""
    steps = live.steps if record.status is JobStatus.RUNNING else {}
    making = _of_chunk(steps.get(Lane.GENERATE), next_new_chunk(record))
    refining = _of_chunk(steps.get(Lane.REFINE), record.refined.count)
    pace = pace_of(record.chunks, record)
    is_queued = record.status is JobStatus.QUEUED
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
        eta_seconds=_after_wait(live, work_seconds) if is_queued else eta_seconds(record, making, refining),
        queue_position=live.queue_position,
        starts_in_seconds=live.wait_seconds if is_queued else None,
        preparing=transitions.wants(record, Lane.PREPARE),
    )


def _after_wait(live: LiveStatus, work_seconds: float | None) -> float | None:
    """Seconds until the last frame of a job in the queue."""
    return None if live.wait_seconds is None or work_seconds is None else live.wait_seconds + work_seconds


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
