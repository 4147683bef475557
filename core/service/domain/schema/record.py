"""JobRecord: what the store keeps of a job, and its parts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from core.service.domain.schema.base import Stored
from core.service.domain.schema.spec import JobSpec
from core.service.domain.schema.status import JobStatus, Lane


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
