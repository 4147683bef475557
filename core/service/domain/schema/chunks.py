"""Committed chunks: a record of each, and the totals that a job's record keeps of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from core.service.domain.schema.base import Stored
from core.service.domain.schema.request import Variant

VARIANTS: tuple[Variant, ...] = ("preview", "refined")


class ChunkRecord(Stored):
    """A committed chunk: its frames in the video and its object in the store. `timings` are seconds by phase."""

    index: int
    first_frame: int
    num_frames: int
    key: str
    head_bytes: int = Field(description="Length of ftyp+moov at the object's start (the HLS init segment).")
    size_bytes: int
    sha256: str
    created_at: datetime
    timings: dict[str, float] = Field(default_factory=dict)
    state_sha256: str | None = Field(default=None, description="SHA-256 of the engine's state after this chunk.")
    frames_sha256: str | None = Field(default=None, description="SHA-256 of the exact frames, if they are stored.")
    version: int | None = Field(
        default=None, description="`version` of the job after the commit; None for chunks of an older version."
    )
    fingerprint: str | None = Field(default=None, description="Fingerprint of the engine that made it, if known.")


class ChunkTotals(Stored):
    """The chunks of one variant in numbers. They are in a list of their own, so that the record of a long job is as
    small as that of a short one."""

    count: int = 0
    num_frames: int = 0
    size_bytes: int = Field(default=0, description="Of their objects; less if an older version made some of them.")
    before: int = Field(default=0, description="How many of them were there when this generation began.")
    num_frames_before: int = Field(default=0, description="Frames of those.")
    first_created_at: datetime | None = Field(
        default=None, description="When the first chunk after those was first committed."
    )
    last: ChunkRecord | None = None

    def followed_by(self, chunk: ChunkRecord) -> ChunkTotals:
        """The totals after `chunk`, the next one, is appended."""
        assert chunk.index == self.count, (chunk.index, self.count)
        changes = {
            "count": self.count + 1,
            "num_frames": self.num_frames + chunk.num_frames,
            "size_bytes": self.size_bytes + chunk.size_bytes,
            "first_created_at": self.first_created_at or chunk.created_at,
            "last": chunk,
        }
        return self.model_copy(update=changes)

    def with_replaced(self, chunk: ChunkRecord) -> ChunkTotals:
        """The totals after `chunk` has replaced the one with its index. Only the last one may change its length."""
        assert chunk.index < self.count, (chunk.index, self.count)
        if self.last is None or chunk.index < self.last.index:
            return self
        num_frames = self.num_frames - self.last.num_frames + chunk.num_frames
        size_bytes = max(0, self.size_bytes - self.last.size_bytes) + chunk.size_bytes
        return self.model_copy(update={"num_frames": num_frames, "size_bytes": size_bytes, "last": chunk})

    def completed_by(self, chunk: ChunkRecord) -> ChunkTotals:
        """The totals after `chunk` has replaced the last one, which is shorter. It counts as one that was there before:
        only a part of it is new."""
        replaced = self.with_replaced(chunk)
        return replaced.model_copy(update={"num_frames_before": replaced.num_frames})

    def with_new(self, chunk: ChunkRecord) -> ChunkTotals:
        """The totals with a chunk of new frames: the next one, or the last one with more of them."""
        return self.completed_by(chunk) if chunk.index < self.count else self.followed_by(chunk)

    @property
    def at_new_start(self) -> ChunkTotals:
        """The totals when another generation begins with these chunks."""
        now = {"before": self.count, "num_frames_before": self.num_frames, "first_created_at": None}
        return self.model_copy(update=now)


@dataclass(frozen=True)
class ChunkLists:
    """All chunks of a job, in order."""

    preview: tuple[ChunkRecord, ...] = ()
    refined: tuple[ChunkRecord, ...] = ()

    def of(self, variant: Variant) -> tuple[ChunkRecord, ...]:
        return self.preview if variant == "preview" else self.refined
