"""Job records in Redis: each change one optimistic transaction (WATCH, read, decide, MULTI/EXEC), retried on conflict.

What a change means is in transitions.py. Here: keys, indexes, leases, and that record, log entry, webhook row and
index become visible together or not at all. Knows no S3, no Celery, no HTTP.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import cast

import redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from core.service import redis_client as keys
from core.service import transitions
from core.service.errors import InvalidField, JobNotFound, JobStateConflict
from core.service.event_log import StreamEntry, event_fields, progress_fields, progress_from_fields
from core.service.ports import Clock, Delivery, JobPage, Lease
from core.service.schema import JobRecord, JobStatus, Lane, StepProgress
from core.service.transition_store import TransitionStore
from core.service.transitions import Transition

Decide = Callable[[Pipeline, JobRecord], Transition | None]
"""What to do with a record that was read under WATCH (the pipeline may read more); None: nothing."""
AlsoWrite = Callable[[Pipeline, JobRecord], None]

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# A worker's last report must not bring keys of a purged job back.
_REPORT_PROGRESS = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', ARGV[1], ARGV[2])
"""


class RedisJobStore(TransitionStore):
    """ports.JobStore. `redis` is from redis_client.connect; ended jobs expire `retention_seconds` later."""

    def __init__(self, redis: redis.Redis, clock: Clock, *, retention_seconds: float) -> None:
        super().__init__(clock, retention_seconds)
        self._redis = redis
        self._renew = redis.register_script(_RENEW)
        self._report_progress = redis.register_script(_REPORT_PROGRESS)

    @keys.names_errors
    def ping(self) -> None:
        self._redis.ping()

    @keys.names_errors
    def create(self, record: JobRecord) -> JobRecord:
        """Creating the very same record twice is creating it once (the first answer was lost)."""
        if not self._put_new(record.id, transitions.create(record)) and self.get(record.id) != record:
            raise JobStateConflict(f"{record.id} exists already")
        return record

    @keys.names_errors
    def restore(self, record: JobRecord) -> bool:
        return self._put_new(record.id, transitions.restore(record))

    @keys.names_errors
    def get(self, job_id: str) -> JobRecord:
        return _visible(job_id, _read(self._redis, job_id))

    @keys.names_errors
    def list(self, *, status: JobStatus | None = None, limit: int = 20, cursor: str | None = None) -> JobPage:
        index = keys.ALL_JOBS if status is None else keys.status_index(status)
        newest = "+" if cursor is None else f"({member_from_cursor(cursor)}"
        members = cast("list[str]", self._redis.zrevrangebylex(index, newest, "-", start=0, num=limit + 1))
        next_cursor = cursor_from_member(members[limit - 1]) if len(members) > limit else None
        return JobPage(self._records(members[:limit]), next_cursor)

    @keys.names_errors
    def active(self) -> Sequence[JobRecord]:
        with self._redis.pipeline(transaction=True) as pipe:
            for index in (*map(keys.status_index, transitions.ACTIVE_STATUSES), keys.DELETED_JOBS):
                pipe.zrange(index, 0, -1)
            found = cast("list[list[str]]", pipe.execute())
        return self._records(sorted(member for members in found for member in members))

    @keys.names_errors
    def expired(self, now: datetime) -> Sequence[JobRecord]:
        return self._records(cast("list[str]", self._redis.zrangebyscore(keys.EXPIRY, "-inf", now.timestamp())))

    @keys.names_errors
    def claim(self, job_id: str, lane: Lane, worker: str, ttl_seconds: float) -> Lease | None:
        lease = keys.lease_key(job_id, lane)

        def take(pipe: Pipeline, record: JobRecord) -> Transition | None:
            if pipe.exists(lease) or not transitions.wants(record, lane):
                return None
            return transitions.claim(record, lane, self._clock.now())

        def hold(pipe: Pipeline, record: JobRecord) -> None:
            pipe.set(lease, record.lane(lane).token, px=round(ttl_seconds * 1000))

        claimed = self._transact(job_id, take, also_write=hold)
        return None if claimed is None else Lease(job_id, lane, claimed.lane(lane).token, worker)

    @keys.names_errors
    def renew(self, lease: Lease, ttl_seconds: float) -> bool:
        key = keys.lease_key(lease.job_id, lease.lane)
        return bool(self._renew(keys=[key], args=[lease.token, round(ttl_seconds * 1000)]))

    @keys.names_errors
    def release(self, lease: Lease, *, count_attempt: bool) -> None:
        def give_back(_pipe: Pipeline, record: JobRecord) -> Transition | None:
            return transitions.release(record, lease, count_attempt=count_attempt)

        try:
            self._transact(lease.job_id, give_back, even_deleted=True)
        except JobNotFound:
            return  # purged: its leases went with it

    @keys.names_errors
    def lease_alive(self, job_id: str, lane: Lane) -> bool:
        return bool(self._redis.exists(keys.lease_key(job_id, lane)))

    @keys.names_errors
    def cancel_requested(self, job_id: str) -> bool:
        return self._redis.hget(keys.job_key(job_id), "stop") != "0"

    @keys.names_errors
    def purge(self, job_id: str) -> None:
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(keys.job_key(job_id), keys.deliveries_key(job_id))
                    record = _read(pipe, job_id)
                    deliveries = cast("list[str]", pipe.hkeys(keys.deliveries_key(job_id)))
                    pipe.multi()
                    _remove(pipe, job_id, record, deliveries)
                    pipe.execute()
                    return
                except WatchError:
                    continue

    @keys.names_errors
    def report_progress(self, job_id: str, progress: StepProgress) -> None:
        ((field, value),) = progress_fields(progress).items()
        progress_key = keys.progress_key(job_id, progress.lane)
        self._report_progress(keys=[keys.job_key(job_id), progress_key], args=[field, value])

    @keys.names_errors
    def progress(self, job_id: str, lane: Lane) -> StepProgress | None:
        newest = cast("list[StreamEntry]", self._redis.xrevrange(keys.progress_key(job_id, lane), count=1))
        return progress_from_fields(newest[0][1]) if newest else None

    @keys.names_errors
    def queue_position(self, job_id: str) -> int | None:
        record = self.get(job_id)
        rank = cast(int | None, self._redis.zrank(keys.queue_index(record.spec.model), index_member(record)))
        return None if rank is None else rank + 1

    @keys.names_errors
    def count_active(self) -> int:
        with self._redis.pipeline(transaction=True) as pipe:
            for status in transitions.ACTIVE_STATUSES:
                pipe.zcard(keys.status_index(status))
            return sum(cast("list[int]", pipe.execute()))

    @keys.names_errors
    def _change(self, job_id: str, change: Callable[[JobRecord], Transition]) -> JobRecord:
        changed = self._transact(job_id, lambda _pipe, record: change(record))
        assert changed is not None
        return changed

    def _transact(
        self,
        job_id: str,
        decide: Decide,
        *,
        also_write: AlsoWrite | None = None,
        even_deleted: bool = False,
    ) -> JobRecord | None:
        """Read, decide, write, again from the start where somebody else wrote meanwhile. The new record, or None.

        Watching the record covers the leases, too: one is only ever taken together with a new token in the record.

        redis-py reports a connection lost under WATCH as a conflict, too: the change is then decided anew from what
        is stored, which is why the transitions are idempotent.
        """
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(keys.job_key(job_id))
                    before = _found(job_id, _read(pipe, job_id))
                    transition = decide(pipe, before if even_deleted else _visible(job_id, before))
                    if transition is None or transition.record is before:
                        return None if transition is None else before
                    pipe.multi()
                    _write(pipe, before, transition)
                    if also_write is not None:
                        also_write(pipe, transition.record)
                    pipe.execute()
                    return transition.record
                except WatchError:
                    continue

    def _put_new(self, job_id: str, transition: Transition) -> bool:
        """Write a record that must not exist yet; False where it does."""
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(keys.job_key(job_id))
                    if pipe.exists(keys.job_key(job_id)):
                        return False
                    pipe.multi()
                    _write(pipe, None, transition)
                    pipe.execute()
                    return True
                except WatchError:
                    continue

    def _records(self, members: Iterable[str]) -> Sequence[JobRecord]:
        """Records of index members; one purged in between is left out."""
        with self._redis.pipeline(transaction=False) as pipe:
            for member in members:
                pipe.hget(keys.job_key(member.split(":")[1]), "record")
            rows = cast("list[str | None]", pipe.execute())
        return [JobRecord.model_validate_json(row) for row in rows if row is not None]


def index_member(record: JobRecord) -> str:
    """How a job is named in an index: sorts by time of creation (microseconds), then id."""
    return f"{round(record.created_at.timestamp() * 1_000_000):016d}:{record.id}"


def cursor_from_member(member: str) -> str:
    return base64.urlsafe_b64encode(member.encode()).decode().rstrip("=")


def member_from_cursor(cursor: str) -> str:
    """Raises InvalidField for a cursor that `cursor_from_member` did not make."""
    try:
        member = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError):
        member = ""
    if not re.fullmatch(r"\d{16}:\w+", member, re.ASCII) or cursor_from_member(member) != cursor:
        raise InvalidField("cursor is not one of ours", field="cursor", fix="use next_cursor of the page before")
    return member


def _read(client: redis.Redis, job_id: str) -> JobRecord | None:
    row = cast(str | None, client.hget(keys.job_key(job_id), "record"))
    return None if row is None else JobRecord.model_validate_json(row)


def _found(job_id: str, record: JobRecord | None) -> JobRecord:
    if record is None:
        raise JobNotFound(f"there is no job {job_id}")
    return record


def _visible(job_id: str, record: JobRecord | None) -> JobRecord:
    """A deleted job is there for the janitor only."""
    return _found(job_id, None if record is None or record.delete_requested else record)


def _write(pipe: Pipeline, before: JobRecord | None, transition: Transition) -> None:
    """Queue all of a transition between MULTI and EXEC."""
    record = transition.record
    stop = "1" if transitions.shall_stop(record) else "0"
    pipe.hset(keys.job_key(record.id), mapping={"record": record.model_dump_json(), "stop": stop})
    for event in transition.events:
        pipe.xadd(keys.events_key(record.id), event_fields(event))  # pyright: ignore[reportArgumentType]
    for delivery in transition.deliveries:
        _write_delivery(pipe, delivery)
    if transition.progress_over:
        pipe.delete(*(keys.progress_key(record.id, lane) for lane in transition.progress_over))
    if transition.released is not None:
        pipe.delete(keys.lease_key(record.id, transition.released))
    _write_indexes(pipe, before, record)


def _write_delivery(pipe: Pipeline, delivery: Delivery) -> None:
    pipe.hset(keys.deliveries_key(delivery.job_id), delivery.id, delivery.model_dump_json())
    due = (delivery.next_attempt_at or datetime.max.replace(tzinfo=UTC)).timestamp()
    pipe.zadd(keys.OUTBOX_DUE, {keys.outbox_member(delivery.job_id, delivery.id): due})


def _write_indexes(pipe: Pipeline, before: JobRecord | None, after: JobRecord) -> None:
    member = index_member(after)
    old, new = _indexes(before), _indexes(after)
    for index in sorted(old - new):
        pipe.zrem(index, member)
    for index in sorted(new - old):
        pipe.zadd(index, {member: 0})
    if after.expires_at is None or after.delete_requested:
        pipe.zrem(keys.EXPIRY, member)
    else:
        pipe.zadd(keys.EXPIRY, {member: after.expires_at.timestamp()})


def _indexes(record: JobRecord | None) -> frozenset[str]:
    """The lexicographic indexes that list a record."""
    if record is None:
        return frozenset()
    if record.delete_requested:
        return frozenset({keys.DELETED_JOBS})
    queue = [keys.queue_index(record.spec.model)] if record.status is JobStatus.QUEUED else []
    return frozenset({keys.ALL_JOBS, keys.status_index(record.status), *queue})


def _remove(pipe: Pipeline, job_id: str, record: JobRecord | None, deliveries: Iterable[str]) -> None:
    """Queue the removal of every key and index entry of a job."""
    of_lanes = [key(job_id, lane) for lane in Lane for key in (keys.lease_key, keys.progress_key)]
    pipe.delete(keys.job_key(job_id), keys.events_key(job_id), keys.deliveries_key(job_id), *of_lanes)
    for delivery_id in deliveries:
        pipe.zrem(keys.OUTBOX_DUE, keys.outbox_member(job_id, delivery_id))
    if record is not None:
        for index in sorted({*_indexes(record), keys.EXPIRY}):
            pipe.zrem(index, index_member(record))
