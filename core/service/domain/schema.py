"""The one job schema: what clients send (JobRequest), what is stored (JobSpec, JobRecord), what they see (Job).

Pure data with pydantic. Knows no Redis, no S3, no HTTP. What depends on a preset or on settings is in admission.py.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

from core.service.domain.frame_rate import AskedFrameRate, FrameRate

NOISE_LEVELS = 1000
"""Of the refiner's noise table; its steps go down from `strength` of it, no two on one level."""


class Frozen(BaseModel):
    """Base of what clients send: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(BaseModel):
    """Base of what the service stores for itself: immutable. Fields of a newer version are kept and written back, so
    that two versions can run side by side and an upgrade can be rolled back."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Shown(BaseModel):
    """Base of what clients are shown: immutable. Fields of a newer API are ignored by those who read it with this."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class JobStatus(StrEnum):
    """queued -> running -> finalizing -> succeeded | failed | canceled | expired; canceling between.

    A terminal status is final."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    FINALIZING = "finalizing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED}


class EventType(StrEnum):
    """Entries of a job's event log; the same names reach SSE and webhooks."""

    JOB_QUEUED = "job.queued"
    JOB_STARTED = "job.started"
    CHUNK_COMPLETED = "chunk.completed"
    CHUNK_REFINED = "chunk.refined"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELED = "job.canceled"


WebhookEvent = Literal["job.succeeded", "job.failed", "job.canceled", "chunk.completed", "chunk.refined"]
DEFAULT_WEBHOOK_EVENTS: tuple[WebhookEvent, ...] = ("job.succeeded", "job.failed", "job.canceled")

Profile = Literal["fast", "reference"]
DEFAULT_PROFILE: Profile = "fast"

MIN_FRAMES = 16
MAX_SEED = 2**53 - 1
"""Of requests: the largest integer that every JSON client keeps exact (RFC 8259, section 6). Jobs of older versions
may have seeds up to 2**63 - 1; they run as before."""
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class FirstChunkOptions(Frozen):
    """How the first 16 frames are sampled, where it should differ from the profile."""

    num_inference_steps: int | None = Field(default=None, ge=1, le=1000, description="Denoising steps.")
    guidance_scale: float | None = Field(default=None, ge=1.0, le=30.0, description="How strongly the prompt acts.")


class FirstChunkSampling(Stored):
    """How the first 16 frames are sampled."""

    num_inference_steps: int
    guidance_scale: float


RefineSchedule = Literal["streaming", "lockstep"]
Variant = Literal["preview", "refined"]


class RefineOptions(Frozen):
    """How the video is refined, where it should differ from the model's defaults.

    The least strength hangs on the steps, and the most steps on the strength: refine_request.py checks these two, which
    are only told here.
    """

    strength: float | None = Field(
        default=None,
        le=1,
        allow_inf_nan=False,
        description="How much may change: 1 redraws everything.",
        json_schema_extra={"exclusiveMinimum": 0},
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="Denoising steps per refinement window.",
        json_schema_extra={"exclusiveMaximum": NOISE_LEVELS},
    )
    guidance_scale: float | None = Field(
        default=None, ge=1.0, le=30.0, description="How strongly the prompt acts on the details."
    )
    size: Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,4}x[1-9]\d{0,4}$")] | None = Field(
        default=None, description="WIDTHxHEIGHT in pixels, with the sides of the preview in the same proportion."
    )
    schedule: RefineSchedule | None = Field(
        default=None,
        description="streaming (default): window by window while the video grows; lockstep: all windows together,"
        " once the last frame is made.",
    )


class RefineSpec(Stored):
    """How a video is refined, every default filled in."""

    strength: float = Field(description="How far back to noise, in (0, 1]; 0 would leave the frames as they are.")
    num_inference_steps: int
    guidance_scale: float
    height: int
    width: int
    schedule: RefineSchedule = Field(
        description="streaming: window by window while the video grows; lockstep: all windows together, at the end."
    )


REFINE_TAGS = ("[flag]", "[options]")
"""Which of its two forms `refine` has, as pydantic's locations of errors say it."""


def _form_of_refine(value: object) -> str:
    return "[options]" if isinstance(value, dict | RefineOptions) else "[flag]"


RefineAsked = Annotated[
    Annotated[bool, Tag("[flag]")] | Annotated[RefineOptions, Tag("[options]")], Discriminator(_form_of_refine)
]


class JobRequest(Frozen):
    """Body of POST /jobs. Fields left out take the preset's defaults; give num_frames or seconds, not both."""

    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)] = Field(
        description="What the video shows, in plain English.",
        examples=["a red circle moving left over a striped background"],
    )
    negative_prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)] | None = Field(
        default=None, description="What it should not show."
    )
    num_frames: int | None = Field(
        default=None, description="Length in frames, at least 16; any number, also 17 or 100."
    )
    seconds: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Length in seconds of playback, instead of num_frames."
    )
    fps: AskedFrameRate | None = Field(
        default=None,
        description='Playback rate in frames per second, 1 to 60: a number, or a fraction such as "30000/1001". 23.976,'
        " 29.97, 47.952 and 59.94 mean the NTSC rates; other decimals are exact (12.5 is 25/2).",
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="Same seed and request, same video. Random if left out. At most 2^53 - 1: larger integers are"
        " rounded by JavaScript.",
    )
    model: str | None = Field(default=None, description="A name from GET /models.")
    guidance_scale: float | None = Field(
        default=None, ge=1.0, le=30.0, description="How strongly the prompt is followed."
    )
    num_inference_steps: int | None = Field(default=None, ge=1, le=1000, description="Denoising steps per window.")
    profile: Profile | None = Field(
        default=None, description="fast (default), or reference: sampling exactly as published, slower."
    )
    first_chunk: FirstChunkOptions | None = Field(
        default=None,
        description="Steps and guidance of the first 16 frames; the fields above act on everything after them.",
    )
    parameters: dict[str, Any] | None = Field(
        default=None, description="Fields that only the model's engine has; GET /models has their schema."
    )
    image: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = Field(
        default=None, description="The picture that the video begins with: an http(s) URL, or an id from POST /uploads."
    )
    video: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = Field(
        default=None,
        description="A video to be continued, as a URL or upload id: its last 16 frames are the first of the result.",
    )
    refine: RefineAsked | None = Field(
        default=None, description="Also make the video in a higher resolution; true for the model's defaults."
    )
    webhook_url: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None, description="Called with a signed POST when one of webhook_events happens."
    )
    webhook_events: list[WebhookEvent] | None = Field(
        default=None,
        description="Default: job.succeeded, job.failed, job.canceled; on request chunk.completed and chunk.refined.",
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = Field(
        default=None, description="Up to 16 short strings, returned with the job."
    )


class JobSpec(Stored):
    """A JobRequest with every default filled in: what the engine reads and what decides the video's bytes."""

    prompt: str
    negative_prompt: str
    num_frames: int
    fps: FrameRate = Field(description='A number where it is whole, else "numerator/denominator" in lowest terms.')
    seed: int
    model: str
    guidance_scale: float | None = Field(default=None, description="null, as the next three: the engine takes none.")
    num_inference_steps: int | None = None
    profile: Profile | None = None
    first_chunk: FirstChunkSampling | None = None
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Fields that only the model's engine has, with its defaults filled in."
    )
    image: str | None = None
    video: str | None = None
    refine: RefineSpec | None = None
    webhook_url: str | None = None
    webhook_events: tuple[WebhookEvent | str, ...] = Field(
        default=DEFAULT_WEBHOOK_EVENTS, description="Those asked for; one that only a newer version knows is kept."
    )
    metadata: dict[str, str] = Field(default_factory=dict)


class ChunkRecord(Stored):
    """A committed chunk: where it lies in the video and in the object store. `timings` are seconds by phase."""

    index: int
    first_frame: int
    num_frames: int
    key: str
    head_bytes: int = Field(description="Length of ftyp+moov at the object's start (the HLS init segment).")
    size_bytes: int
    sha256: str
    created_at: datetime
    timings: dict[str, float] = Field(default_factory=dict)
    state_sha256: str | None = Field(default=None, description="Of the engine's state after this chunk.")
    frames_sha256: str | None = Field(default=None, description="Of the exact frames, where they are kept.")


class JobError(Stored):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool
    fix: str | None = Field(default=None, description="What would mend it, where that is known.")


class WarningCode(StrEnum):
    """What requests are warned of. Codes of given media are beside their decoding."""

    CHARACTERS_REMOVED = "characters_removed"
    """Zero-width and other invisible characters are no longer in a prompt."""
    UNKNOWN_WORDS = "unknown_words"
    """The model does not know some words of a prompt."""
    FOREIGN_SYNTAX = "foreign_syntax"
    """A prompt has weights, tags or options of another tool."""
    FRAME_RATE_SNAPPED = "frame_rate_snapped"
    """A decimal `fps` was taken for the NTSC rate that it means."""
    SECONDS_ROUNDED = "seconds_rounded"
    """`seconds` is no whole number of frames."""
    LENGTH_SHORTENED = "length_shortened"
    """The deployment's default length is more than the model takes."""


class JobWarning(Stored):
    """What is odd about a job but possible: it runs all the same."""

    code: str = Field(
        description=f"Stable. Of requests: {', '.join(WarningCode)}; media to begin with have more.",
        examples=[WarningCode.UNKNOWN_WORDS],
    )
    message: str
    field: str | None = Field(default=None, description="The field of the request that it is about.")


class LaneState(Stored):
    """One lane of work on a job: who may work on it, and what went wrong since the last commit."""

    token: int = Field(default=0, description="Fencing token of the newest claim.")
    held: bool = Field(default=False, description="That claim has neither committed nor given the lane back.")
    attempts: int = Field(default=0, description="Tries that the engine itself has failed.")
    deaths: int = Field(default=0, description="Claims whose worker died.")
    lonely_deaths: int = Field(default=0, description="Those of them during which no other job got on.")
    commits_at_claim: int = Field(default=0, description="Commits of all jobs when it was claimed; tells who got on.")


class StateChecksum(Stored):
    """SHA-256 of the refiner's state after a piece."""

    piece: int
    sha256: str


class PreparedMedia(Stored):
    """What a job begins with, fetched and decoded: an object of exact pixels."""

    key: str
    sha256: str
    at: datetime
    whole_video: bool = Field(default=False, description="The object is the index of a whole video, stored in pieces.")


class Lane(StrEnum):
    PREPARE = "prepare"
    GENERATE = "generate"
    REFINE = "refine"
    FINALIZE = "finalize"


LANES_WITH_STEPS = (Lane.GENERATE, Lane.REFINE)
"""Lanes that tell their progress."""
LANES_OF_ANY_MODEL = (Lane.PREPARE, Lane.FINALIZE)
"""Lanes that need no engine: one queue for the jobs of all models, for CPU workers."""


class FingerprintChange(Stored):
    """From this chunk (or piece of refinement) on the job was made by an engine with this fingerprint."""

    from_chunk: int
    fingerprint: str


class JobRecord(Stored):
    """What the store keeps of a job. The truth about it; queue and events are derived."""

    id: str
    status: JobStatus
    version: int = Field(default=0, description="Number of commits of both lanes; rises with nothing else.")
    revision: int = Field(default=0, description="Number of changes that the manifest must have.")
    num_events: int | None = Field(
        default=None, description="Entries of the event log so far; unknown where an older version made the job."
    )
    spec: JobSpec
    chunks: tuple[ChunkRecord, ...] = ()
    refined: tuple[ChunkRecord, ...] = Field(default=(), description="Of the same frames as `chunks`, refined.")
    chunk_versions: tuple[int, ...] = Field(
        default=(), description="`version` after the commit of each chunk; missing where an older version made it."
    )
    refined_versions: tuple[int, ...] = Field(default=(), description="The same for each refined chunk.")
    refine_done: int = Field(default=0, description="Pieces of refinement that are committed; see refine_plan.py.")
    lanes: dict[Lane | str, LaneState] = Field(
        default_factory=dict, description="By the name of the lane; a newer version may have more of them."
    )
    fingerprints: tuple[FingerprintChange, ...] = Field(
        default=(), description="Engine fingerprints: that of chunk 0 and every later change."
    )
    refine_fingerprints: tuple[FingerprintChange, ...] = ()
    refine_states: tuple[StateChecksum, ...] = Field(default=(), description="Of the refiner's states that are kept.")
    repairs: tuple[int, ...] = Field(default=(), description="Chunks whose objects are damaged and are made again.")
    prepared: PreparedMedia | None = Field(default=None, description="What the job begins with, once it is ready.")
    prepare_again: bool = Field(
        default=False, description="That is damaged or missing, and needed although there are chunks already."
    )
    media_repairs: int = Field(default=0, description="How often that was so.")
    webhooks_ended: int = Field(default=0, description="Webhooks of this job that need no further try, in their order.")
    cancel_requested: bool = False
    delete_requested: bool = False
    video_key: str | None = None
    refined_video_key: str | None = None
    thumbnail_key: str | None = None
    error: JobError | None = None
    warnings: tuple[JobWarning, ...] = ()
    created_at: datetime
    started_at: datetime | None = None
    first_chunk_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def frames_done(self) -> int:
        return sum(chunk.num_frames for chunk in self.chunks)

    @property
    def is_complete(self) -> bool:
        """All frames asked for are committed."""
        return self.frames_done >= self.spec.num_frames

    @property
    def is_refined(self) -> bool:
        """All frames are refined that shall be."""
        return self.spec.refine is None or self.frames_refined >= self.spec.num_frames

    @property
    def frames_refined(self) -> int:
        return sum(chunk.num_frames for chunk in self.refined)

    @property
    def fingerprint(self) -> str | None:
        """Engine fingerprint of the last commit."""
        return self.fingerprints[-1].fingerprint if self.fingerprints else None

    def fingerprint_of(self, index: int) -> str | None:
        """Of the engine that made chunk `index`."""
        earlier = [change.fingerprint for change in self.fingerprints if change.from_chunk <= index]
        return earlier[-1] if earlier else None

    def lane(self, lane: Lane) -> LaneState:
        """State of a lane; of one never claimed, too."""
        return self.lanes.get(lane, LaneState())


class StepProgress(Stored):
    """Where the chunk now being made, or the next one to be refined, stands. Lives beside the record, is not logged."""

    lane: Lane = Lane.GENERATE
    chunk_index: int
    step: int
    steps: int
    at: datetime


class Progress(Shown):
    """Progress of a job as clients see it."""

    frames_done: int
    frames_total: int
    chunks_done: int
    chunks_total: int
    chunks_refined: int | None = Field(default=None, description="Chunks that are refined; null where none shall be.")
    step: int = Field(description="Denoising steps done of the chunk now being made.")
    steps: int = Field(description="Denoising steps of that chunk; 0 when none is being made.")
    refine_step: int = Field(default=0, description="Denoising steps done of the piece now being refined.")
    refine_steps: int = Field(default=0, description="Denoising steps of that piece; 0 when none is being refined.")
    seconds_playable: float
    seconds_per_chunk: float | None = Field(description="Mean time between commits so far.")
    realtime_factor: float | None = Field(
        description="Seconds of video made per second; above 1 it can be watched without a stall."
    )
    eta_seconds: float | None
    queue_position: int | None = Field(description="1 = next to start; null once started.")
    preparing: bool = Field(
        default=False, description="`image` or `video` is being fetched and decoded, or waits for that."
    )


class Chunk(Shown):
    """A finished chunk as clients see it: `url` plays by itself."""

    index: int
    first_frame: int
    num_frames: int
    url: str
    refined_url: str | None = Field(default=None, description="The same frames refined, as soon as they are.")
    size_bytes: int
    sha256: str
    created_at: datetime
    timings: dict[str, float]


class Links(Shown):
    self: str
    chunks: str
    events: str
    playlist: str
    video: str
    cancel: str


class JobSummary(Shown):
    """A job as clients see it in lists: without its chunks."""

    id: str
    status: JobStatus
    version: int
    request: JobSpec
    progress: Progress
    links: Links
    error: JobError | None
    warnings: tuple[JobWarning, ...] = Field(default=(), description="What is odd about the job but possible.")
    created_at: datetime
    started_at: datetime | None
    first_chunk_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None


class Job(JobSummary):
    """A job as clients see it."""

    chunks: list[Chunk]


class JobList(Shown):
    """A page of GET /jobs."""

    jobs: list[JobSummary]
    next_cursor: str | None = Field(description="Give it as ?cursor= for the next page; null on the last one.")


class ChunkList(Shown):
    """Answer of GET /jobs/{id}/chunks. Where `status` is terminal no more chunks will come."""

    status: JobStatus
    chunks: list[Chunk]


class JobEvent(Shown):
    """One entry of a job's event log. `id` is the Redis stream id, the SSE id and the resume point."""

    id: str
    type: EventType | str = Field(description="One of EventType, or what a newer version has logged.")
    job_id: str
    at: datetime
    data: dict[str, Any]
