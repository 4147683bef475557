"""The queues in Redis choose as core.service.domain.scheduling, whatever happens; and many workers at once share the
work without a loss."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from typing import Any, cast

import pytest
import redis
from redis.client import Pipeline

from core.service.clock import SystemClock
from core.service.domain.ports import Lease
from core.service.domain.priority import Priority
from core.service.domain.scheduling import Policy, Pool
from core.service.domain.schema import ChunkRecord, JobRecord, JobStatus, Lane
from core.service.domain.transitions import entry_of
from core.service.records.job_order import index_member
from core.service.redis import keys, schedule
from core.service.redis.job_store import RedisJobStore
from core.service.redis.schedule import RESERVED_SECONDS, Schedule, write_again
from core.service.redis.transaction import Transactions
from core.service.testing.clock import FakeClock
from core.service.testing.job_store import FakeJobStore
from tests.helpers.jobs import chunk_of, queued_job, refine_spec
from tests.helpers.schedule_contract import Queue, ScheduleContract
from tests.helpers.store_contract.ports import ERROR
from tests.helpers.work_contract import WorkContract

LANES = [Lane.GENERATE, Lane.REFINE]
MODEL = queued_job().spec.model
LONG = 3600.0
RETENTION = 3600.0
OWNERS = (None, "key_a", "key_b", "key_c")
SHARES = {None: 1.0, "key_a": 1.0, "key_b": 2.0, "key_c": 0.5}


class Twins:
    """The real store and the fake one, to which the same happens at the same times."""

    def __init__(self, client: redis.Redis, rng: random.Random) -> None:
        self.clock, self.rng, self.client = FakeClock(), rng, client
        self.clock.advance(86400)
        self.real = RedisJobStore(client, self.clock, retention_seconds=RETENTION)
        self.fake = FakeJobStore(self.clock, retention_seconds=RETENTION)
        self.leases = dict[tuple[str, Lane], Lease]()
        self.made = 0
        # Where pieces take seconds there is hardly ever room for more viewers.
        self.seconds = rng.choice([(0.5, 2.0, 7.0, 60.0), (0.02, 0.1, 0.3)])

    def create(self) -> None:
        self.made += 1
        owner = self.rng.choice(OWNERS)
        changes: dict[str, Any] = {"refine": refine_spec()} if self.rng.random() < 0.3 else {}
        if self.rng.random() < 0.1:
            changes |= {"num_frames": None, "endless_limit": 320}
        else:
            changes |= {"num_frames": 16 * self.rng.randint(1, 12)}
        changes |= {"priority": self.rng.choice(list(Priority)), "fps": self.rng.choice((8, 24))}
        job = queued_job(self.made, **changes)
        age = timedelta(seconds=self.rng.choice((0, 0, 1, 400)))
        job = job.model_copy(update={"owner": owner, "share": SHARES[owner], "created_at": self.clock.now() - age})
        for store in (self.real, self.fake):
            store.create(job)

    def claim(self) -> None:
        worker, lanes = f"w{self.rng.randint(1, 4)}", self.rng.choice([LANES, LANES[:1], LANES[1:]])
        own = [self.rng.choice(list(self.leases))] if self.leases and self.rng.random() < 0.5 else []
        own += [(queued_job(self.rng.randint(1, self.made or 1)).id, self.rng.choice(LANES))]
        real, fake = (store.claim_next(lanes, MODEL, worker, LONG, own) for store in (self.real, self.fake))
        assert real == fake
        if real:
            self.leases[real.job_id, real.lane] = real

    def commit(self) -> None:
        if not self.leases:
            return
        lease = self.leases.pop(self.rng.choice(sorted(self.leases)))
        record = self.fake.get(lease.job_id)
        if lease.lane is Lane.REFINE:
            for store in (self.real, self.fake):
                store.commit_refined(lease, record.refine_done + 1, (), "r1")
            return
        chunk = chunk_of(record, record.chunks.count).model_copy(update={"created_at": self.clock.now()})
        if self.rng.random() < 0.5:
            for store in (self.real, self.fake):
                store.commit_chunk(lease, chunk, "f1")
            return
        self._commit_and_keep(lease, chunk)

    def _commit_and_keep(self, lease: Lease, chunk: ChunkRecord) -> None:
        kept = [store.commit_and_claim(lease, chunk, "f1", LONG) for store in (self.real, self.fake)]
        state = kept[0].lane(Lane.GENERATE)
        assert state == kept[1].lane(Lane.GENERATE)
        if state.held:
            self.leases[lease.job_id, lease.lane] = Lease(lease.job_id, lease.lane, state.token, lease.worker)

    def release(self) -> None:
        if self.leases:
            lease = self.leases.pop(self.rng.choice(sorted(self.leases)))
            for store in (self.real, self.fake):
                store.release(lease, count_attempt=False)

    def expire(self) -> None:
        """A worker dies: its lease runs out."""
        if self.leases:
            job_id, lane = key = self.rng.choice(sorted(self.leases))
            del self.leases[key]
            self.client.delete(keys.lease_key(job_id, lane))
            held = f"{keys.queue_key(keys.ready_queue(lane, MODEL))}:held"
            self.client.zadd(held, {job_id: self.clock.now().timestamp()}, xx=True)
            del self.fake.memory.leases[key]
            for store in (self.real, self.fake):  # notices it: of two at once they would not know which ended first
                store.ready(lane, MODEL, 1)

    def end(self) -> None:
        """A client cancels a job, or it fails."""
        alive = sorted(record.id for record in self.fake.active() if record.status is not JobStatus.FINALIZING)
        if not alive:
            return
        job_id = self.rng.choice(alive)
        for key in [key for key in self.leases if key[0] == job_id]:
            del self.leases[key]
        for store in (self.real, self.fake):
            store.fail(job_id, ERROR)

    def change(self) -> None:
        """Something about a job changes that has nothing to do with its work."""
        if records := [record for record in self.fake.active() if not record.delete_requested]:
            record = self.rng.choice(records)
            for store in (self.real, self.fake):
                store.revoke_links(record.id, f"secret-{self.rng.random()}")

    def time(self) -> None:
        self.clock.advance(self.rng.choice(self.seconds))

    def compare(self) -> None:
        for lane in LANES:
            assert self.real.ready(lane, MODEL, 50) == self.fake.ready(lane, MODEL, 50)
        assert self._demands(self.real) == pytest.approx(self._demands(self.fake))
        assert self._measures() == pytest.approx(self._measures_of_fake())
        jobs = [record for record in self.fake.active() if record.status is JobStatus.QUEUED]
        real, fake = self.real.live_statuses(jobs), self.fake.live_statuses(jobs)
        assert [status.queue_position for status in real] == [status.queue_position for status in fake]
        for one, other in zip(real, fake, strict=True):
            assert (one.wait_seconds or 0) == pytest.approx(other.wait_seconds or 0, rel=0.06)

    def _measures(self) -> dict[str, float]:
        """What the pool in Redis has learned."""
        state = cast("dict[str, str]", self.client.hgetall(f"{keys.pool_key(MODEL)}:state"))
        means = [f"mean {lane}" for lane in LANES]
        return {name: float(state.get(name, 0)) for name in ("pace", "top pace", "longest", "carried", *means)}

    def _measures_of_fake(self) -> dict[str, float]:
        pool = self.fake.memory.pools.get(MODEL) or Pool()
        means = {f"mean {lane}": pool.mean_seconds.get(lane, 0.0) for lane in LANES}
        tops = {"top pace": pool.top_pace or 0.0, "longest": pool.longest}
        return {"pace": pool.pace or 0.0, "carried": pool.carried, **tops, **means}

    def _demands(self, store: RedisJobStore | FakeJobStore) -> dict[str, float | None]:
        demands = [asdict(demand) for demand in store.pool_demands()]
        return {f"{each['pool']} {name}": each[name] for each in demands for name in each.keys() - {"pool"}}


@pytest.fixture
def queue(client: redis.Redis) -> Queue:
    clock = FakeClock()
    return Queue(RedisJobStore(client, clock, retention_seconds=RETENTION), clock)


class TestRedisSchedule(ScheduleContract):
    """Who is next, in Redis."""


class TestRedisWork(WorkContract):
    """What waits, is being made and was made, in Redis."""


@pytest.mark.parametrize("seed", range(12))
def test_redis_picks_what_the_definition_picks(client: redis.Redis, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a repeatable sequence
    twins = Twins(client, rng)
    acts: list[Callable[[], None]] = [
        *[twins.create] * rng.choice((2, 4)),
        *[twins.claim] * 5,
        *[twins.commit] * 4,
        twins.release,
        twins.expire,
        twins.end,
        twins.change,
        *[twins.time] * 3,
    ]
    for _ in range(300):
        rng.choice(acts)()
        if rng.random() < 0.2:
            twins.compare()
    while twins.leases:
        twins.release()
    for record in twins.fake.active():
        for store in (twins.real, twins.fake):
            store.fail(record.id, ERROR)
            store.purge(record.id)
    assert twins.real.claim_next(LANES, MODEL, "w1", LONG) is None
    pool = keys.pool_key(MODEL)
    left = {key for key in cast("list[str]", client.keys("*")) if ":queue:" in key or key.startswith(pool)}
    assert left == {f"{pool}:state"}, "nothing of ended jobs stays"


def test_many_workers_at_once_share_the_work_without_a_loss(client: redis.Redis) -> None:
    store, jobs, workers = RedisJobStore(client, SystemClock(), retention_seconds=RETENTION), 60, 12
    for number in range(jobs):
        store.create(queued_job(number, num_frames=32))
    claimed, lock = list[tuple[str, int]](), threading.Lock()

    def work(number: int) -> None:
        while (lease := store.claim_next([Lane.GENERATE], MODEL, f"w{number}", LONG)) is not None:
            record: JobRecord = store.get(lease.job_id)
            with lock:
                claimed.append((lease.job_id, lease.token))
            store.commit_chunk(lease, chunk_of(record, record.chunks.count), "f1")

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    assert len(claimed) == len(set(claimed)) == 2 * jobs
    assert all(record.status is JobStatus.FINALIZING for record in store.active())


def test_a_job_whose_lease_ran_out_stays_in_its_queue_while_its_worker_asks_whether_it_is_next(
    client: redis.Redis,
) -> None:
    clock = FakeClock()
    store = RedisJobStore(client, clock, retention_seconds=RETENTION)
    job = store.create(queued_job())
    lease = store.claim_next([Lane.GENERATE], MODEL, "w1", LONG)
    assert lease
    client.delete(keys.lease_key(job.id, Lane.GENERATE))
    clock.advance(RESERVED_SECONDS + 1)
    entry = entry_of(store.get(job.id), Lane.GENERATE)
    assert entry
    assert store.is_next(entry, [Lane.GENERATE], MODEL)
    assert store.ready(Lane.GENERATE, MODEL, 1) == [job.id]


def test_what_an_older_version_left_in_the_index_hides_no_job_that_it_did_not_add(client: redis.Redis) -> None:
    store = RedisJobStore(client, FakeClock(), retention_seconds=RETENTION)
    ended, job = store.create(queued_job(1)), store.create(queued_job(2))
    store.fail(ended.id, ERROR)

    def end_without_taking_it_out(pipe: Pipeline) -> None:  # as that version
        write_again(pipe, ended, 0.0)
        pipe.zadd(keys.SCHEDULED_JOBS, {index_member(ended): 0})

    Transactions(client).write(end_without_taking_it_out)
    Schedule(client, Policy()).forget(schedule.Queue.of(Lane.GENERATE, MODEL), job.id, 0.0)
    client.zrem(keys.SCHEDULED_JOBS, index_member(job))
    assert store.claim_next([Lane.GENERATE], MODEL, "w1", LONG) is None
    assert store.reindex() == 1
    assert store.ready(Lane.GENERATE, MODEL, 1) == [job.id]


def test_a_commit_puts_a_job_into_queues_that_an_older_version_did_not_write(client: redis.Redis) -> None:
    store = RedisJobStore(client, SystemClock(), retention_seconds=RETENTION)
    job = store.create(queued_job(num_frames=64, refine=refine_spec()))
    for index in range(4):
        lease = store.claim_next([Lane.GENERATE], MODEL, "w1", LONG)
        assert lease
        store.commit_chunk(lease, chunk_of(store.get(job.id), index), "f1")
        if index == 2:
            Schedule(client, Policy()).forget(schedule.Queue.of(Lane.REFINE, MODEL), job.id, 0.0)
    assert store.ready(Lane.REFINE, MODEL, 1) == [job.id]
