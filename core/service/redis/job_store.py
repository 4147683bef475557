"""Job records in Redis: each change one optimistic transaction (WATCH, read, decide, MULTI/EXEC), retried on conflict.

What a change means is in transitions.py. Here: keys, indexes, leases, and that record, log entry, webhook row and
index become visible together or not at all. Knows no S3, no Celery, no HTTP.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import cast

import redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from core.service.domain import transitions
from core.service.domain.errors import InvalidField, JobNotFound, JobStateConflict, StoreDamaged, shortened
from core.service.domain.ports import Clock, JobPage, JobStore, Lease, LiveStatus, QueuedWork
from core.service.domain.schema import JobRecord, JobStatus, Lane, StepProgress
from core.service.domain.transitions import Transition
from core.service.records.transition_store import TransitionStore
from core.service.redis import client as keys
from core.service.redis import job_rows as rows
from core.service.redis.event_log import StreamEntry, progress_fields, progress_from_fields
from core.service.redis.job_rows import index_member

Decide = Callable[[Pipeline, JobRecord], Transition | None]
"""What to do with a record that was read under WATCH (the pipeline may read more); None: nothing."""
AlsoWrite = Callable[[Pipeline, JobRecord], None]
RebuildRecord = Callable[[JobStore, str], bool]
"""Rebuild the record of one job from its manifest; False where it has none (core.service.records.rebuild)."""

CANDIDATES = 8
"""Jobs of a queue looked at together: some may have been taken a moment ago by others, or be of another version."""
WORKER_LEASE_SECONDS = 86_400
"""How long it is remembered what a worker claimed last; only one that has just died is asked about."""

log = logging.getLogger(__name__)

# A lease that has run out (the store was away, or its worker stood still) is taken again, unless another claim came
# meanwhile: then the record has a newer token, or the lane was given back.
_RENEW = """
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
local row = redis.call('HGET', KEYS[2], 'record')
if held or not row then return 0 end
local record = cjson.decode(row)
local lane = record.lanes[ARGV[3]]
if record.delete_requested or not lane or not lane.held or lane.token ~= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# Jobs of a queue that nobody works on, in order, up to so many. Behind those in work, which are as many as workers.
_FREE = """
local free, start = {}, 0
while true do
  local members = redis.call('ZRANGE', KEYS[1], start, start + 31)
  for _, member in ipairs(members) do
    if #free == tonumber(ARGV[3]) then return free end
    local job = string.match(member, ':(.+)')
    if redis.call('EXISTS', ARGV[1] .. job .. ARGV[2]) == 0 then table.insert(free, job) end
  end
  if #members < 32 then return free end
  start = start + 32
end
"""

# The manifest of revision ARGV[2] is stored: 1 where a newer one is owed, 2 where the job is deleted.
_MANIFEST_STORED = """
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 2 end
local newest = redis.call('HGET', KEYS[3], 'revision')
if newest and tonumber(newest) > tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], newest, ARGV[1])
  return 1
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 0
"""

_NEWER_OWED, _DELETED = 1, 2

# A worker's last report must not bring keys of a purged job back.
_REPORT_PROGRESS = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', ARGV[1], ARGV[2])
"""


class RedisJobStore(TransitionStore):
    """ports.JobStore. `redis` is from redis_client.connect; ended jobs expire `retention_seconds` later."""

    def __init__(
        self, redis: redis.Redis, clock: Clock, *, retention_seconds: float, rebuild: RebuildRecord | None = None
    ) -> None:
        super().__init__(clock, retention_seconds)
        self._redis = redis
        self._rebuild = rebuild
        self._renew = redis.register_script(_RENEW)
        self._free = redis.register_script(_FREE)
        self._manifest_stored = redis.register_script(_MANIFEST_STORED)
        self._report_progress = redis.register_script(_REPORT_PROGRESS)

    @keys.raises_store_errors
    def ping(self) -> None:
        self._redis.ping()

    @keys.raises_store_errors
    def begin_create(self, job_id: str) -> None:
        self._redis.zadd(keys.ANNOUNCED, {job_id: self._clock.now().timestamp()})

    @keys.raises_store_errors
    def unfinished_creates(self, moment: datetime) -> Sequence[str]:
        return cast("list[str]", self._redis.zrangebyscore(keys.ANNOUNCED, "-inf", moment.timestamp()))

    @keys.raises_store_errors
    def forget_create(self, job_id: str) -> None:
        self._redis.zrem(keys.ANNOUNCED, job_id)

    @keys.raises_store_errors
    def create(self, record: JobRecord) -> JobRecord:
        """Creating the very same job twice is creating it once: the first answer was lost, or the janitor was faster
        with its manifest. Workers may have begun with it meanwhile."""
        transition = transitions.create(record)
        if not self._put_new(record.id, transition) and not transitions.is_same_job(self.get(record.id), record):
            raise JobStateConflict(f"{record.id} exists already")
        return transition.record

    @keys.raises_store_errors
    def restore(self, record: JobRecord) -> bool:
        return not self.has_tombstone(record.id) and self._put_new(record.id, transitions.restore(record))

    @keys.raises_store_errors
    def get(self, job_id: str) -> JobRecord:
        return _visible(job_id, self._read_or_rebuild(self._redis, job_id))

    @keys.raises_store_errors
    def list(self, *, status: JobStatus | None = None, limit: int = 20, cursor: str | None = None) -> JobPage:
        index = keys.ALL_JOBS if status is None else keys.status_index(status)
        newest = "+" if cursor is None else f"({member_from_cursor(cursor)}"
        members = cast("list[str]", self._redis.zrevrangebylex(index, newest, "-", start=0, num=limit + 1))
        next_cursor = cursor_from_member(members[limit - 1]) if len(members) > limit else None
        return JobPage(self._records(members[:limit]), next_cursor)

    @keys.raises_store_errors
    def active(self) -> Sequence[JobRecord]:
        with self._redis.pipeline(transaction=True) as pipe:
            for index in (*map(keys.status_index, transitions.ACTIVE_STATUSES), keys.DELETED_JOBS):
                pipe.zrange(index, 0, -1)
            found = cast("list[list[str]]", pipe.execute())
        return self._records(sorted(member for members in found for member in members))

    @keys.raises_store_errors
    def deleted(self) -> Sequence[JobRecord]:
        return self._records(cast("list[str]", self._redis.zrange(keys.DELETED_JOBS, 0, -1)))

    @keys.raises_store_errors
    def abandoned_cancels(self) -> Sequence[JobRecord]:
        canceling = cast("list[str]", self._redis.zrange(keys.status_index(JobStatus.CANCELING), 0, -1))
        return [
            record
            for record in self._records(canceling)
            if not any(self.lease_alive(record.id, lane) for lane in Lane if record.lane(lane).held)
        ]

    @keys.raises_store_errors
    def queued_work(self) -> Sequence[QueuedWork]:
        found = list[QueuedWork]()
        for queue in sorted(cast("set[str]", self._redis.smembers(keys.READY_QUEUES))):
            lane = rows.lane_of_queue(queue)
            if lane is not None:
                free = self._free_in_order(lane, queue)
                readable = (QueuedWork(lane, record) for job_id in free for record in self._records_of([job_id]))
                found += islice(readable, 1)
        return found

    @keys.raises_store_errors
    def next_ready(self, lane: Lane, model: str) -> str | None:
        return next(iter(self._free_jobs(lane, keys.ready_queue(lane, model), 1)), None)

    @keys.raises_store_errors
    def ready(self, lane: Lane, model: str, limit: int) -> Sequence[str]:
        return self._free_jobs(lane, keys.ready_queue(lane, model), limit)

    @keys.raises_store_errors
    def count_prepared(self, model: str, limit: int) -> int:
        """Looks at the records: an older version, which does not know the index, leaves jobs in it."""
        index = keys.prepared_index(model)
        listed = cast("list[str]", self._redis.zrange(index, 0, limit - 1))
        ahead = {index_member(one) for one in self._records(listed) if transitions.is_prepared_ahead(one)}
        if begun := [member for member in listed if member not in ahead]:
            self._redis.zrem(index, *begun)
        return len(ahead)

    @keys.raises_store_errors
    def reindex(self) -> int:
        """Costs a look at four counters where nothing is missing."""
        statuses = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FINALIZING)
        with self._redis.pipeline(transaction=True) as pipe:
            for index in (keys.READY_JOBS, *map(keys.status_index, statuses)):
                pipe.zcard(index)
            listed, *active = cast("list[int]", pipe.execute())
        return self._index_all(statuses) if listed < sum(active) else 0

    def _index_all(self, statuses: Sequence[JobStatus]) -> int:
        listed = set(cast("list[str]", self._redis.zrange(keys.READY_JOBS, 0, -1)))
        active = [m for s in statuses for m in cast("list[str]", self._redis.zrange(keys.status_index(s), 0, -1))]
        missing = self._records([member for member in active if member not in listed])
        for record in missing:
            with suppress(JobNotFound):
                self._transact(record.id, lambda _pipe, now: Transition(now), also_write=rows.write_queue_entries)
        return len(missing)

    @keys.raises_store_errors
    def expired(self, now: datetime) -> Sequence[JobRecord]:
        return self._records(cast("list[str]", self._redis.zrangebyscore(keys.EXPIRY, "-inf", now.timestamp())))

    @keys.raises_store_errors
    def claim_next(self, lane: Lane, model: str, worker: str, ttl_seconds: float) -> Lease | None:
        for job_id in self._free_in_order(lane, keys.ready_queue(lane, model)):
            try:
                lease = self.claim(job_id, lane, worker, ttl_seconds)
            except (JobNotFound, StoreDamaged) as error:
                log.warning("%s is left in its queue: %s", job_id, error)
                continue
            if lease is not None:
                return lease
        return None

    def _free_in_order(self, lane: Lane, queue: str) -> Iterator[str]:
        """Jobs of a queue that nobody works on, each once. Those that cannot be had, whatever the reason, are passed
        over: however many there are, none keeps a worker from what comes after them."""
        seen = set[str]()
        while True:
            limit = len(seen) + CANDIDATES
            found = self._free_jobs(lane, queue, limit)
            new = [job_id for job_id in found if job_id not in seen]
            yield from new
            seen.update(new)
            if len(found) < limit:
                return

    def _free_jobs(self, lane: Lane, queue: str, limit: int) -> list[str]:
        before, after = keys.lease_key(" ", lane).split(" ")
        return cast("list[str]", self._free(keys=[keys.ready_index(queue)], args=[before, after, limit]))

    @keys.raises_store_errors
    def claim(self, job_id: str, lane: Lane, worker: str, ttl_seconds: float) -> Lease | None:
        lease = keys.lease_key(job_id, lane)

        def take(pipe: Pipeline, record: JobRecord) -> Transition | None:
            if pipe.exists(lease) or not transitions.wants(record, lane):
                return None
            return transitions.claim(record, lane, self._clock.now(), _commits(pipe))

        def hold(pipe: Pipeline, record: JobRecord) -> None:
            token = record.lane(lane).token
            pipe.set(lease, token, px=round(ttl_seconds * 1000))
            pipe.set(keys.worker_lease_key(worker), f"{job_id} {lane} {token}", ex=WORKER_LEASE_SECONDS)

        claimed = self._transact(job_id, take, also_write=hold)
        if claimed is None:
            self._correct_queues(job_id, lane)
            return None
        state = claimed.lane(lane)
        return Lease(job_id, lane, state.token, worker, transitions.is_poison(state))

    def _correct_queues(self, job_id: str, lane: Lane) -> None:
        """A job that does not want the lane that somebody tried to claim may be in the queue of that lane, and in no
        other: an older version, which knows fewer lanes, has put it there."""

        def look(_pipe: Pipeline, record: JobRecord) -> Transition | None:
            return None if transitions.wants(record, lane) else Transition(record)

        with suppress(JobNotFound):
            self._transact(job_id, look, also_write=rows.correct_queue_entries)

    @keys.raises_store_errors
    def renew(self, lease: Lease, ttl_seconds: float) -> bool:
        key, job = keys.lease_key(lease.job_id, lease.lane), keys.job_key(lease.job_id)
        return bool(self._renew(keys=[key, job], args=[lease.token, round(ttl_seconds * 1000), lease.lane]))

    @keys.raises_store_errors
    def release(self, lease: Lease, *, count_attempt: bool, rest_seconds: float = 0.0) -> None:
        def give_back(_pipe: Pipeline, record: JobRecord) -> Transition | None:
            return transitions.release(record, lease, count_attempt=count_attempt, rest_seconds=rest_seconds)

        self._let_go(lease.job_id, give_back)

    @keys.raises_store_errors
    def release_of_worker(self, worker: str) -> Lease | None:
        entry = cast("str | None", self._redis.get(keys.worker_lease_key(worker)))
        if entry is None:
            return None
        job_id, lane, token = entry.split(" ")
        lease = Lease(job_id, Lane(lane), int(token), worker)
        freed = self._let_go(
            job_id, lambda pipe, record: transitions.abandon(record, lease.lane, lease.token, _commits(pipe))
        )
        self._redis.delete(keys.worker_lease_key(worker))
        return lease if freed else None

    def _let_go(self, job_id: str, decide: Decide) -> JobRecord | None:
        """None where there was nothing to let go of: a purged job has taken its leases with it."""
        try:
            return self._transact(job_id, decide, even_deleted=True)
        except JobNotFound:
            return None

    @keys.raises_store_errors
    def lease_alive(self, job_id: str, lane: Lane) -> bool:
        return self._redis.get(keys.lease_key(job_id, lane)) not in {None, rows.RESTING}

    @keys.raises_store_errors
    def cancel_requested(self, job_id: str) -> bool:
        return self._redis.hget(keys.job_key(job_id), "stop") != "0"

    @keys.raises_store_errors
    def purge(self, job_id: str) -> None:
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(keys.job_key(job_id), keys.deliveries_key(job_id))
                    record = next(iter(rows.readable([(job_id, rows.read_row(pipe, job_id))])), None)
                    deliveries = cast("list[str]", pipe.hkeys(keys.deliveries_key(job_id)))
                    pipe.multi()
                    rows.remove(pipe, job_id, record, deliveries)
                    pipe.execute()
                    return
                except WatchError:
                    continue

    @keys.raises_store_errors
    def add_tombstone(self, job_id: str, until: datetime) -> None:
        self._redis.zadd(keys.TOMBSTONES, {job_id: until.timestamp()})

    @keys.raises_store_errors
    def has_tombstone(self, job_id: str) -> bool:
        return self._redis.zscore(keys.TOMBSTONES, job_id) is not None

    @keys.raises_store_errors
    def has_all_records(self) -> bool:
        return bool(self._redis.exists(keys.MANIFESTS_READ))

    @keys.raises_store_errors
    def orphaned_job_ids(self) -> Sequence[str]:
        found = cast("Iterator[str]", self._redis.scan_iter(f"{keys.JOB_KEYS}*", count=1000))
        job_ids = sorted({key.removeprefix(keys.JOB_KEYS).split(":")[0] for key in found})
        return [job_id for job_id in job_ids if not self._redis.exists(keys.job_key(job_id))]

    @keys.raises_store_errors
    def expired_tombstones(self, now: datetime) -> Sequence[str]:
        return cast("list[str]", self._redis.zrangebyscore(keys.TOMBSTONES, "-inf", now.timestamp()))

    @keys.raises_store_errors
    def remove_tombstone(self, job_id: str) -> None:
        self._redis.zrem(keys.TOMBSTONES, job_id)

    @keys.raises_store_errors
    def manifest_stored(self, record: JobRecord) -> JobRecord | None:
        read = [keys.STALE_MANIFESTS, keys.TOMBSTONES, keys.job_key(record.id)]
        answer = self._manifest_stored(keys=read, args=[record.id, record.revision])
        if answer == _DELETED:
            raise JobNotFound(f"there is no job {record.id}")
        return self.get(record.id) if answer == _NEWER_OWED else None

    @keys.raises_store_errors
    def cleanup_pending(self, limit: int) -> Sequence[JobRecord]:
        return self._records_of(cast("list[str]", self._redis.srandmember(keys.UNSWEPT, limit)))

    @keys.raises_store_errors
    def request_cleanup(self, job_id: str) -> None:
        if self._redis.exists(keys.job_key(job_id)):
            self._redis.sadd(keys.UNSWEPT, job_id)

    @keys.raises_store_errors
    def cleanup_done(self, job_id: str) -> None:
        self._redis.srem(keys.UNSWEPT, job_id)

    @keys.raises_store_errors
    def stale_manifests(self) -> Sequence[JobRecord]:
        return self._records_of(cast("list[str]", self._redis.zrange(keys.STALE_MANIFESTS, 0, -1)))

    @keys.raises_store_errors
    def report_progress(self, job_id: str, progress: StepProgress) -> None:
        ((field, value),) = progress_fields(progress).items()
        progress_key = keys.progress_key(job_id, progress.lane)
        self._report_progress(keys=[keys.job_key(job_id), progress_key], args=[field, value])

    @keys.raises_store_errors
    def progress(self, job_id: str, lane: Lane) -> StepProgress | None:
        newest = cast("list[StreamEntry]", self._redis.xrevrange(keys.progress_key(job_id, lane), count=1))
        return _newest_progress(newest)

    @keys.raises_store_errors
    def queue_position(self, job_id: str) -> int | None:
        record = self.get(job_id)
        rank = cast(int | None, self._redis.zrank(keys.queue_index(record.spec.model), index_member(record)))
        return None if rank is None else rank + 1

    @keys.raises_store_errors
    def live_statuses(self, records: Sequence[JobRecord]) -> Sequence[LiveStatus]:
        lanes = [(record, lane) for record in records for lane in transitions.lanes_with_progress(record)]
        queued = [record for record in records if record.status is JobStatus.QUEUED]
        with self._redis.pipeline(transaction=False) as pipe:
            for record, lane in lanes:
                pipe.xrevrange(keys.progress_key(record.id, lane), count=1)
            for record in queued:
                pipe.zrank(keys.queue_index(record.spec.model), index_member(record))
            answers = pipe.execute()
        steps = {
            (record.id, lane): _newest_progress(entries)
            for (record, lane), entries in zip(lanes, answers, strict=False)
        }
        ranks = {record.id: rank for record, rank in zip(queued, answers[len(lanes) :], strict=True)}
        return [_standing(record, steps, ranks) for record in records]

    @keys.raises_store_errors
    def count_active(self) -> int:
        with self._redis.pipeline(transaction=True) as pipe:
            for status in transitions.ACTIVE_STATUSES:
                pipe.zcard(keys.status_index(status))
            return sum(cast("list[int]", pipe.execute()))

    @keys.raises_store_errors
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
                    before = _found(job_id, self._read_or_rebuild(pipe, job_id))
                    transition = decide(pipe, before if even_deleted else _visible(job_id, before))
                    if transition is None or (transition.record is before and also_write is None):
                        return None if transition is None else before
                    pipe.multi()
                    rows.write(pipe, before, transition)
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
                    rows.write(pipe, None, transition)
                    pipe.execute()
                    return True
                except WatchError:
                    continue

    def _read_or_rebuild(self, client: redis.Redis, job_id: str) -> JobRecord | None:
        """The record; where Redis has lost everything and nobody has rebuilt it yet, this one is rebuilt now."""
        record = _read(client, job_id)
        if record is None and self._rebuild is not None and not self.has_all_records():
            return _read(client, job_id) if self._rebuild(self, job_id) else None
        return record

    def _records(self, members: Iterable[str]) -> Sequence[JobRecord]:
        """Records of index members; one purged in between is left out."""
        return self._records_of([rows.job_id_of_member(member) for member in members])

    def _records_of(self, job_ids: Sequence[str]) -> Sequence[JobRecord]:
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(keys.job_key(job_id), "record")
            found = cast("list[str | None]", pipe.execute())
        return rows.readable(zip(job_ids, found, strict=True))


def _commits(client: redis.Redis) -> int:
    return int(cast("str | None", client.get(keys.COMMITS)) or 0)


def _newest_progress(entries: Sequence[StreamEntry]) -> StepProgress | None:
    return progress_from_fields(entries[0][1]) if entries else None


def _standing(
    record: JobRecord, steps: Mapping[tuple[str, Lane], StepProgress | None], ranks: Mapping[str, int | None]
) -> LiveStatus:
    told = {lane: step for lane in Lane if (step := steps.get((record.id, lane))) is not None}
    rank = ranks.get(record.id)
    return LiveStatus(told, None if rank is None else rank + 1)


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
    row = rows.read_row(client, job_id)
    return None if row is None else rows.parse_record(job_id, row)


def _found(job_id: str, record: JobRecord | None) -> JobRecord:
    if record is None:
        raise JobNotFound(f"there is no job {shortened(job_id, 64)}")
    return record


def _visible(job_id: str, record: JobRecord | None) -> JobRecord:
    """A deleted job is there for the janitor only."""
    return _found(job_id, None if record is None or record.delete_requested else record)
