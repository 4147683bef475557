"""The state of the in-memory job store, and how transitions change it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import JobNotFound, shortened
from core.service.domain.manifest import PAGE_CHUNKS, ChunkPage, full_pages
from core.service.domain.ports import Clock, Delivery, Lease, Made
from core.service.domain.ports.outbox import place_of
from core.service.domain.scheduling import Policy, Pool
from core.service.domain.schema import LANES_OF_ANY_MODEL, ChunkRecord, JobEvent, JobRecord, Lane, StepProgress, Variant
from core.service.domain.transitions import KEPT_EVENTS, Transition, made_in
from core.service.domain.transitions.entries import entry_of
from core.service.domain.webhooks import CHUNK_EVENTS, KEPT_PENDING
from core.service.records.job_order import index_member
from core.service.records.transition_store import TransitionStore
from core.service.testing.clock import FakeClock
from core.service.testing.usage import FakeUsage

RETENTION_SECONDS = 7 * 86400.0
DEFAULT_POLICY = Policy()


@dataclass
class Memory:
    """What the real store keeps in Redis. `changed` is its lock, and notifies readers of the event log."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    records: dict[str, JobRecord] = field(default_factory=lambda: {})
    events: dict[str, list[JobEvent]] = field(default_factory=lambda: {})
    chunks: dict[tuple[str, Variant], list[ChunkRecord]] = field(default_factory=lambda: {})
    stale_pages: dict[str, dict[ChunkPage, int]] = field(default_factory=lambda: {})
    """By job, whole pages of chunks that are not stored, with the revision that changed them."""
    progress: dict[tuple[str, Lane], tuple[int, StepProgress]] = field(default_factory=lambda: {})
    leases: dict[tuple[str, Lane], tuple[int, datetime]] = field(default_factory=lambda: {})
    rests: dict[tuple[str, Lane], datetime] = field(default_factory=lambda: {})
    claims: dict[str, Lease] = field(default_factory=lambda: {})
    """The last claim of each worker."""
    claimed_at: dict[str, datetime] = field(default_factory=lambda: {})
    made: list[tuple[float, tuple[Lane, str], Made]] = field(default_factory=lambda: [])
    """What each commit has made, by time, lane and model."""
    tombstones: dict[str, datetime] = field(default_factory=lambda: {})
    announced: dict[str, datetime] = field(default_factory=lambda: {})
    unswept: set[str] = field(default_factory=lambda: set())
    stale_manifests: dict[str, int] = field(default_factory=lambda: {})
    commits: int = 0
    pools: dict[str, Pool] = field(default_factory=lambda: {})
    """By model, or lane of any model."""
    used_pools: set[str] = field(default_factory=lambda: set())
    """Those of them that ever had work."""
    deliveries: dict[tuple[str, str], Delivery] = field(default_factory=lambda: {})
    due: dict[tuple[str, str], datetime] = field(default_factory=lambda: {})
    dropped: Counter[str] = field(default_factory=lambda: Counter())
    """By job, number of ended deliveries that are not kept."""
    held_until: dict[str, datetime] = field(default_factory=lambda: {})
    """By id of a delivery that a sender has taken."""
    given_up: dict[str, list[str]] = field(default_factory=lambda: {})
    """By job, ids of deliveries that were not kept although they waited."""
    disabled_webhooks: set[str] = field(default_factory=lambda: set())
    """Jobs whose receiver wants no more."""
    num_reports: int = 0


class MemoryStore(TransitionStore):
    """Reads and changes records in a Memory; the base of FakeJobStore."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        retention_seconds: float = RETENTION_SECONDS,
        policy: Policy = DEFAULT_POLICY,
    ) -> None:
        super().__init__(clock or FakeClock(), retention_seconds)
        self._policy = policy
        self.memory = Memory()
        self.usage = FakeUsage(self._clock)

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

    def _put_new(self, transition: Transition, limits: KeyLimits | None = None) -> bool:
        with self.memory.changed:
            if transition.record.id in self.memory.records:
                return False
            self.usage.require_room(None, transition.record, limits)
            self._apply(transition)
            return True

    def _change(
        self, job_id: str, change: Callable[[JobRecord], Transition], limits: KeyLimits | None = None
    ) -> JobRecord:
        with self.memory.changed:
            before = self.get(job_id)
            transition = change(before)
            if transition.record is not before:
                self.usage.require_room(before, transition.record, limits)
            return self._apply(transition)

    def _apply(self, transition: Transition) -> JobRecord:
        memory, record = self.memory, transition.record
        before = memory.records.get(record.id)
        if record.revision != (before.revision if before else 0):
            memory.stale_manifests[record.id] = record.revision
        memory.records[record.id] = record
        self._schedule(before, transition)
        memory.announced.pop(record.id, None)
        if record.status.is_terminal and not (before and before.status.is_terminal):
            memory.unswept.add(record.id)
        if not record.status.is_terminal:
            memory.unswept.discard(record.id)
        memory.commits += transition.is_commit
        at, model = self._clock.now().timestamp(), record.spec.model
        memory.made += [(at, (lane, model), made) for lane, made in made_in(transition).items()]
        if transition.tombstone_until is not None:
            memory.tombstones[record.id] = transition.tombstone_until
        self.usage.write(before, record)
        self._write_chunks(transition)
        self._append_events(transition)
        for delivery in transition.deliveries:
            memory.deliveries[record.id, delivery.id] = delivery
            memory.due[record.id, delivery.id] = delivery.next_attempt_at or delivery.created_at
            if delivery.event_type in CHUNK_EVENTS:
                self._bound_deliveries(record.id)
        for lane in transition.cleared_progress:
            memory.progress.pop((record.id, lane), None)
        for lane in transition.revoked:
            memory.leases.pop((record.id, lane), None)
            memory.rests.pop((record.id, lane), None)
        if transition.released is not None:
            memory.leases.pop((record.id, transition.released), None)
            rest = timedelta(seconds=transition.rest_seconds)
            memory.rests[record.id, transition.released] = self._clock.now() + rest
        memory.changed.notify_all()
        return record

    def _schedule(self, before: JobRecord | None, transition: Transition) -> None:
        """As redis.schedule.write: who has joined and left the pools, and who is charged for a claim."""
        after, now = transition.record, self._clock.now().timestamp()
        for lane in Lane:
            old, new = before and entry_of(before, lane), entry_of(after, lane)
            pool, was, is_now = self._pool(lane, after.spec.model), before and before.lane(lane), after.lane(lane)
            if new is not None and old is None:
                self.memory.used_pools.add(pool_name(lane, after.spec.model))
                pool.join(new.owner)
            if new is not None and is_now.held and not (was and was.held and was.token == is_now.token):
                pool.claim(new, now, is_made=transition.has_made(lane))
                if lane is Lane.GENERATE and old is not None and new.begun and not old.begun:
                    pool.begin(*self._begun_and_new(after.spec.model))
            elif new is None or not is_now.held:
                pool.settle((after.id, lane), now, is_made=transition.has_made(lane))
            if old is not None and new is None:
                pool.leave(old.owner)

    def _begun_and_new(self, model: str) -> tuple[int, int]:
        """Jobs of the generate lane of a model, claimed or not."""
        of_model = [record for record in self.memory.records.values() if record.spec.model == model]
        begun = [entry.begun for record in of_model if (entry := entry_of(record, Lane.GENERATE)) is not None]
        return sum(begun), len(begun) - sum(begun)

    def _leave_pools(self, record: JobRecord) -> None:
        for lane in Lane:
            pool = self._pool(lane, record.spec.model)
            if entry := entry_of(record, lane):
                pool.settle(entry.key, self._clock.now().timestamp(), is_made=False)
                pool.leave(entry.owner)

    def _pool(self, lane: Lane, model: str) -> Pool:
        return self.memory.pools.setdefault(pool_name(lane, model), Pool())

    def _bound_deliveries(self, job_id: str) -> None:
        """As outbox_scripts.BOUND."""
        memory = self.memory
        pending = sorted((key[1] for key in memory.due if key[0] == job_id), key=place_of)
        of_chunks = [row for row in pending[1:] if memory.deliveries[job_id, row].event_type in CHUNK_EVENTS]
        for delivery_id in of_chunks[: max(0, len(pending) - KEPT_PENDING)]:
            del memory.due[job_id, delivery_id], memory.deliveries[job_id, delivery_id]
            memory.given_up.setdefault(job_id, []).append(delivery_id)

    def _write_chunks(self, transition: Transition) -> None:
        record = transition.record
        for write in transition.chunks:
            listed = self.memory.chunks.setdefault((record.id, write.variant), [])
            listed[write.chunk.index : write.chunk.index + 1] = [write.chunk]
            page = ChunkPage(write.variant, write.chunk.index // PAGE_CHUNKS)
            if page.number < full_pages(record.totals(write.variant)):
                self.memory.stale_pages.setdefault(record.id, {})[page] = record.revision

    def _append_events(self, transition: Transition) -> None:
        """As in Redis: entry n of the log has id n-0, and only the newest are kept."""
        record, log = transition.record, self.memory.events.setdefault(transition.record.id, [])
        first = (record.num_events or 0) - len(transition.events) + 1
        log += [
            JobEvent(id=f"{number}-0", type=event.type, job_id=record.id, at=event.at, data=event.data)
            for number, event in enumerate(transition.events, first)
        ]
        del log[:-KEPT_EVENTS]


def pool_name(lane: Lane, model: str) -> str:
    return lane.value if lane in LANES_OF_ANY_MODEL else model
