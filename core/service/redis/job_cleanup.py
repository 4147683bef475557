"""What the janitor needs: expired, deleted and half-created jobs, tombstones, stale manifests, old indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import cast

from redis.client import Pipeline
from redis.exceptions import WatchError

from core.service.domain import transitions
from core.service.domain.errors import JobNotFound
from core.service.domain.manifest import ChunkPage
from core.service.domain.ports.outbox import PING_JOB_PREFIX
from core.service.domain.schema import JobRecord, JobStatus, Lane, Measurement
from core.service.domain.transitions import Transition
from core.service.records.job_order import job_id_of_member
from core.service.redis import job_rows as rows
from core.service.redis import job_scripts as scripts
from core.service.redis import keys
from core.service.redis.chunk_lists import all_pages, parse_page
from core.service.redis.errors import raises_store_errors
from core.service.redis.job_records import JobRecords
from core.service.redis.schedule import queues_of


class JobCleanup(JobRecords):
    """ports.JobStore: what the janitor asks and does."""

    @raises_store_errors
    def begin_create(self, job_id: str) -> None:
        self._redis.zadd(keys.UNFINISHED_CREATES, {job_id: self._clock.now().timestamp()})

    @raises_store_errors
    def unfinished_creates(self, moment: datetime) -> Sequence[str]:
        return cast("list[str]", self._redis.zrangebyscore(keys.UNFINISHED_CREATES, "-inf", moment.timestamp()))

    @raises_store_errors
    def forget_create(self, job_id: str) -> None:
        self._redis.zrem(keys.UNFINISHED_CREATES, job_id)

    @raises_store_errors
    def deleted(self) -> Sequence[JobRecord]:
        return self._records(cast("list[str]", self._redis.zrange(keys.DELETED_JOBS, 0, -1)))

    @raises_store_errors
    def expired(self, now: datetime) -> Sequence[JobRecord]:
        return self._records(cast("list[str]", self._redis.zrangebyscore(keys.EXPIRY, "-inf", now.timestamp())))

    @raises_store_errors
    def reindex(self) -> int:
        """Reads only some counters, some of each queue, and what is to be measured later, if nothing is missing."""
        self._schedule.recount(queues_of(cast("set[str]", self._redis.smembers(keys.QUEUES))))
        return self._index_active() + self._index_awaiting_measuring()

    def _index_active(self) -> int:
        statuses = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FINALIZING)
        with self._redis.pipeline(transaction=True) as pipe:
            for index in (keys.SCHEDULED_JOBS, *map(keys.status_index, statuses)):
                pipe.zcard(index)
            listed, *active = cast("list[int]", pipe.execute())
        return self._index_all(statuses) if listed != sum(active) else 0

    def _index_all(self, statuses: Sequence[JobStatus]) -> int:
        listed = set(cast("list[str]", self._redis.zrange(keys.SCHEDULED_JOBS, 0, -1)))
        active = {m for s in statuses for m in cast("list[str]", self._redis.zrange(keys.status_index(s), 0, -1))}
        # An older version ends jobs without taking them out.
        if ended := listed - active:
            self._redis.zrem(keys.SCHEDULED_JOBS, *ended)
        missing = self._records(sorted(active - listed))
        for record in missing:
            with suppress(JobNotFound):
                self._transact(record.id, lambda _pipe, now: Transition(now), also_write=self._add_to_queues)
        return len(missing)

    def _add_to_queues(self, pipe: Pipeline, record: JobRecord) -> None:
        rows.write_queue_entries(pipe, record, self._now())

    def _index_awaiting_measuring(self) -> int:
        """A version that measures nothing ends jobs that are to be measured, lets measured ones go on, and deletes
        them, without a word to the queue of the measure lane and its indexes."""
        queue = keys.entries_key(keys.ready_queue(Lane.MEASURE, ""))
        ends = (keys.status_index(status) for status in JobStatus if status.is_terminal)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.zcard(keys.AWAITING_MEASURING)
            pipe.hlen(queue)
            for index in ends:
                pipe.zinter([keys.MEASURED_LATER, index])  # as long as the shorter one
            awaiting, queued, *ended = cast("tuple[int, int, *tuple[list[str], ...]]", pipe.execute())
        wrong = {job_id_of_member(member) for members in ended for member in members}
        if awaiting != queued:
            listed = cast("list[str]", self._redis.zrange(keys.AWAITING_MEASURING, 0, -1))
            members = {job_id_of_member(member): member for member in listed}
            in_queue = {*cast("list[str]", self._redis.hkeys(queue))}
            if gone := [job_id for job_id in members.keys() - in_queue if not self._redis.exists(keys.job_key(job_id))]:
                self._redis.zrem(keys.AWAITING_MEASURING, *(members[job_id] for job_id in gone))
            wrong |= members.keys() ^ in_queue
        return sum(self._list_for_measuring(record) for record in self._records_of(sorted(wrong)))

    @raises_store_errors
    def ask_measuring(self, job_id: str, instead_of: Measurement | None = None) -> JobRecord:
        asked = super().ask_measuring(job_id, instead_of)
        if transitions.awaits_measuring(asked):
            queue = keys.entries_key(keys.ready_queue(Lane.MEASURE, ""))
            if not self._redis.hexists(queue, job_id):  # an older version has ended the job
                self._list_for_measuring(asked)
        return asked

    def _list_for_measuring(self, record: JobRecord) -> bool:
        """Correct where the job is listed. Whether it awaits measuring now."""
        with suppress(JobNotFound):
            now = self._transact(
                record.id, lambda _pipe, now: Transition(now), also_write=self._correct_queues_of, even_deleted=True
            )
            return now is not None and transitions.awaits_measuring(now)
        return False

    def _correct_queues_of(self, pipe: Pipeline, record: JobRecord) -> None:
        rows.correct_queue_entries(pipe, record, self._now())

    @raises_store_errors
    def purge(self, job_id: str) -> None:
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(keys.job_key(job_id), keys.deliveries_key(job_id))
                    record = next(iter(rows.readable([(job_id, rows.read_row(pipe, job_id))])), None)
                    deliveries = cast("list[str]", pipe.hkeys(keys.deliveries_key(job_id)))
                    pipe.multi()
                    rows.remove(pipe, job_id, record, deliveries, self._now())
                    self._transactions.execute(pipe)
                    return
                except WatchError:
                    continue

    @raises_store_errors
    def add_tombstone(self, job_id: str, until: datetime) -> None:
        self._redis.zadd(keys.TOMBSTONES, {job_id: until.timestamp()})

    @raises_store_errors
    def has_tombstone(self, job_id: str) -> bool:
        return self._redis.zscore(keys.TOMBSTONES, job_id) is not None

    @raises_store_errors
    def orphaned_job_ids(self) -> Sequence[str]:
        found = cast("Iterator[str]", self._redis.scan_iter(f"{keys.JOB_KEYS}[^{PING_JOB_PREFIX}]*", count=1000))
        job_ids = sorted({key.removeprefix(keys.JOB_KEYS).split(":")[0] for key in found})
        return [job_id for job_id in job_ids if not self._redis.exists(keys.job_key(job_id))]

    @raises_store_errors
    def expired_tombstones(self, now: datetime) -> Sequence[str]:
        return cast("list[str]", self._redis.zrangebyscore(keys.TOMBSTONES, "-inf", now.timestamp()))

    @raises_store_errors
    def remove_tombstone(self, job_id: str) -> None:
        self._redis.zrem(keys.TOMBSTONES, job_id)

    @raises_store_errors
    def manifest_stored(self, record: JobRecord) -> JobRecord | None:
        pages = keys.stale_pages_key(record.id)
        read = [keys.STALE_MANIFESTS, keys.TOMBSTONES, keys.job_key(record.id), pages]
        answer = self._manifest_stored(keys=read, args=[record.id, record.revision])
        if answer == scripts.DELETED:
            raise JobNotFound(f"there is no job {record.id}")
        return self.get(record.id) if answer == scripts.ANOTHER_OWED else None

    @raises_store_errors
    def stale_pages(self, job_id: str) -> Sequence[ChunkPage]:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hexists(keys.job_key(job_id), "digest")
            pipe.zrange(keys.stale_pages_key(job_id), 0, -1)
            has_lists, members = cast("tuple[bool, list[str]]", pipe.execute())
        if has_lists:
            return [parse_page(member) for member in members]
        return all_pages(self._stored(job_id)[0])

    @raises_store_errors
    def stale_manifests(self) -> Sequence[JobRecord]:
        return self._records_of(cast("list[str]", self._redis.zrange(keys.STALE_MANIFESTS, 0, -1)))

    @raises_store_errors
    def cleanup_pending(self, limit: int) -> Sequence[JobRecord]:
        return self._records_of(cast("list[str]", self._redis.srandmember(keys.CLEANUP_PENDING, limit)))

    @raises_store_errors
    def request_cleanup(self, job_id: str) -> None:
        if self._redis.exists(keys.job_key(job_id)):
            self._redis.sadd(keys.CLEANUP_PENDING, job_id)

    @raises_store_errors
    def cleanup_done(self, job_id: str) -> None:
        self._redis.srem(keys.CLEANUP_PENDING, job_id)
