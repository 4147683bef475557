"""What the job store tells about jobs for their clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from core.service.domain.capacity import PoolDemand
from core.service.domain.ports.job_values import JobCounts, JobPage, LiveStatus, Look
from core.service.domain.schema import JobRecord, JobStatus


class JobReads(Protocol):
    """Part of ports.JobStore."""

    def look(self, job_id: str) -> Look:
        """The job as its clients see it at one moment. One round trip."""
        ...

    def looks(self, job_ids: Sequence[str]) -> Sequence[Look | None]:
        """`look` at each, in order; None where it must be called alone, for example because there is no such job. One
        round trip."""
        ...

    def marks(self, job_ids: Sequence[str]) -> Sequence[str | None]:
        """`look(job_id).mark` of each, in order, without reading the records; None if that cannot be told, for example
        because there is no such job. One round trip."""
        ...

    def list(
        self,
        *,
        owner: str | None = None,
        status: JobStatus | None = None,
        limit: int = 20,
        cursor: str | None = None,
        oldest_first: bool = False,
    ) -> JobPage:
        """A page of jobs, newest first unless the oldest are wanted first: of one owner (JobRecord.owner), or of all.
        Raises InvalidField for an invalid cursor."""
        ...

    def live_statuses(self, records: Sequence[JobRecord]) -> Sequence[LiveStatus]:
        """Progress and queue position of each of these jobs, in order. One round trip for all."""
        ...

    def count_active(self) -> int: ...

    def counts(self, models: Sequence[str]) -> JobCounts:
        """How many jobs of each kind there are; `queued` has these models and all that ever had a job. Two round trips,
        O(log n) in jobs."""
        ...

    def pool_demands(self) -> Sequence[PoolDemand]:
        """The open work of every pool that ever had any, sorted by name. Two round trips, O(pools)."""
        ...
