"""What the job store's methods take and return beside records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.service.domain.capacity import PoolDemand
from core.service.domain.priority import Priority
from core.service.domain.schema import JobRecord, JobStatus, Lane, StepProgress


@dataclass(frozen=True)
class Lease:
    """A worker's claim on one lane of a job. `token` fences: a commit with an older token is refused."""

    job_id: str
    lane: Lane
    token: int
    worker: str
    poison: bool = False
    """This piece of work has killed so many workers that it must not be tried again."""


@dataclass(frozen=True)
class QueuedWork:
    """The next job of a queue that has work without a worker."""

    lane: Lane
    record: JobRecord


@dataclass(frozen=True)
class LiveStatus:
    """What changes without a commit: denoising steps by lane, and the position in the queue."""

    steps: Mapping[Lane, StepProgress] = field(default_factory=dict[Lane, StepProgress])
    queue_position: int | None = None
    """1 = next of its model's queued jobs; None once started."""
    wait_seconds: float | None = None
    """Expected seconds until a queued job starts; None once started, or if unknown."""


@dataclass(frozen=True)
class Look:
    """A job at one moment. `mark` is a text that changes with everything that is in an answer about the job."""

    record: JobRecord
    live: LiveStatus
    mark: str


@dataclass(frozen=True)
class Results:
    """Object keys of the final videos and the thumbnail; None for those that do not exist. `video_bytes`: of both."""

    video_key: str | None = None
    refined_video_key: str | None = None
    thumbnail_key: str | None = None
    video_bytes: int = 0


@dataclass(frozen=True)
class JobPage:
    """A page of jobs, newest first; `next_cursor` is None on the last one."""

    jobs: Sequence[JobRecord]
    next_cursor: str | None


@dataclass(frozen=True)
class QueuedJobs:
    """The jobs of one model and priority class that no worker has begun. `oldest_at`: since when the one is queued that
    has waited longest, which for a job that went on after its end is later than its creation; None without any."""

    count: int
    oldest_at: datetime | None


@dataclass(frozen=True)
class JobCounts:
    """How many jobs there are, for operators.

    `queued`: by model and class; of a model all classes, also those without a job.
    `in_lanes`: jobs with work on a lane, those that a worker is making included; "" for lanes of all models."""

    by_status: Mapping[JobStatus, int]
    queued: Mapping[tuple[str, Priority], QueuedJobs]
    in_lanes: Mapping[tuple[Lane, str], int]
    pending_webhooks: int
    demands: Sequence[PoolDemand]
    """As JobStore.pool_demands."""


@dataclass(frozen=True)
class Steered:
    """A job after a change by its client, and the frame from which the new prompt acts (None without one)."""

    record: JobRecord
    acts_from_frame: int | None
