"""In-memory twins of every port, with the same contract: for tests, and for trying the service without servers.

The job store applies the same pure transitions as the real one; tests/integration/test_store_contract.py runs one suite
over both. The engine draws a moving square, without torch.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.service.domain import transitions
from core.service.domain.engine import EngineChunk, EngineState, FrameHWC, FramesTHWC, InputMedia, OnStep
from core.service.domain.errors import (
    JobNotFound,
    JobStateConflict,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageError,
    UploadNotFound,
    shortened,
)
from core.service.domain.frame_plan import CHUNK_FRAMES, chunk_span, published_by, refinement_windows
from core.service.domain.ports import (
    Clock,
    Delivery,
    Discarded,
    JobPage,
    JobUpdates,
    Lease,
    LiveStatus,
    LogPosition,
    ObjectPart,
    QueuedWork,
    StoredObject,
    WorkerStatus,
)
from core.service.domain.refiner import RefinedWindow, RefineState
from core.service.domain.schema import (
    LANES_OF_ANY_MODEL,
    LANES_WITH_STEPS,
    JobEvent,
    JobRecord,
    JobSpec,
    JobStatus,
    Lane,
    StepProgress,
)
from core.service.domain.transitions import Transition
from core.service.domain.uploads import Upload
from core.service.media.crop import crop_and_resize
from core.service.records.job_order import cursor_from_member, index_member, member_from_cursor
from core.service.records.transition_store import TransitionStore
from core.service.redis import queue

FAKE_START = datetime(2026, 1, 1, tzinfo=UTC)
FAKE_RETENTION_SECONDS = 7 * 86400.0
PIECE_BYTES = 1000
"""FakeStorage gives objects in pieces as small as this, so that tests meet more than one."""


class FakeClock:
    """Stands still until told to advance."""

    def __init__(self, now: datetime = FAKE_START) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@dataclass
class _Memory:
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
        self.memory = _Memory()

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

    def progress(self, job_id: str, lane: Lane) -> StepProgress | None:
        with self.memory.changed:
            return self.memory.progress.get((job_id, lane), (0, None))[1]

    def queue_position(self, job_id: str) -> int | None:
        return self._place(self.get(job_id))

    def live_statuses(self, records: Sequence[JobRecord]) -> Sequence[LiveStatus]:
        return [LiveStatus(self._steps(record), self._place(record)) for record in records]

    def _steps(self, record: JobRecord) -> Mapping[Lane, StepProgress]:
        told = {lane: self.progress(record.id, lane) for lane in transitions.lanes_with_progress(record)}
        return {lane: step for lane, step in told.items() if step is not None}

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

            def news() -> list[JobUpdates]:
                found = [self._news(job_id, position) for job_id, position in positions.items()]
                return [one for one in found if one.events or one.progress]

            return self._memory.changed.wait_for(news, timeout_seconds) or []

    def stopped(self, job_ids: Collection[str]) -> Sequence[str]:
        with self._memory.changed:
            records = {job_id: self._memory.records.get(job_id) for job_id in job_ids}
        return [job_id for job_id, record in records.items() if record is None or transitions.should_stop(record)]

    def _position(self, job_id: str) -> LogPosition:
        log = self._memory.events.get(job_id, [])
        return LogPosition(log[-1].id if log else "0-0", str(self._memory.num_reports))

    def _news(self, job_id: str, position: LogPosition) -> JobUpdates:
        events = self.read(job_id, position.event)
        told = [self._memory.progress.get((job_id, lane)) for lane in LANES_WITH_STEPS]
        new = [entry for entry in told if entry is not None and entry[0] > int(position.reports)]
        reports = max((number for number, _ in new), default=int(position.reports))
        after = LogPosition(events[-1].id if events else position.event, str(reports))
        return JobUpdates(job_id, events, [report for _, report in new], after)


class FakeOutbox:
    """ports.Outbox over a FakeJobStore."""

    def __init__(self, store: FakeJobStore, clock: Clock) -> None:
        self._memory = store.memory
        self._clock = clock
        self._proofs: dict[str, datetime] = {}

    def take_due(self, limit: int, hold_seconds: float) -> Sequence[Delivery]:
        with self._memory.changed:
            now = self._clock.now()
            by_time = sorted((at, key) for key, at in self._memory.due.items() if at <= now)
            heads = [key for _, key in by_time if key == self._head(key[0])]
            taken = [key for key in heads if not self._disable(key)][:limit]
            self._push(taken, hold_seconds)
            return [self._memory.deliveries[key] for key in taken]

    def hold(self, deliveries: Sequence[Delivery], seconds: float) -> Sequence[Delivery]:
        with self._memory.changed:
            due = self._memory.due
            held = [row for row in deliveries if due.get((row.job_id, row.id), "") == self._proofs.get(row.id)]
            self._push([(row.job_id, row.id) for row in held], seconds)
            return held

    def give_back(self, deliveries: Sequence[Delivery], delay_seconds: float = 0.0) -> None:
        self.hold(deliveries, delay_seconds)

    def record(self, delivery: Delivery, delay_seconds: float = 0.0) -> int:
        key = (delivery.job_id, delivery.id)
        with self._memory.changed:
            due = self._memory.due.get(key)
            is_mine = self._proofs.pop(delivery.id, due) == due
            if key in self._memory.deliveries and due is not None and (is_mine or delivery.state != "pending"):
                self._memory.deliveries[key] = delivery
                if delivery.state == "pending":
                    self._memory.due[key] = self._clock.now() + timedelta(seconds=delay_seconds)
                else:
                    del self._memory.due[key]
            head = self._head(delivery.job_id)
            rows = [row.id for row in self.of_job(delivery.job_id)]
            return len(rows) if head is None else rows.index(head[1])

    def _head(self, job_id: str) -> tuple[str, str] | None:
        """The job's first pending delivery."""
        keys = ((job_id, row.id) for row in self.of_job(job_id))
        return next((key for key in keys if key in self._memory.due), None)

    def _disable(self, key: tuple[str, str]) -> bool:
        """Whether the receiver wants no more of this job's."""
        rows = self.of_job(key[0])
        disabled = any(row.state == "disabled" for row in rows)
        if disabled:
            delivery = self._memory.deliveries[key]
            self.record(delivery.model_copy(update={"state": "disabled", "next_attempt_at": None}))
        return disabled

    def _push(self, keys: Sequence[tuple[str, str]], seconds: float) -> None:
        until = self._clock.now() + timedelta(seconds=seconds)
        self._memory.due.update(dict.fromkeys(keys, until))
        self._proofs.update({key[1]: until for key in keys})

    def of_job(self, job_id: str) -> Sequence[Delivery]:
        with self._memory.changed:
            own = [delivery for key, delivery in self._memory.deliveries.items() if key[0] == job_id]
        return sorted(own, key=lambda delivery: delivery.order)


class FakeWorkerRegistry:
    """ports.WorkerRegistry in memory."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or FakeClock()
        self._entries: dict[str, tuple[WorkerStatus, datetime]] = {}

    def report(self, status: WorkerStatus, ttl_seconds: float) -> None:
        self._entries[status.name] = (status, self._clock.now() + timedelta(seconds=ttl_seconds))

    def remove(self, name: str) -> None:
        self._entries.pop(name, None)

    def all(self) -> Sequence[WorkerStatus]:
        now = self._clock.now()
        return [status for _, (status, until) in sorted(self._entries.items()) if until > now]


class FakeStorage:
    """ports.Storage in memory. While `broken` is set, everything raises StorageError."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.content_types: dict[str, str] = {}
        self.broken = False

    def ensure_bucket(self) -> None:
        self.check()

    def check(self) -> None:
        if self.broken:
            raise StorageError("the fake storage is broken")

    def put(self, key: str, data: bytes, content_type: str) -> None:
        self.check()
        self.objects[key] = data
        self.content_types[key] = content_type

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        self.put(key, path.read_bytes(), content_type)

    def get(self, key: str) -> bytes:
        self.check()
        if key not in self.objects:
            raise ObjectNotFound(f"there is no object {key}")
        return self.objects[key]

    def pieces(self, key: str) -> Iterator[bytes]:
        data = self.get(key)
        return (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))

    def look_up(self, key: str) -> StoredObject:
        return StoredObject(size_bytes=len(self.get(key)), content_type=self.content_types[key])

    def exists(self, key: str) -> bool:
        self.check()
        return key in self.objects

    def list(self, prefix: str) -> Iterator[str]:
        self.check()
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def delete(self, keys: Sequence[str]) -> None:
        self.check()
        for key in keys:
            self.objects.pop(key, None)

    def delete_prefix(self, prefix: str) -> int:
        doomed = [*self.list(prefix)]
        for key in doomed:
            del self.objects[key]
        return len(doomed)

    def url(self, key: str, *, download_name: str | None = None) -> str:
        suffix = "" if download_name is None else f"?download={download_name}"
        return f"https://storage.invalid/{key}{suffix}"

    def upload_url(self, key: str, headers: Mapping[str, str], ttl_seconds: int) -> str:
        signed = urlencode({**headers, "expires": ttl_seconds})
        return f"https://storage.invalid/{key}?{signed}"


class FakeObjectReader:
    """ports.ObjectReader over a FakeStorage. `piece_bytes` at a time; `open_now` counts who reads."""

    def __init__(self, storage: FakeStorage, piece_bytes: int = PIECE_BYTES) -> None:
        self._storage = storage
        self._piece_bytes = piece_bytes
        self.open_now = 0

    @asynccontextmanager
    async def open(self, key: str, byte_range: str | None) -> AsyncGenerator[ObjectPart]:
        data = self._storage.get(key)
        first, last = _span_of(byte_range, len(data))
        self.open_now += 1
        try:
            yield ObjectPart(first, last, len(data), byte_range is not None, self._pieces(data[first : last + 1]))
        finally:
            self.open_now -= 1

    async def _pieces(self, data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), self._piece_bytes):
            yield data[start : start + self._piece_bytes]

    async def close(self) -> None:
        """There is nothing to close."""


def _span_of(byte_range: str | None, total_bytes: int) -> tuple[int, int]:
    """First and last byte of a range such as 0-99, 100- or -5. Raises RangeNotSatisfiable."""
    first, _, last = (byte_range or "0-").partition("-")
    if not first:
        return max(0, total_bytes - int(last)), total_bytes - 1
    if int(first) >= total_bytes:
        raise RangeNotSatisfiable(total_bytes)
    return int(first), min(int(last or total_bytes - 1), total_bytes - 1)


class FakeUploadStore:
    """ports.UploadStore in memory."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or FakeClock()
        self._uploads: dict[str, Upload] = {}
        self._unsent: set[str] = set()
        self._discarded: dict[Discarded, datetime] = {}

    def create(self, upload: Upload) -> None:
        self._uploads[upload.id] = upload
        self._unsent.add(upload.id)

    def get(self, upload_id: str) -> Upload:
        if upload_id not in self._uploads:
            raise UploadNotFound(f"there is no upload {upload_id}")
        return self._uploads[upload_id]

    def count(self) -> int:
        return len(self._uploads)

    def older_than(self, moment: datetime) -> Sequence[Upload]:
        old = [upload for upload in self._uploads.values() if upload.created_at < moment]
        return sorted(old, key=lambda upload: upload.created_at)

    def client_key(self) -> bytes:
        return b"a key of tests"

    def count_of(self, client: str) -> int:
        now = self._clock.now()
        return sum(upload.client == client and upload.expires_at > now for upload in self._uploads.values())

    def unsent(self, moment: datetime) -> Sequence[Upload]:
        found = [self._uploads[one] for one in self._unsent]
        return [upload for upload in found if upload.url_expires_at is not None and upload.url_expires_at < moment]

    def sent(self, upload_id: str) -> None:
        self._unsent.discard(upload_id)

    def remove(self, upload_id: str) -> None:
        self._uploads.pop(upload_id, None)
        self._unsent.discard(upload_id)

    def discard(self, upload_id: str, now: datetime, late: datetime) -> None:
        self.get(upload_id)
        self.remove(upload_id)
        self._discarded |= {Discarded(upload_id, late=False): now, Discarded(upload_id, late=True): late}

    def is_discarded(self, upload_id: str) -> bool:
        return any(one.upload_id == upload_id for one in self._discarded)

    def discarded(self, moment: datetime) -> Sequence[Discarded]:
        return [one for one, at in self._discarded.items() if at <= moment]

    def forget_discarded(self, discarded: Discarded) -> None:
        self._discarded.pop(discarded, None)


@dataclass(frozen=True)
class SentMessage:
    """A message as FakeTaskQueue keeps it."""

    task: str
    queue: str
    job_id: str | None = None


class FakeTaskQueue:
    """ports.TaskQueue that keeps what was sent in `messages`; like the real one it lets one message wait in a queue."""

    def __init__(self) -> None:
        self.messages: list[SentMessage] = []

    def wake(self, lane: Lane, model: str, job_id: str) -> None:
        self._send(SentMessage(queue.TASK_OF_LANE[lane], queue.queue_of_lane(lane, model), job_id))

    def deliver_webhooks(self) -> None:
        self._send(SentMessage(queue.TASK_DELIVER_WEBHOOKS, queue.WEBHOOKS_QUEUE))

    def janitor(self) -> None:
        self._send(SentMessage(queue.TASK_JANITOR, queue.JANITOR_QUEUE))

    def take(self) -> SentMessage | None:
        """The oldest message, as a worker would get it."""
        return self.messages.pop(0) if self.messages else None

    def _send(self, message: SentMessage) -> None:
        if all(message.queue != waiting.queue for waiting in self.messages):
            self.messages.append(message)


class FakeEngine:
    """A coloured square that bounces over a grey field, or over what was given. Colour from the prompt, start from the
    seed.

    Its state holds where the square is, so a chunk made without the state before it comes out wrong. `step_seconds`
    stretches each step for those who need to watch or interrupt it.
    """

    def __init__(
        self,
        *,
        steps_per_chunk: int = 4,
        step_seconds: float = 0.0,
        height: int = 64,
        width: int = 64,
        fingerprint: str = "fake-engine-1",
    ) -> None:
        self._steps = steps_per_chunk
        self._step_seconds = step_seconds
        self._height, self._width = height, width
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def warm_up(self) -> None: ...

    def start(self, spec: JobSpec, given: InputMedia) -> EngineState:
        """A given picture, or the last of the given frames, is the field over which the square goes on."""
        arrays: dict[str, NDArray[Any]] = {"phase": np.asarray([spec.seed % 997], dtype=np.int64)}
        if given.image is not None:
            arrays["field"] = crop_and_resize(Image.fromarray(given.image), self._height, self._width)
        if given.frames is not None:
            arrays |= {"given_frames": given.frames, "field": given.frames[-1]}
        return EngineState(0, arrays)

    def next_chunk(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> EngineChunk:
        started = time.perf_counter()
        arrays = dict(state.arrays)
        frames = arrays.pop("given_frames", None)
        if frames is None:
            frames = self._draw(spec, state, on_step)
            arrays["phase"] = arrays["phase"] + 2 * len(frames)
        after = EngineState(state.frames_done + len(frames), arrays)
        return EngineChunk(frames, after, {"denoise": time.perf_counter() - started})

    def _draw(self, spec: JobSpec, state: EngineState, on_step: OnStep) -> FramesTHWC:
        for step in range(self._steps):
            on_step(step, self._steps)
            time.sleep(self._step_seconds)
        span = chunk_span(state.frames_done // CHUNK_FRAMES, spec.num_frames)
        phase = int(state.arrays["phase"][0])
        field = state.arrays.get("field", np.full((self._height, self._width, 3), 96, dtype=np.uint8))
        return np.stack([self._frame(spec, phase + 2 * t, field) for t in range(span.num_frames)])

    def _frame(self, spec: JobSpec, phase: int, field: FrameHWC) -> FrameHWC:
        """One frame: the square's top left corner goes to and fro along both sides, at different periods."""
        side = self._height // 4
        top = _bounce(phase, self._height - side)
        left = _bounce(phase * 3 // 2, self._width - side)
        frame = field.copy()
        colour = np.frombuffer(hashlib.sha256(spec.prompt.encode()).digest()[:3], dtype=np.uint8)
        frame[top : top + side, left : left + side] = colour
        return frame


class FakeRefineEngine:
    """Frames doubled in size; a white bar along the top, as long as the number of windows (or steps) done before.

    A window made without the state before it comes out wrong. `step_seconds` stretches each of the request's steps.
    """

    def __init__(self, *, step_seconds: float = 0.0, fingerprint: str = "fake-refiner-1") -> None:
        self._step_seconds = step_seconds
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def warm_up(self) -> None: ...

    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        started = time.perf_counter()
        windows = refinement_windows(spec.num_frames)
        window, published = windows[state.done], published_by(windows, state.done)
        assert len(frames) == window.num_frames, f"window {window} got {len(frames)} frames"
        for step in range(_refine_steps(spec)):
            on_step(step, _refine_steps(spec))
            time.sleep(self._step_seconds)
        own = frames[published.start - window.first_frame : published.stop - window.first_frame]
        before = int(state.arrays["windows"][0]) if state.done else 0
        after = RefineState(state.done + 1, {"windows": np.asarray([before + 1], dtype=np.int64)})
        return RefinedWindow(_enlarged(own, before), after, {"denoise": time.perf_counter() - started})

    def start_lockstep(self, spec: JobSpec, frames: FramesTHWC) -> RefineState:
        assert len(frames) == spec.num_frames, f"{len(frames)} frames of {spec.num_frames}"
        return RefineState(0, {"frames": frames, "steps": np.asarray([0], dtype=np.int64)})

    def step_lockstep(self, spec: JobSpec, state: RefineState, on_step: OnStep) -> RefineState:
        on_step(state.done, _refine_steps(spec))
        time.sleep(self._step_seconds)
        return RefineState(state.done + 1, {**state.arrays, "steps": state.arrays["steps"] + 1})

    def finish_lockstep(self, spec: JobSpec, state: RefineState, frames: range) -> FramesTHWC:
        del spec
        return _enlarged(state.arrays["frames"][frames.start : frames.stop], int(state.arrays["steps"][0]))


def _refine_steps(spec: JobSpec) -> int:
    assert spec.refine is not None, "a job without `refine` has no refinement tasks"
    return spec.refine.num_inference_steps


def _enlarged(frames: FramesTHWC, bar_length: int) -> FramesTHWC:
    """Every pixel four times, and the bar: 4 pixels per window or step done."""
    enlarged = frames.repeat(2, axis=1).repeat(2, axis=2)
    enlarged[:, :4, : 4 * bar_length] = 255
    return enlarged


def _bounce(phase: int, span: int) -> int:
    """Triangle wave over 0..span."""
    return span - abs(phase % (2 * span) - span)


def _queues(record: JobRecord) -> list[tuple[Lane, str]]:
    return [(lane, record.spec.model) for lane in Lane if transitions.wants(record, lane)]


def _order(event_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in event_id.split("-"))


class SmallDisk:
    """A disk of the conversion (core.model.convert.disk) that becomes full after so many bytes; its files are real."""

    def __init__(self, capacity_bytes: int, *, free_bytes: int | None = None) -> None:
        """`free_bytes`: what it says is free, where that is not the truth (others write too)."""
        self._left = capacity_bytes
        self._says = free_bytes

    def free_bytes(self, folder: Path) -> int:
        del folder
        return self._left if self._says is None else self._says

    def create(self, path: Path) -> BinaryIO:
        return cast(BinaryIO, _CountedFile(path, self._take))

    def _take(self, count: int, path: Path) -> None:
        if count > self._left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self._left -= count


class _CountedFile(io.FileIO):
    """A new file whose every write asks first."""

    def __init__(self, path: Path, take: Callable[[int, Path], None]) -> None:
        super().__init__(path, "xb")
        self._path, self._take = path, take

    def write(self, data: Any, /) -> int:
        self._take(memoryview(data).nbytes, self._path)
        return super().write(data)
