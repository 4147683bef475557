"""What the job store tells operators about work: what waits, what workers are making, what was made lately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core.service.domain.priority import Priority
from core.service.domain.schema import JobStatus, Lane


@dataclass(frozen=True)
class WaitingJobs:
    """The jobs of one queue that a worker could take now, new ones and begun ones.

    `model`: "" for lanes of all models. `since`: when the one that waits longest could first be taken; None without
    any."""

    lane: Lane
    model: str
    by_priority: Mapping[Priority, int]
    since: datetime | None

    @property
    def count(self) -> int:
        return sum(self.by_priority.values())


@dataclass(frozen=True)
class PieceInWork:
    """What a worker has claimed. `chunk`: the next one that its lane commits, None on lanes that make none. `step` of
    `steps`: None before the first one is reported. `seconds` since the claim, by the store's clock."""

    job_id: str
    lane: Lane
    chunk: int | None
    step: int | None
    steps: int | None
    seconds: float


@dataclass(frozen=True)
class Made:
    """Chunks that were committed, those made again included, with their frames and the seconds that they play."""

    chunks: int = 0
    frames: int = 0
    video_seconds: float = 0.0

    def __add__(self, other: Made) -> Made:
        return Made(self.chunks + other.chunks, self.frames + other.frames, self.video_seconds + other.video_seconds)


@dataclass(frozen=True)
class MadeLately:
    """What was made within the last `seconds`, by lane (generate, refine) and model."""

    seconds: float
    by_lane: Mapping[tuple[Lane, str], Made]


@dataclass(frozen=True)
class Totals:
    """How many jobs are stored, and webhooks to be sent, retries included."""

    jobs: Mapping[JobStatus, int]
    pending_webhooks: int


class WorkReads(Protocol):
    """Part of ports.JobStore. Raises StoreError. None of these reads a record."""

    def totals(self) -> Totals:
        """One round trip."""
        ...

    def waiting(self) -> Sequence[WaitingJobs]:
        """Of every queue that ever had a job. Two round trips, O(log n) in jobs."""
        ...

    def in_work(self, workers: Sequence[str]) -> Mapping[str, PieceInWork]:
        """What each of these workers is making, without those that make nothing: the name of a process, or of one of
        its threads. Two round trips."""
        ...

    def made_lately(self) -> MadeLately:
        """What was committed within the last 60 to 70 seconds (core.service.domain.rates). One round trip."""
        ...
