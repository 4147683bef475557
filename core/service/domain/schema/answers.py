"""What clients read: jobs, chunks, progress, events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from core.service.domain.schema.base import Shown
from core.service.domain.schema.outcomes import JobError
from core.service.domain.schema.record import BranchSource, JobWarning
from core.service.domain.schema.spec import JobSpec
from core.service.domain.schema.status import EventType, JobStatus


def _is_none(value: object) -> bool:
    return value is None


class Progress(Shown):
    """Progress of a job as clients see it."""

    frames_done: int
    frames_total: int | None = Field(description="null: the video has no end, or its input is not read yet.")
    chunks_done: int
    chunks_total: int | None = Field(description="null: the video has no end, or its input is not read yet.")
    chunks_refined: int | None = Field(
        default=None, description="Refined chunks; null if refinement was not requested."
    )
    step: int = Field(description="Denoising steps done of the chunk being generated.")
    steps: int = Field(description="Denoising steps of that chunk; 0 when none is being generated.")
    refine_step: int = Field(default=0, description="Denoising steps done of the refinement piece in work.")
    refine_steps: int = Field(default=0, description="Denoising steps of that piece; 0 when none is in work.")
    seconds_playable: float
    seconds_per_chunk: float | None = Field(description="Mean time between commits so far.")
    realtime_factor: float | None = Field(
        description="Seconds of video generated per second; above 1 playback does not stall."
    )
    eta_seconds: float | None = Field(
        description="Seconds until the last frame; of a queued job its wait and its own work, by the speed of chunks "
        "made lately. null if unknown, if no worker makes jobs of the model now, or if the video has no end."
    )
    queue_position: int | None = Field(description="1 = next to start; null once started.")
    starts_in_seconds: float | None = Field(
        default=None,
        description="Expected seconds until a worker begins; null if unknown, if no worker makes jobs of the model now "
        "(none runs, or it is paused), or once started.",
    )
    preparing: bool = Field(
        default=False, description="`image`, `video` or `control` is being fetched and decoded, or waits for it."
    )


class Chunk(Shown):
    """A finished chunk as clients see it: `url` plays by itself."""

    index: int
    first_frame: int
    num_frames: int
    url: str
    refined_url: str | None = Field(default=None, description="The same frames refined; null until they exist.")
    size_bytes: int
    sha256: str
    created_at: datetime
    timings: dict[str, float]
    presigned_url: str | None = Field(
        default=None,
        description="URL in the object storage, which expires; only with ?include=presigned_urls.",
        exclude_if=_is_none,
    )
    presigned_refined_url: str | None = Field(
        default=None, description="The same of the refined chunk.", exclude_if=_is_none
    )


class Links(Shown):
    """Absolute URLs of a job's resources. With API keys all but `self` and `cancel` carry a token that opens them for
    reading without a key, until it expires."""

    self: str
    chunks: str
    events: str
    playlist: str
    video: str
    thumbnail: str = Field(description="A JPEG, from the first chunk on.")
    metrics: str = Field(default="", description="What was measured of the video, if `measure` was asked for.")
    cancel: str


class MeasurementView(Shown):
    """Where measuring a job's video stands."""

    status: Literal["waiting", "measured", "failed"] = Field(
        description="waiting: for the job's end, for a worker, or it is being measured."
    )
    at: datetime | None = Field(description="When it was measured, or given up.")
    error: JobError | None = Field(description="Why it failed.")


class JobSummary(Shown):
    """A job as clients see it, without its chunks."""

    id: str
    owner: str | None = Field(
        default=None, description="Id of the API key that created it; left out without keys.", exclude_if=_is_none
    )
    status: JobStatus
    version: int
    generation: int = Field(default=0, description="How often the job went on after its end: extended or retried.")
    branched_from: BranchSource | None = Field(
        default=None, description="The job whose first `from_chunk` chunks this one shares; null if it is no branch."
    )
    request: JobSpec
    progress: Progress
    links: Links
    error: JobError | None
    measurement: MeasurementView | None = Field(
        default=None, description="Of its video; null if nobody asked for it, or the job ended without a video."
    )
    warnings: tuple[JobWarning, ...] = Field(
        default=(), description="Unusual things about the job that do not keep it from running."
    )
    created_at: datetime
    started_at: datetime | None
    first_chunk_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None


class Job(JobSummary):
    """A job as clients see it. GET /jobs/{id}/chunks has its chunks."""

    chunks: list[Chunk] | None = Field(
        default=None, description="Its newest 1,000 finished chunks, in order. Only with ?include=chunks."
    )


class ChangedJob(JobSummary):
    """Answer of PATCH /jobs/{id}: the job, without its chunks. Warnings about the change are in this answer only."""

    acts_from_frame: int | None = Field(
        description="The first frame that the new prompt may show; null if the prompt did not change."
    )


class Estimate(Shown):
    """How long a worker will need, from chunks of the same model that were made lately. The queue does not count."""

    seconds_per_chunk: float = Field(description="Of every chunk after the first.")
    seconds_total: float | None = Field(description="null: the video has no end, or its input is not read yet.")


class JobPlan(Shown):
    """Answer of POST /jobs?dry_run=true: the job that this request would create."""

    request: JobSpec
    warnings: tuple[JobWarning, ...] = Field(description="As the job would have them.")
    num_chunks: int | None = Field(description="null: the video has no end, or its input is not read yet.")
    last_chunk_frames: int | None = Field(
        description="Frames of the last chunk, 1 to 16; every other one has 16. null: as `num_chunks`."
    )
    estimate: Estimate | None = Field(description="null if no such chunk was made here yet.")


class JobList(Shown):
    """A page of GET /jobs."""

    jobs: list[JobSummary]
    next_cursor: str | None = Field(description="Value of ?cursor= for the next page; null on the last page.")


class ChunkList(Shown):
    """Answer of GET /jobs/{id}/chunks: one page. Once `status` is terminal no more chunks will come."""

    status: JobStatus
    chunks: list[Chunk]
    next_after: int | None = Field(
        default=None, description="Value of ?after= for the next page; null if there are no more chunks now."
    )


class JobEvent(Shown):
    """One entry of a job's event log. `id` is the Redis stream id, the SSE id and the position to resume from."""

    id: str
    type: EventType | str = Field(description="An EventType, or a name from a newer version.")
    job_id: str
    at: datetime
    data: dict[str, Any]
