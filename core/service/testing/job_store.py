"""ports.JobStore in memory. It applies the same pure transitions as the real one, and one suite tests both:
tests/helpers/store_contract.py."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.service.domain import transitions
from core.service.domain.errors import (
    JobNotFound,
    JobStateConflict,
    shortened,
)
from core.service.domain.ports import (
    Clock,
    Delivery,
    JobPage,
    Lease,
    LiveStatus,
    QueuedWork,
)
from core.service.domain.schema import (
    LANES_OF_ANY_MODEL,
    JobEvent,
    JobRecord,
    JobStatus,
    Lane,
    StepProgress,
)
from core.service.domain.transitions import Transition
from core.service.records.job_order import cursor_from_member, index_member, member_from_cursor
from core.service.records.transition_store import TransitionStore
from core.service.testing.clock import FakeClock

FAKE_RETENTION_SECONDS = 7 * 86400.0


@dataclass
class Memory:
    """All that the real store keeps in Redis. `changed` guards it and wakes followers of the log."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    records: dict[str, JobRecord] = field(default_factory=lambda: {})
    events: dict[str, list[JobEvent]] = field(default_factory=lambda: {})
    progress: dict[tuple[str, Lane], tuple[int, StepProgress]] = field(default_factory=lambda: {})
    leases: dict[tuple[str, Lane], tuple[int, datetime]] = field(default_factory=lambda: {})
    rests: dict[tuple[str, Lane], datetime] = field(default_factory=lambda: {})
    claims: dict[str, Lease] = field(default_factory=lambda: {})
    """What each worker claimed last."""
    tombstones: dict[str, datetime] = field(default_factory=lambda: {})
    announced: dict[str, datetime] = field(default_factory=lambda: {})
    unswept: set[str] = field(default_factory=lambda: set())
    stale_manifests: dict[str, int] = field(default_factory=lambda: {})
    commits: int = 0
    deliveries: dict[tuple[str, str], Delivery] = field(default_factory=lambda: {})
    due: dict[tuple[str, str], datetime] = field(default_factory=lambda: {})
    num_reports: int = 0


class FakeJobStore(TransitionStore):
    """ports.JobStore in memory. FakeEventLog and FakeOutbox show the rest of what it writes."""

    def __init__(self, clock: Clock | None = None, *, retention_seconds: float = FAKE_RETENTION_SECONDS) -> None:
        super().__init__(clock or FakeClock(), retention_seconds)
        self.memory = Memory()

    def ping(self) -> None: ...

    def begin_create(self, job_id: str) -> None:
        self.memory.announced[job_id] = self._clock.now()

    def unfinished_creates(self, moment: datetime) -> Sequence[str]:
        return [job_id for job_id, at in self.memory.announced.items() if at <= moment]

    def forget_create(self, job_id: str) -> None:
        self.memory.announced.pop(job_id, None)

    def create(self, record: JobRecord) -> JobRecord:
        transition = transitions.create(record)
        if not self._put_new(transition) and not transitions.is_same_job(self.get(record.id), record):
            raise JobStateConflict(f"{record.id} exists already")
        return transition.record

    def restore(self, record: JobRecord) -> bool:
        return not self.has_tombstone(record.id) and self._put_new(transitions.restore(record))

    def get(self, job_id: str) -> JobRecord:
        with self.memory.changed:
            record = self.memory.records.get(job_id)
        if record is None or record.delete_requested:
            raise JobNotFound(f"there is no job {shortened(job_id, 64)}")
        return record

    def list(self, *, status: JobStatus | None = None, limit: int = 20, cursor: str | None = None) -> JobPage:
        before = None if cursor is None else member_from_cursor(cursor)
        listed = [
            record
            for record in reversed(self._sorted())
            if not record.delete_requested
            and status in {None, record.status}
            and (before is None or index_member(record) < before)
        ]
        more = len(listed) > limit
        return JobPage(listed[:limit], cursor_from_member(index_member(listed[limit - 1])) if more else None)

    def active(self) -> Sequence[JobRecord]:
        return [record for record in self._sorted() if record.delete_requested or not record.status.is_terminal]

    def expired(self, now: datetime) -> Sequence[JobRecord]:
        ended = [record for record in self._sorted() if not record.delete_requested]
        return [record for record in ended if record.expires_at is not None and record.expires_at <= now]

    def deleted(self) -> Sequence[JobRecord]:
        return [record for record in self._sorted() if record.delete_requested]

    def abandoned_cancels(self) -> Sequence[JobRecord]:
        canceling = [record for record in self._sorted() if record.status is JobStatus.CANCELING]
        return [record for record in canceling if not any(self.lease_alive(record.id, lane) for lane in Lane)]

    def queued_work(self) -> Sequence[QueuedWork]:
        queues = {(lane, queue_model) for record in self._sorted() for lane, queue_model in _queues(record)}
        heads = [(lane, self.next_ready(lane, model)) for lane, model in sorted(queues)]
        return [QueuedWork(lane, self.get(job_id)) for lane, job_id in heads if job_id is not None]

    def next_ready(self, lane: Lane, model: str) -> str | None:
        return next((record.id for record in self._free(lane, model)), None)

    def ready(self, lane: Lane, model: str, limit: int) -> Sequence[str]:
        return [record.id for record in self._free(lane, model)][:limit]

    def count_prepared(self, model: str, limit: int) -> int:
        ahead = [r for r in self._sorted() if r.spec.model == model and transitions.is_prepared_ahead(r)]
        return min(len(ahead), limit)

    def reindex(self) -> int:
        return 0

    def claim_next(self, lane: Lane, model: str, worker: str, ttl_seconds: float) -> Lease | None:
        leases = (self.claim(record.id, lane, worker, ttl_seconds) for record in self._free(lane, model))
        return next((lease for lease in leases if lease is not None), None)

    def _free(self, lane: Lane, model: str) -> Sequence[JobRecord]:
        """Jobs that want the lane and that nobody works on, in order."""
        found = [
            record
            for record in self._sorted()
            if transitions.wants(record, lane)
            and (lane in LANES_OF_ANY_MODEL or record.spec.model == model)
            and not self.lease_alive(record.id, lane)
            and not self._rests(record.id, lane)
        ]
        return sorted(found, key=lambda record: (transitions.rank(record), index_member(record)))

    def claim(self, job_id: str, lane: Lane, worker: str, ttl_seconds: float) -> Lease | None:
        with self.memory.changed:
            record = self.get(job_id)
            if self.lease_alive(job_id, lane) or self._rests(job_id, lane) or not transitions.wants(record, lane):
                return None
            now = self._clock.now()
            claimed = self._apply(transitions.claim(record, lane, now, self.memory.commits))
            state = claimed.lane(lane)
            self.memory.leases[job_id, lane] = (state.token, now + timedelta(seconds=ttl_seconds))
            lease = Lease(job_id, lane, state.token, worker, transitions.is_poison(state))
            self.memory.claims[worker] = lease
            return lease

    def renew(self, lease: Lease, ttl_seconds: float) -> bool:
        with self.memory.changed:
            record = self.memory.records.get(lease.job_id)
            state = record.lane(lease.lane) if record and not record.delete_requested else None
            if state is None or not state.held or state.token != lease.token:
                return False
            until = self._clock.now() + timedelta(seconds=ttl_seconds)
            self.memory.leases[lease.job_id, lease.lane] = (lease.token, until)
            return True

    def release(self, lease: Lease, *, count_attempt: bool, rest_seconds: float = 0.0) -> None:
        with self.memory.changed:
            record = self.memory.records.get(lease.job_id)
            given_back = record and transitions.release(
                record, lease, count_attempt=count_attempt, rest_seconds=rest_seconds
            )
            if given_back:
                self._apply(given_back)

    def release_of_worker(self, worker: str) -> Lease | None:
        with self.memory.changed:
            lease = self.memory.claims.pop(worker, None)
            record = self.memory.records.get(lease.job_id) if lease else None
            if lease is None or record is None:
                return None
            freed = transitions.abandon(record, lease.lane, lease.token, self.memory.commits)
            return lease if freed and self._apply(freed) else None

    def lease_alive(self, job_id: str, lane: Lane) -> bool:
        with self.memory.changed:
            lease = self.memory.leases.get((job_id, lane))
            return lease is not None and lease[1] > self._clock.now()

    def _rests(self, job_id: str, lane: Lane) -> bool:
        until = self.memory.rests.get((job_id, lane))
        return until is not None and until > self._clock.now()

    def cancel_requested(self, job_id: str) -> bool:
        with self.memory.changed:
            record = self.memory.records.get(job_id)
        return record is None or transitions.should_stop(record)

    def purge(self, job_id: str) -> None:
        memory = self.memory
        with memory.changed:
            for table in (memory.records, memory.events):
                table.pop(job_id, None)
            memory.progress = {key: told for key, told in memory.progress.items() if key[0] != job_id}
            memory.leases = {key: held for key, held in memory.leases.items() if key[0] != job_id}
            memory.deliveries = {key: row for key, row in memory.deliveries.items() if key[0] != job_id}
            memory.due = {key: at for key, at in memory.due.items() if key[0] != job_id}
            memory.rests = {key: at for key, at in memory.rests.items() if key[0] != job_id}
            memory.stale_manifests.pop(job_id, None)
            memory.unswept.discard(job_id)

    def add_tombstone(self, job_id: str, until: datetime) -> None:
        self.memory.tombstones[job_id] = until

    def has_tombstone(self, job_id: str) -> bool:
        return job_id in self.memory.tombstones

    def has_all_records(self) -> bool:
        return True

    def orphaned_job_ids(self) -> Sequence[str]:
        return sorted({job_id for job_id in self.memory.events if job_id not in self.memory.records})

    def expired_tombstones(self, now: datetime) -> Sequence[str]:
        return [job_id for job_id, until in self.memory.tombstones.items() if until <= now]

    def remove_tombstone(self, job_id: str) -> None:
        self.memory.tombstones.pop(job_id, None)

    def manifest_stored(self, record: JobRecord) -> JobRecord | None:
        with self.memory.changed:
            if self.has_tombstone(record.id):
                raise JobNotFound(f"there is no job {record.id}")
            newest = self.memory.records.get(record.id, record)
            if newest.revision > record.revision:
                self.memory.stale_manifests[record.id] = newest.revision
                return newest
            self.memory.stale_manifests.pop(record.id, None)
            return None

    def cleanup_pending(self, limit: int) -> Sequence[JobRecord]:
        with self.memory.changed:
            return [self.memory.records[job_id] for job_id in sorted(self.memory.unswept)[:limit]]

    def request_cleanup(self, job_id: str) -> None:
        self.memory.unswept.add(job_id)

    def cleanup_done(self, job_id: str) -> None:
        self.memory.unswept.discard(job_id)

    def stale_manifests(self) -> Sequence[JobRecord]:
        with self.memory.changed:
            return [self.memory.records[job_id] for job_id in self.memory.stale_manifests]

    def report_progress(self, job_id: str, progress: StepProgress) -> None:
        with self.memory.changed:
            if job_id in self.memory.records:
                self.memory.num_reports += 1
                self.memory.progress[job_id, progress.lane] = (self.memory.num_reports, progress)
                self.memory.changed.notify_all()

    def live_statuses(self, records: Sequence[JobRecord]) -> Sequence[LiveStatus]:
        return [LiveStatus(self._steps(record), self._place(record)) for record in records]

    def _steps(self, record: JobRecord) -> Mapping[Lane, StepProgress]:
        reported = {lane: self._progress(record.id, lane) for lane in transitions.lanes_with_progress(record)}
        return {lane: step for lane, step in reported.items() if step is not None}

    def _progress(self, job_id: str, lane: Lane) -> StepProgress | None:
        with self.memory.changed:
            return self.memory.progress.get((job_id, lane), (0, None))[1]

    def _place(self, record: JobRecord) -> int | None:
        queued = [r.id for r in self._sorted() if r.status is JobStatus.QUEUED and r.spec.model == record.spec.model]
        return queued.index(record.id) + 1 if record.id in queued else None

    def count_active(self) -> int:
        return sum(not record.status.is_terminal for record in self._sorted())

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


def _queues(record: JobRecord) -> list[tuple[Lane, str]]:
    return [(lane, record.spec.model) for lane in Lane if transitions.wants(record, lane)]
