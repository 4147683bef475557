"""The event log port."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.service.domain.schema import JobEvent, StepProgress


@dataclass(frozen=True)
class LogPosition:
    """Up to where one job's log was read, and (opaque) the reports of its lanes."""

    event: str
    reports: str


@dataclass(frozen=True)
class JobUpdates:
    """What happened to one job after a position; `position` is the one to go on from."""

    job_id: str
    events: Sequence[JobEvent]
    progress: Sequence[StepProgress]
    position: LogPosition


class EventLog(Protocol):
    """The append-only logs of jobs. Appending is the store's, inside its transaction.

    An entry that cannot be read is passed over: it must not keep a reader from the rest.
    """

    def read(self, job_id: str, after: str = "0-0", limit: int = 1000) -> Sequence[JobEvent]: ...

    def newest(self, job_ids: Collection[str]) -> Mapping[str, LogPosition]:
        """Where these jobs stand now; "0-0" where there is nothing yet. Does not wait."""
        ...

    def follow(self, positions: Mapping[str, LogPosition], timeout_seconds: float) -> Sequence[JobUpdates]:
        """Block until something happens to one of these jobs after its position, or the time is up.

        `positions` maps job ids. Of a lane's progress only the last report is there."""
        ...

    def stopped(self, job_ids: Collection[str]) -> Sequence[str]:
        """Those of these jobs on which no worker goes on: ended, deleted, unknown, or being cancelled. Cheap."""
        ...
