"""ports.EventLog in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from core.service.domain import transitions
from core.service.domain.ports import JobUpdates, LogPosition
from core.service.domain.schema import LANES_WITH_STEPS, JobEvent
from core.service.testing.job_store import FakeJobStore


class FakeEventLog:
    """ports.EventLog over a FakeJobStore. Ids are 1-0, 2-0, ..."""

    def __init__(self, store: FakeJobStore) -> None:
        self._memory = store.memory

    def read(self, job_id: str, after: str = "0-0", limit: int = 1000) -> Sequence[JobEvent]:
        with self._memory.changed:
            log = self._memory.events.get(job_id, [])
            return [event for event in log if _order(event.id) > _order(after)][:limit]

    def newest(self, job_ids: Collection[str]) -> Mapping[str, LogPosition]:
        with self._memory.changed:
            return {job_id: self._position(job_id) for job_id in job_ids}

    def follow(self, positions: Mapping[str, LogPosition], timeout_seconds: float) -> Sequence[JobUpdates]:
        with self._memory.changed:

            def updates() -> list[JobUpdates]:
                found = [self._updates(job_id, position) for job_id, position in positions.items()]
                return [one for one in found if one.events or one.progress]

            return self._memory.changed.wait_for(updates, timeout_seconds) or []

    def stopped(self, job_ids: Collection[str]) -> Sequence[str]:
        with self._memory.changed:
            records = {job_id: self._memory.records.get(job_id) for job_id in job_ids}
        return [job_id for job_id, record in records.items() if record is None or transitions.should_stop(record)]

    def _position(self, job_id: str) -> LogPosition:
        log = self._memory.events.get(job_id, [])
        return LogPosition(log[-1].id if log else "0-0", str(self._memory.num_reports))

    def _updates(self, job_id: str, position: LogPosition) -> JobUpdates:
        events = self.read(job_id, position.event)
        latest = [self._memory.progress.get((job_id, lane)) for lane in LANES_WITH_STEPS]
        new = [entry for entry in latest if entry is not None and entry[0] > int(position.reports)]
        reports = max((number for number, _ in new), default=int(position.reports))
        after = LogPosition(events[-1].id if events else position.event, str(reports))
        return JobUpdates(job_id, events, [report for _, report in new], after)


def _order(event_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in event_id.split("-"))
