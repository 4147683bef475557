"""The queue of jobs that are to be measured, beside workers of a version that measures nothing."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from core.service.clock import SystemClock
from core.service.domain.ports import Results
from core.service.domain.schema import JobExtension, JobRecord, Lane
from core.service.records.job_order import index_member
from core.service.redis import keys
from core.service.redis.job_store import RedisJobStore
from core.service.redis.schedule import Queue, write_again
from core.service.redis.transaction import Transactions
from tests.helpers.jobs import chunk_of, queued_job

INDEXES = (keys.SCHEDULED_JOBS, keys.MEASURED_LATER, keys.AWAITING_MEASURING)


class Store(RedisJobStore):
    """Counts the records that it reads, beside those asked for."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client, SystemClock(), retention_seconds=3600)
        self.client = client
        self.num_read = 0

    def _records_of(self, job_ids: Any) -> Any:
        self.num_read += len(job_ids)
        return super()._records_of(job_ids)

    def ended(self, number: int = 1, **spec: Any) -> JobRecord:
        """A job that has succeeded."""
        job = self.create(queued_job(number, **spec))
        for index in (0, 1):
            self._commit(job, index)
        return self.finish(self._claimed(job, Lane.FINALIZE), Results("v", None, "t"))

    def ended_by_older_version(self, number: int = 1, **spec: Any) -> JobRecord:
        """It knows no lane `measure` and none of its indexes."""
        job = self.ended(number, **spec)
        self.forget(Lane.MEASURE, job)
        self.client.zrem(keys.AWAITING_MEASURING, index_member(job))
        if job.spec.measure:
            self.client.zadd(keys.MEASURED_LATER, {index_member(job): 0})
        return job

    def extended_by_older_version(self, job: JobRecord) -> JobRecord:
        """The job stays where an ended one is listed."""
        longer = self.extend(job.id, JobExtension(num_frames=16))
        Transactions(self.client).write(lambda pipe: write_again(pipe, job, None))
        self.client.zadd(keys.AWAITING_MEASURING, {index_member(job): 0})
        self.client.zrem(keys.MEASURED_LATER, index_member(job))
        return longer

    def forget(self, lane: Lane, job: JobRecord) -> None:
        self._schedule.forget(Queue.of(lane, job.spec.model), job.id, None)

    def listed(self) -> list[list[str]]:
        """Ids of the jobs in each of INDEXES."""
        found = ([str(member) for member in self.client.zrange(index, 0, -1)] for index in INDEXES)  # pyright: ignore[reportGeneralTypeIssues]
        return [[member.split(":")[1] for member in members] for members in found]

    def to_measure(self) -> list[str]:
        return list(self.ready(Lane.MEASURE, "", 9))

    def _claimed(self, job: JobRecord, lane: Lane) -> Any:
        lease = self.claim(job.id, lane, "w1", 60.0)
        assert lease is not None
        return lease

    def _commit(self, job: JobRecord, index: int) -> None:
        self.commit_chunk(self._claimed(job, Lane.GENERATE), chunk_of(job, index), "f1")

    def measured(self, job: JobRecord) -> JobRecord:
        return self.commit_measurement(self._claimed(job, Lane.MEASURE))


@pytest.fixture
def store(client: redis.Redis) -> Store:
    return Store(client)


def test_a_job_is_listed_where_it_has_work(store: Store) -> None:
    later = store.create(queued_job(2, measure=True))
    ended = store.ended(1, measure=True)
    assert store.listed() == [[later.id], [later.id], [ended.id]]
    store.measured(ended)
    store.request_delete(later.id)
    assert store.listed() == [[], [], []]


def test_a_job_that_waits_to_be_measured_hides_no_job_that_lost_its_place(store: Store) -> None:
    waits, lost = store.ended(1, measure=True), store.create(queued_job(2))
    store.forget(Lane.GENERATE, lost)
    store.client.zrem(keys.SCHEDULED_JOBS, index_member(lost))
    assert store.reindex() == 1
    assert store.ready(Lane.GENERATE, lost.spec.model, 9) == [lost.id]
    assert store.to_measure() == [waits.id]


def test_a_pass_reads_no_record_however_many_jobs_wait_to_be_measured(store: Store) -> None:
    for number in range(1, 4):
        store.ended(number, measure=True)
    store.create(queued_job(4, measure=True))
    for _ in range(2):
        assert store.reindex() == 0
    assert store.num_read == 0
    assert len(store.to_measure()) == 3


def test_a_job_that_an_older_version_ended_is_measured(store: Store) -> None:
    store.ended(2, measure=True)
    job, silent = store.ended_by_older_version(1, measure=True), store.ended_by_older_version(3)
    assert job.id not in store.to_measure()
    assert store.reindex() == 1
    assert store.num_read == 1
    assert job.id in store.to_measure()
    assert silent.id not in store.to_measure()
    assert store.measured(job).measurement is not None
    assert store.reindex() == 0


def test_asking_for_a_job_that_an_older_version_ended_is_enough(store: Store) -> None:
    job = store.ended_by_older_version(measure=True)
    store.client.delete(keys.MEASURED_LATER)
    assert store.ask_measuring(job.id) == job
    assert store.to_measure() == [job.id]
    assert store.listed() == [[], [], [job.id]]


def test_a_job_that_lost_its_place_among_those_to_be_measured_gets_it_back(store: Store) -> None:
    lost, other = store.ended(1, measure=True), store.ended(2, measure=True)
    store.forget(Lane.MEASURE, lost)
    assert store.reindex() == 1
    assert store.to_measure() == [lost.id, other.id]
    assert store.num_read == 1


def test_a_waiting_job_that_an_older_version_lets_go_on_is_not_measured_before_its_new_end(store: Store) -> None:
    job = store.extended_by_older_version(store.ended(measure=True))
    assert store.claim_next([Lane.MEASURE], "", "w1", 60.0) is None
    assert store.listed() == [[job.id], [job.id], []]
    assert store.ready(Lane.GENERATE, job.spec.model, 9) == [job.id]


def test_nothing_is_left_of_a_deleted_job(store: Store) -> None:
    job = store.ended_by_older_version(measure=True)
    store.request_delete(job.id)
    assert store.reindex() == 0
    assert store.to_measure() == []
    store.purge(job.id)
    assert store.listed() == [[], [], []]


def test_a_job_that_an_older_version_removed_is_forgotten(store: Store) -> None:
    job, other = store.ended(1, measure=True), store.ended(2, measure=True)
    store.purge(job.id)
    store.client.zadd(keys.AWAITING_MEASURING, {index_member(job): 0})
    assert store.reindex() == 0
    assert store.listed() == [[], [], [other.id]]
