"""The event log port: reading and following the logs of jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.service.domain.schema import JobEvent, StepProgress


@dataclass(frozen=True)
class LogPosition:
    """Position in one job's event log, and (opaque) in the progress reports of its lanes."""

    event: str
    reports: str


@dataclass(frozen=True)
class JobUpdates:
    """What happened to one job after a position; `position` is the one to continue from."""

    job_id: str
    events: Sequence[JobEvent]
    progress: Sequence[StepProgress]
    position: LogPosition


class EventLog(Protocol):
    """Reads the append-only logs of jobs. The job store appends, inside its transactions.

    An unreadable entry is skipped, so that it does not block the entries after it.
    """

    def read(self, job_id: str, after: str = "0-0", limit: int = 1000) -> Sequence[JobEvent]: ...

    def newest(self, job_ids: Collection[str]) -> Mapping[str, LogPosition]:
        """Current end of these jobs' logs; "0-0" for an empty log. Does not block."""
        ...

    def follow(self, positions: Mapping[str, LogPosition], timeout_seconds: float) -> Sequence[JobUpdates]:
        """Block until something happens to one of these jobs after its position, or until the timeout.

        `positions` is by job id. Of a lane's progress only the last report is kept."""
        ...

    def stopped(self, job_ids: Collection[str]) -> Sequence[str]:
        """Those of these jobs that no worker continues: ended, deleted, unknown or canceling. Cheap."""
        ...
