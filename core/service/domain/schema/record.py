"""JobRecord: what the store keeps of a job, and its parts. Its chunks are in lists of their own."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from pydantic import Field

from core.service.domain.schema.base import Stored
from core.service.domain.schema.chunks import ChunkTotals
from core.service.domain.schema.outcomes import EndedGeneration, JobError, Measurement
from core.service.domain.schema.request import Variant
from core.service.domain.schema.spec import JobSpec
from core.service.domain.schema.status import JobStatus, Lane


class WarningCode(StrEnum):
    """Codes of warnings about requests. Those about input media are in `core.service.media`."""

    CHARACTERS_REMOVED = "characters_removed"
    """Zero-width and other invisible characters were removed from a prompt."""
    UNKNOWN_WORDS = "unknown_words"
    """The model does not know some words of a prompt."""
    FOREIGN_SYNTAX = "foreign_syntax"
    """A prompt has weights, tags or options of another tool."""
    FRAME_RATE_SNAPPED = "frame_rate_snapped"
    """A decimal `fps` was read as the NTSC rate that it stands for."""
    SECONDS_ROUNDED = "seconds_rounded"
    """`seconds` is not a whole number of frames and was rounded."""
    PROMPT_NOT_ENHANCED = "prompt_not_enhanced"
    """`enhance_prompt` was asked for, and no longer prompt could be had."""
    LENGTH_SHORTENED = "length_shortened"
    """The deployment's default length exceeds the model's, or an input video the most that a video may have, and was
    shortened."""
    DISTILLED_PROFILE = "distilled_profile"
    """Guidance, or another number of steps, was asked for weights that were distilled for the profile's own."""
    PROMPT_BEYOND_END = "prompt_beyond_end"
    """A prompt begins after the last frame of the input that the video follows: it has no effect."""
    INPUT_CHANGED = "input_changed"
    """The input that the video follows was read again, and is another one by now."""
    ENDLESS_LIMIT = "endless_limit"
    """A job without end has all the frames that the operator allows and ended there."""


class JobWarning(Stored):
    """Something unusual about a job that does not keep it from running."""

    code: str = Field(
        description=f"Stable. About requests: {', '.join(WarningCode)}; input media have further codes.",
        examples=[WarningCode.UNKNOWN_WORDS],
    )
    message: str
    field: str | None = Field(default=None, description="The request field that it is about.")


class LaneState(Stored):
    """State of one lane of a job: the newest claim, and failures since the last commit."""

    token: int = Field(default=0, description="Fencing token of the newest claim.")
    held: bool = Field(default=False, description="The newest claim has neither committed nor released the lane.")
    attempts: int = Field(default=0, description="Attempts that failed with an error of the engine.")
    deaths: int = Field(default=0, description="Claims whose worker process died.")
    lonely_deaths: int = Field(default=0, description="Deaths during which no other job made a commit.")
    commits_at_claim: int = Field(default=0, description="Commits of all jobs at the time of the claim.")
    kept_token: int | None = Field(
        default=None, description="Token of the newest claim that was made together with the commit before it."
    )


class StateChecksum(Stored):
    """SHA-256 of the refiner's state after a refinement piece."""

    piece: int
    sha256: str
    generation: int = Field(default=0, description="Generation of the job in which it was made; its object's name.")


class PreparedMedia(Stored):
    """A job's input media, fetched and decoded to an object of exact pixels."""

    key: str
    sha256: str
    at: datetime
    whole_video: bool = Field(default=False, description="The object is the index of a whole video, stored in pieces.")
    num_frames: int | None = Field(default=None, description="Frames of a whole video that are stored.")


class FingerprintChange(Stored):
    """From this chunk (or refined chunk) on, the job was made by an engine with this fingerprint."""

    from_chunk: int
    fingerprint: str


class Steering(Stored):
    """A prompt that a client gave on the way, with its entry of the event log."""

    at: datetime
    entry: int = Field(description="Number of the entry in the log, from 1.")
    from_frame: int
    prompt: str


class BranchSource(Stored):
    """The job whose first `from_chunk` chunks a branch shares."""

    job_id: str
    from_chunk: int


class LengthChange(Stored):
    """A length that the job had before a client changed it, or before its input was read."""

    entry: int = Field(description="Entries of the event log that were written while it had it.")
    num_frames: int | None
    endless_limit: int | None = None
    until_read: bool = Field(default=False, description="The length was not known until the input was read.")


class DayFrames(Stored):
    """Frames of a job that count on a day (UTC) towards the limit of its owner."""

    day: date
    frames: int


class JobRecord(Stored):
    """What the store keeps of a job. It is the source of truth; queues and events are derived from it."""

    id: str
    status: JobStatus
    version: int = Field(default=0, description="Number of commits of chunks and refined chunks.")
    revision: int = Field(default=0, description="Number of changes that must reach the manifest.")
    num_events: int | None = Field(
        default=None, description="Entries of the event log so far; None for jobs of an older version."
    )
    spec: JobSpec
    request_sha256: str | None = Field(
        default=None, description="Checksum of the request as it was sent; None for jobs of an older version."
    )
    chunks: ChunkTotals = Field(default=ChunkTotals(), description="The chunks themselves: JobStore.chunks.")
    refined: ChunkTotals = Field(default=ChunkTotals(), description="The same frames as `chunks`, refined.")
    refine_done: int = Field(default=0, description="Committed refinement pieces; see refine_plan.py.")
    lanes: dict[Lane | str, LaneState] = Field(
        default_factory=dict, description="By lane name; a newer version may have more lanes."
    )
    fingerprints: tuple[FingerprintChange, ...] = Field(
        default=(), description="Engine fingerprint of chunk 0 and every later change; the newest hundred."
    )
    refine_fingerprints: tuple[FingerprintChange, ...] = ()
    refine_states: tuple[StateChecksum, ...] = Field(default=(), description="Checksums of the stored refiner states.")
    repairs: tuple[int, ...] = Field(default=(), description="Chunks with damaged objects, to be generated again.")
    prepared: PreparedMedia | None = Field(default=None, description="The decoded input media, once ready.")
    prepare_again: bool = Field(
        default=False, description="`prepared` was damaged or missing and is needed again although chunks exist."
    )
    followed_sha256: str | None = Field(
        default=None, description="Checksum of the whole video from which the existing chunks are made, once not ready."
    )
    media_repairs: int = Field(default=0, description="How often input media had to be prepared again.")
    steering: tuple[Steering, ...] = Field(default=(), description="Changes of the prompt on the way, oldest first.")
    measurements: tuple[Measurement, ...] = Field(default=(), description="Oldest first.")
    measure_asked_at: datetime | None = Field(
        default=None, description="When a client asked last that the ended job be measured."
    )
    branched_from: BranchSource | None = None
    earlier: tuple[EndedGeneration, ...] = Field(
        default=(), description="How the job ended each time before it was extended or retried, oldest first."
    )
    resumed_at: datetime | None = Field(
        default=None, description="When this generation started; None in generation 0, which `started_at` tells of."
    )
    length_changes: tuple[LengthChange, ...] = Field(default=(), description="Earlier lengths, oldest first.")
    webhooks_ended: int = Field(default=0, description="Number of webhooks, in order, that need no further attempt.")
    cancel_requested: bool = False
    delete_requested: bool = False
    video_key: str | None = None
    video_bytes: int = Field(default=0, description="Of both final videos.")
    refined_video_key: str | None = None
    thumbnail_key: str | None = None
    error: JobError | None = None
    warnings: tuple[JobWarning, ...] = ()
    owner: str | None = Field(default=None, description="Id of the API key that created it; None: without keys.")
    share: float = Field(
        default=1.0, description="Weight of the owner in the fair share, 0.01 to 100, as its key had it at creation."
    )
    counted_frames: DayFrames | None = Field(
        default=None, description="What counts on the last day on which the owner asked for frames of it."
    )
    link_secret: str | None = Field(
        default=None,
        repr=False,
        description="Signs the tokens in the job's links. A new one revokes them. See link_tokens.py.",
    )
    webhook_secret: str | None = Field(
        default=None,
        repr=False,
        description="whsec_... secret of the request, which signs the job's webhooks; None: its owner's.",
    )
    request_id: str | None = Field(
        default=None, description="X-Request-Id of the request that created the job, for the log lines of workers."
    )
    trace: str | None = Field(
        default=None, description="W3C traceparent of the request that created the job, for the spans of workers."
    )
    created_at: datetime
    started_at: datetime | None = None
    first_chunk_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def generation(self) -> int:
        """How often the job went on after it had ended."""
        return len(self.earlier)

    @property
    def queued_at(self) -> datetime:
        """When this generation was queued."""
        return self.earlier[-1].next_at if self.earlier else self.created_at

    @property
    def begun_at(self) -> datetime | None:
        """When this generation started."""
        return self.resumed_at if self.earlier else self.started_at

    @property
    def measurement(self) -> Measurement | None:
        """The newest one of the video as it is; None while there is none, or after another was asked for."""
        newest = self.measurements[-1] if self.measurements else None
        if newest is None or newest.generation != self.generation:
            return None
        is_old = self.measure_asked_at is not None and newest.at < self.measure_asked_at
        return None if is_old else newest

    @property
    def input_sha256(self) -> str | None:
        """Checksum of the whole video that the job follows, as it was read last."""
        if self.prepared is None:
            return self.followed_sha256
        return self.prepared.sha256 if self.prepared.whole_video else None

    @property
    def frames_done(self) -> int:
        return self.chunks.num_frames

    @property
    def is_complete(self) -> bool:
        """Whether all requested frames are committed."""
        return self.frames_done >= self.spec.length

    @property
    def has_sliding_playlist(self) -> bool:
        """Whether the playlist has the newest chunks alone until the job has ended."""
        changes = (change for change in self.length_changes if not change.until_read)
        return self.spec.is_endless or any(change.num_frames is None for change in changes)

    @property
    def is_refined(self) -> bool:
        """Whether all frames are refined, or none need to be."""
        return self.spec.refine is None or self.frames_refined >= self.spec.length

    @property
    def frames_refined(self) -> int:
        return self.refined.num_frames

    @property
    def fingerprint(self) -> str | None:
        """Engine fingerprint of the last commit."""
        return self.fingerprints[-1].fingerprint if self.fingerprints else None

    def totals(self, variant: Variant) -> ChunkTotals:
        """`chunks` or `refined`."""
        return self.chunks if variant == "preview" else self.refined

    def lane(self, lane: Lane) -> LaneState:
        """State of a lane, also of one that was never claimed."""
        return self.lanes.get(lane, LaneState())


class StepProgress(Stored):
    """Denoising steps of the chunk being generated or refined. Stored beside the record, not in the event log."""

    lane: Lane = Lane.GENERATE
    chunk_index: int
    step: int
    steps: int
    at: datetime
