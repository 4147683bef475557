"""The state of the in-memory job store, and how transitions change it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.service.domain.errors import JobNotFound, shortened
from core.service.domain.ports import Clock, Delivery, Lease
from core.service.domain.schema import JobEvent, JobRecord, Lane, StepProgress
from core.service.domain.transitions import Transition
from core.service.records.job_order import index_member
from core.service.records.transition_store import TransitionStore
from core.service.testing.clock import FakeClock

RETENTION_SECONDS = 7 * 86400.0


@dataclass
class Memory:
    """What the real store keeps in Redis. `changed` is its lock, and notifies readers of the event log."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    records: dict[str, JobRecord] = field(default_factory=lambda: {})
    events: dict[str, list[JobEvent]] = field(default_factory=lambda: {})
    progress: dict[tuple[str, Lane], tuple[int, StepProgress]] = field(default_factory=lambda: {})
    leases: dict[tuple[str, Lane], tuple[int, datetime]] = field(default_factory=lambda: {})
    rests: dict[tuple[str, Lane], datetime] = field(default_factory=lambda: {})
    claims: dict[str, Lease] = field(default_factory=lambda: {})
    """The last claim of each worker."""
    tombstones: dict[str, datetime] = field(default_factory=lambda: {})
    announced: dict[str, datetime] = field(default_factory=lambda: {})
    unswept: set[str] = field(default_factory=lambda: set())
    stale_manifests: dict[str, int] = field(default_factory=lambda: {})
    commits: int = 0
    deliveries: dict[tuple[str, str], Delivery] = field(default_factory=lambda: {})
    due: dict[tuple[str, str], datetime] = field(default_factory=lambda: {})
    num_reports: int = 0


class MemoryStore(TransitionStore):
    """Reads and changes records in a Memory; the base of FakeJobStore."""

    def __init__(self, clock: Clock | None = None, *, retention_seconds: float = RETENTION_SECONDS) -> None:
        super().__init__(clock or FakeClock(), retention_seconds)
        self.memory = Memory()

    def get(self, job_id: str) -> JobRecord:
        with self.memory.changed:
            record = self.memory.records.get(job_id)
        if record is None or record.delete_requested:
            raise JobNotFound(f"there is no job {shortened(job_id, 64)}")
        return record

    def lease_alive(self, job_id: str, lane: Lane) -> bool:
        with self.memory.changed:
            lease = self.memory.leases.get((job_id, lane))
            return lease is not None and lease[1] > self._clock.now()

    def _rests(self, job_id: str, lane: Lane) -> bool:
        until = self.memory.rests.get((job_id, lane))
        return until is not None and until > self._clock.now()

    def _sorted(self) -> Sequence[JobRecord]:
        """Oldest first."""
        with self.memory.changed:
            return sorted(self.memory.records.values(), key=index_member)

    def _put_new(self, transition: Transition) -> bool:
        with self.memory.changed:
            if transition.record.id in self.memory.records:
                return False
            self._apply(transition)
            return True

    def _change(self, job_id: str, change: Callable[[JobRecord], Transition]) -> JobRecord:
        with self.memory.changed:
            return self._apply(change(self.get(job_id)))

    def _apply(self, transition: Transition) -> JobRecord:
        memory, record = self.memory, transition.record
        before = memory.records.get(record.id)
        if record.revision != (before.revision if before else 0):
            memory.stale_manifests[record.id] = record.revision
        memory.records[record.id] = record
        memory.announced.pop(record.id, None)
        if record.status.is_terminal and not (before and before.status.is_terminal):
            memory.unswept.add(record.id)
        memory.commits += transition.is_commit
        if transition.tombstone_until is not None:
            memory.tombstones[record.id] = transition.tombstone_until
        log = memory.events.setdefault(record.id, [])
        for event in transition.events:
            log.append(
                JobEvent(id=f"{len(log) + 1}-0", type=event.type, job_id=record.id, at=event.at, data=event.data)
            )
        for delivery in transition.deliveries:
            memory.deliveries[record.id, delivery.id] = delivery
            memory.due[record.id, delivery.id] = delivery.next_attempt_at or delivery.created_at
        for lane in transition.cleared_progress:
            memory.progress.pop((record.id, lane), None)
        if transition.released is not None:
            memory.leases.pop((record.id, transition.released), None)
            rest = timedelta(seconds=transition.rest_seconds)
            memory.rests[record.id, transition.released] = self._clock.now() + rest
        memory.changed.notify_all()
        return record
