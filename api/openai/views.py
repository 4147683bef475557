"""Jobs as videos of OpenAI's API."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from api.openai.answers import Video, VideoError, VideoStatus
from api.openai.requests import REMIXED_FROM
from core.service.admission.catalog import Catalog
from core.service.domain.errors import PresetError, UnknownModel
from core.service.domain.frame_rate import seconds_of
from core.service.domain.ports import LiveStatus
from core.service.domain.schema import JobRecord, JobStatus, Progress
from core.service.domain.views import progress_of

_STATUS: dict[JobStatus, VideoStatus] = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "in_progress",
    JobStatus.CANCELING: "in_progress",
    JobStatus.FINALIZING: "in_progress",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "failed",
    JobStatus.EXPIRED: "failed",
}


def video_of(record: JobRecord, live: LiveStatus, catalog: Catalog) -> Video:
    """The job as a video."""
    spec = record.spec
    num_frames = record.frames_done if spec.num_frames is None else spec.num_frames
    return Video(
        id=record.id,
        status=_STATUS[record.status],
        model=spec.model,
        prompt=spec.prompt,
        progress=percent_of(record, progress_of(record, live)),
        seconds=f"{seconds_of(num_frames, spec.fps):g}",
        size=_size(record, catalog),
        created_at=int(record.created_at.timestamp()),
        completed_at=_seconds(record.finished_at),
        expires_at=_seconds(record.expires_at),
        remixed_from_video_id=spec.metadata.get(REMIXED_FROM),
        error=_error(record),
    )


def percent_of(record: JobRecord, progress: Progress) -> int:
    """0 to 100 of all denoising; 100 only if the video is complete, 0 for one without end."""
    if record.status is JobStatus.SUCCEEDED:
        return 100
    if not progress.chunks_total:
        return 0
    step = progress.step / progress.steps if progress.steps else 0.0
    done = [(progress.chunks_done + step) / progress.chunks_total]
    if progress.chunks_refined is not None:
        done.append(progress.chunks_refined / progress.chunks_total)
    return min(99, int(100 * sum(done) / len(done)))


def _size(record: JobRecord, catalog: Catalog) -> str | None:
    refine = record.spec.refine
    if refine is not None:
        return f"{refine.width}x{refine.height}"
    if record.spec.height is not None:
        return f"{record.spec.width}x{record.spec.height}"
    with suppress(UnknownModel, PresetError):
        preset = catalog.get(record.spec.model).preset
        return f"{preset.width}x{preset.height}"
    return None


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _error(record: JobRecord) -> VideoError | None:
    if record.error is not None:
        return VideoError(code=record.error.code, message=record.error.message)
    if record.status is JobStatus.CANCELED:
        return VideoError(code="canceled", message="the job was canceled")
    return None
