"""The counters of a pool's open work, when processes of another version change its queues."""

from __future__ import annotations

from typing import cast

import pytest
import redis

from core.service.domain.capacity import PoolDemand
from core.service.domain.schema import Lane
from core.service.redis import keys
from core.service.redis.job_store import RedisJobStore
from core.service.testing.clock import FakeClock
from tests.helpers.jobs import queued_job
from tests.helpers.schedule_contract import MODEL, Queue
from tests.helpers.store_contract.ports import ERROR

COUNTED = ("begun jobs", "begun pieces", "new jobs", "new pieces", "streams")


@pytest.fixture
def queue(client: redis.Redis) -> Queue:
    clock = FakeClock()
    return Queue(RedisJobStore(client, clock, retention_seconds=3600.0), clock)


@pytest.mark.parametrize("wrong", [7, -7])
def test_counters_that_are_wrong_are_right_again_when_a_queue_was_empty(
    client: redis.Redis, queue: Queue, wrong: int
) -> None:
    """A process of a version without some of them changes the queue and not them."""
    queue.submit(1, num_frames=32)
    for field in ("new jobs", "new pieces", "begun pieces", "refine begun pieces"):
        client.hincrby(f"{keys.pool_key(MODEL)}:state", field, wrong)
    told = queue.demand()
    assert told is not None
    assert (told.jobs, told.active_workers) == (1, 0), "jobs are never miscounted"
    queue.store.fail(queued_job(1).id, ERROR)
    queue.submit(2, num_frames=32)
    assert queue.demand() == PoolDemand(MODEL, 1, 0, queue_seconds=None, active_workers=0)
    queue.make(queue.next(), 4.0)
    assert queue.demand() == PoolDemand(MODEL, 0, 1, 4.0, active_workers=0, viewers_need=1.0)


def test_counters_are_right_again_once_the_janitor_has_seen_that_jobs_are_missing(
    client: redis.Redis, queue: Queue
) -> None:
    """A process of a version without some of them has taken jobs out, and the queue is never empty."""
    for number in range(4):
        queue.begin(number, num_frames=64)
    state, entries = f"{keys.pool_key(MODEL)}:state", keys.entries_key(keys.ready_queue(Lane.GENERATE, MODEL))
    client.hincrby(state, "begun jobs", 3)
    client.hincrby(state, "begun pieces", 30)
    client.hincrby(state, "streams", 2)
    queue.store.reindex()
    counted = cast("dict[str, str]", client.hgetall(state))
    assert client.hlen(entries) == 4
    assert {what: int(counted.get(what, 0)) for what in COUNTED} == dict(zip(COUNTED, (4, 12, 0, 0, 0), strict=True))


def test_jobs_that_an_older_version_has_queued_are_counted_with_the_first_change(
    client: redis.Redis, queue: Queue
) -> None:
    """It knew no streams, and called what workers carry `slots`."""
    queue.submit(1, num_frames=None, endless_limit=320)
    queue.make(queue.next(), 1.0)
    queue.begin(2, num_frames=64)
    state = f"{keys.pool_key(MODEL)}:state"
    client.hdel(state, "streams", "carried", "top pace", "longest")
    client.hset(state, "slots", 9)
    queue.submit(3)
    demand = queue.demand()
    assert demand
    assert (demand.queued_jobs, demand.begun_jobs) == (2, 1)
    assert demand.streams_need > 0
    queue.make(queue.next(), 1.0)
    known = cast("dict[str, str]", client.hgetall(state))
    assert float(known["top pace"]) == 0.5
