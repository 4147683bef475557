"""How work on a job ended: why it failed, how its generations ended, and how its video was measured."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from core.service.domain.schema.base import Stored
from core.service.domain.schema.chunks import ChunkRecord
from core.service.domain.schema.status import JobStatus


class JobError(Stored):
    """Why a job failed, or why its video could not be measured."""

    code: str
    message: str
    retryable: bool
    fix: str | None = Field(default=None, description="What would fix it, if known.")


class Measurement(Stored):
    """A time at which the video was measured, or measuring it was given up, with its entry of the event log."""

    at: datetime
    entry: int | None = Field(
        description="Number of the entry in the log, from 1; None in a job of a version that did not count them."
    )
    generation: int = Field(description="Generation of the job whose video it was.")
    error: JobError | None = Field(default=None, description="Why there are no metrics; None if there are.")


class EndedGeneration(Stored):
    """How a job had ended before it went on: what its event log said then."""

    status: JobStatus
    started_at: datetime | None
    ended_at: datetime
    next_at: datetime = Field(description="When the job was queued again.")
    version: int
    error: JobError | None = None
    replaced: ChunkRecord | None = Field(
        default=None, description="Its last chunk, if that was short: the next generation has replaced it."
    )
    replaced_refined: ChunkRecord | None = None
