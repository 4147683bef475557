"""Queues of claimable jobs, and the leases of workers on their lanes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import cast

import redis
from redis.client import Pipeline

from core.service.domain import transitions
from core.service.domain.errors import JobNotFound, StoreDamaged
from core.service.domain.ports import Lease, QueuedWork
from core.service.domain.scheduling import Entry, Key
from core.service.domain.schema import ChunkRecord, JobRecord, JobStatus, Lane
from core.service.domain.transitions import Transition
from core.service.records.job_order import index_member
from core.service.redis import job_rows as rows
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors
from core.service.redis.job_records import Decide, JobRecords
from core.service.redis.schedule import Queue, queues_of

HEADS = 1
"""Jobs of a queue that are read at first for one that can be read."""
WORKER_LEASE_SECONDS = 86_400
"""How long a worker's last claim is stored; it is read right after the worker's death."""

log = logging.getLogger(__name__)


class LaneClaims(JobRecords):
    """ports.JobStore: queues and leases."""

    @raises_store_errors
    def queued_work(self) -> Sequence[QueuedWork]:
        found = list[QueuedWork]()
        for queue in queues_of(cast("set[str]", self._redis.smembers(keys.QUEUES))):
            found += [QueuedWork(queue.lane, record) for record in self._head(queue)]
        return found

    def _head(self, queue: Queue) -> Sequence[JobRecord]:
        """The first job that can be read, however many before it cannot; none if there is none."""
        limit = HEADS
        while True:
            listed = self._schedule.peek(queue, self._now(), limit)
            if (readable := self._records_of(listed)) or len(listed) < limit:
                return readable[:1]
            limit = 2 * limit + 8

    @raises_store_errors
    def free_work(self, lanes: Sequence[Lane], model: str) -> Mapping[Lane, str]:
        return self._schedule.free_work([Queue.of(lane, model) for lane in lanes], self._now())

    @raises_store_errors
    def ready(self, lane: Lane, model: str, limit: int) -> Sequence[str]:
        return self._schedule.peek(Queue.of(lane, model), self._now(), limit)

    @raises_store_errors
    def is_next(self, entry: Entry, lanes: Sequence[Lane], model: str) -> bool:
        return self._schedule.is_next(entry, [Queue.of(lane, model) for lane in lanes], self._now())

    @raises_store_errors
    def count_prepared(self, model: str, limit: int) -> int:
        """Reads the records, because an older version does not remove started jobs from the index."""
        index = keys.prepared_index(model)
        listed = cast("list[str]", self._redis.zrange(index, 0, limit - 1))
        ahead = {index_member(one) for one in self._records(listed) if transitions.is_prepared_ahead(one)}
        if begun := [member for member in listed if member not in ahead]:
            self._redis.zrem(index, *begun)
        return len(ahead)

    @raises_store_errors
    def claim_next(
        self, lanes: Sequence[Lane], model: str, worker: str, ttl_seconds: float, own: Collection[Key] = ()
    ) -> Lease | None:
        queues = [Queue.of(lane, model) for lane in lanes]
        while (picked := self._schedule.pick(queues, self._now(), own)) is not None:
            job_id, lane = picked
            try:
                lease = self.claim(job_id, lane, worker, ttl_seconds)
            except JobNotFound:
                self._schedule.forget(Queue.of(lane, model), job_id, self._now())
                continue
            except StoreDamaged as error:
                log.warning("%s stays in its queue: %s", job_id, error)
                self._schedule.put_off(Queue.of(lane, model), job_id, self._now())
                continue
            if lease is not None:
                return lease
        return None

    @raises_store_errors
    def claim(self, job_id: str, lane: Lane, worker: str, ttl_seconds: float) -> Lease | None:
        lease = keys.lease_key(job_id, lane)

        def take(pipe: Pipeline, record: JobRecord) -> Transition | None:
            if pipe.exists(lease) or not transitions.wants(record, lane):
                return None
            return transitions.claim(record, lane, self._clock.now(), _commits(pipe))

        def hold(pipe: Pipeline, record: JobRecord) -> None:
            _hold(pipe, record, lane, worker, ttl_seconds)

        claimed = self._transact(job_id, take, also_write=hold)
        if claimed is None:
            self._correct_queues(job_id, lane)
            return None
        state = claimed.lane(lane)
        return Lease(job_id, lane, state.token, worker, transitions.is_poison(state))

    @raises_store_errors
    def commit_and_claim(self, lease: Lease, chunk: ChunkRecord, fingerprint: str, ttl_seconds: float) -> JobRecord:
        now = self._clock.now()

        def commit(pipe: Pipeline, record: JobRecord) -> Transition:
            return transitions.commit_and_claim(record, lease, chunk, fingerprint, now, _commits(pipe))

        def hold(pipe: Pipeline, record: JobRecord) -> None:
            if record.lane(lease.lane).held:
                _hold(pipe, record, lease.lane, lease.worker, ttl_seconds)

        committed = self._transact(lease.job_id, commit, also_write=hold)
        assert committed is not None
        return committed

    def _correct_queues(self, job_id: str, lane: Lane) -> None:
        """Move a job that has no work on this lane to its right queues: an older version, which knows fewer lanes, may
        have put it into the wrong one."""

        def look(_pipe: Pipeline, record: JobRecord) -> Transition | None:
            return None if transitions.wants(record, lane) else Transition(record)

        with suppress(JobNotFound):
            self._transact(job_id, look, also_write=self._correct)

    def _correct(self, pipe: Pipeline, record: JobRecord) -> None:
        rows.correct_queue_entries(pipe, record, self._now())

    @raises_store_errors
    def renew(self, lease: Lease, ttl_seconds: float) -> bool:
        key, job = keys.lease_key(lease.job_id, lease.lane), keys.job_key(lease.job_id)
        return bool(self._renew(keys=[key, job], args=[lease.token, round(ttl_seconds * 1000), lease.lane]))

    @raises_store_errors
    def release(self, lease: Lease, *, count_attempt: bool, rest_seconds: float = 0.0) -> None:
        def give_back(_pipe: Pipeline, record: JobRecord) -> Transition | None:
            return transitions.release(record, lease, count_attempt=count_attempt, rest_seconds=rest_seconds)

        self._let_go(lease.job_id, give_back)

    @raises_store_errors
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
        """None if there was nothing to release: a purge removes the leases too."""
        try:
            return self._transact(job_id, decide, even_deleted=True)
        except JobNotFound:
            return None

    @raises_store_errors
    def lease_alive(self, job_id: str, lane: Lane) -> bool:
        return self._redis.get(keys.lease_key(job_id, lane)) not in {None, rows.RESTING}

    @raises_store_errors
    def abandoned_cancels(self) -> Sequence[JobRecord]:
        canceling = cast("list[str]", self._redis.zrange(keys.status_index(JobStatus.CANCELING), 0, -1))
        return [
            record
            for record in self._records(canceling)
            if not any(self.lease_alive(record.id, lane) for lane in Lane if record.lane(lane).held)
        ]


def _hold(pipe: Pipeline, record: JobRecord, lane: Lane, worker: str, ttl_seconds: float) -> None:
    """Queue what makes the newest claim of a lane a worker's lease."""
    token = record.lane(lane).token
    pipe.set(keys.lease_key(record.id, lane), token, px=round(ttl_seconds * 1000))
    pipe.set(keys.worker_lease_key(worker), f"{record.id} {lane} {token}", ex=WORKER_LEASE_SECONDS)


def _commits(client: redis.Redis) -> int:
    return int(cast("str | None", client.get(keys.COMMITS)) or 0)
