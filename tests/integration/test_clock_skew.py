"""The queues go by Redis' clock: machines whose clocks differ choose alike, and free and charge at the right time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import cast

import pytest
import redis

from core.service.clock import SystemClock
from core.service.domain.priority import Priority
from core.service.domain.schema import Lane
from core.service.redis import keys
from core.service.redis.job_store import RedisJobStore
from tests.helpers.deadline import eventually
from tests.helpers.jobs import chunk_of, queued_job

MODEL = queued_job().spec.model
LANES = [Lane.GENERATE, Lane.REFINE]
LONG = 3600.0
SKEW = 60.0


class SkewedClock(SystemClock):
    """Of a machine whose clock is wrong by so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return super().now() + self._seconds


def store_at(client: redis.Redis, skew: float) -> RedisJobStore:
    return RedisJobStore(client, SkewedClock(skew), retention_seconds=LONG)


@pytest.fixture(params=[SKEW, -SKEW], ids=["ahead", "behind"])
def stores(client: redis.Redis, request: pytest.FixtureRequest) -> tuple[RedisJobStore, RedisJobStore]:
    """One of a machine whose clock is right, one of a machine whose clock is wrong."""
    return store_at(client, 0.0), store_at(client, request.param)


def submit(store: RedisJobStore, number: int, priority: Priority = Priority.NORMAL) -> str:
    now = SystemClock().now() + timedelta(milliseconds=number)
    return store.create(queued_job(number, priority=priority).model_copy(update={"created_at": now})).id


def test_a_job_that_was_picked_is_given_to_nobody_else(stores: tuple[RedisJobStore, RedisJobStore]) -> None:
    right, wrong = stores
    for number in range(6):
        submit(right, number)
    claimed = list[str]()
    for number in range(6):
        lease = (right, wrong)[number % 2].claim_next(LANES, MODEL, f"w{number}", LONG)
        assert lease
        claimed.append(lease.job_id)
    assert claimed == [queued_job(number).id for number in range(6)]
    assert all(store.claim_next(LANES, MODEL, "w9", LONG) is None for store in stores)


def test_both_say_the_same_order(stores: tuple[RedisJobStore, RedisJobStore]) -> None:
    right, wrong = stores
    for number, priority in enumerate(Priority):
        submit((right, wrong)[number % 2], number, priority)
    orders = [list(store.ready(Lane.GENERATE, MODEL, 9)) for store in stores]
    assert orders[0] == orders[1]
    assert len(orders[0]) == len(Priority)


def test_a_lane_that_rests_is_not_freed_early(stores: tuple[RedisJobStore, RedisJobStore]) -> None:
    right, wrong = stores
    for one, other in ((right, wrong), (wrong, right)):
        job_id = submit(right, 1)
        lease = one.claim_next(LANES, MODEL, "w1", LONG)
        assert lease
        one.release(lease, count_attempt=True, rest_seconds=30)
        assert other.free_work(LANES, MODEL) == one.free_work(LANES, MODEL) == {}
        one.purge(job_id)


def test_a_rest_ends_on_time(stores: tuple[RedisJobStore, RedisJobStore]) -> None:
    right, wrong = stores
    job_id = submit(right, 1)
    lease = wrong.claim_next(LANES, MODEL, "w1", LONG)
    assert lease
    wrong.release(lease, count_attempt=True, rest_seconds=0.1)
    assert freed(right) == freed(wrong) == {Lane.GENERATE: job_id}


def freed(store: RedisJobStore) -> Mapping[Lane, str]:
    """Work that is free again long before it would be by the wrong clock."""
    return eventually(lambda: store.free_work(LANES, MODEL) or None, "a rest to end", seconds=SKEW / 4)


def test_a_piece_is_charged_what_it_took(client: redis.Redis, stores: tuple[RedisJobStore, RedisJobStore]) -> None:
    right, wrong = stores
    submit(right, 1)
    for one, other in ((right, wrong), (wrong, right)):
        lease = one.claim_next(LANES, MODEL, "w1", LONG)
        assert lease
        other.commit_chunk(lease, chunk_of(right.get(lease.job_id), right.get(lease.job_id).chunks.count), "f1")
    served = cast("dict[str, str]", client.hgetall(f"{keys.pool_key(MODEL)}:served"))
    assert all(0 <= float(seconds) < SKEW / 2 for seconds in served.values())


@pytest.mark.parametrize("skew", [70.0, -70.0], ids=["ahead", "behind"])
def test_what_a_worker_with_a_wrong_clock_makes_counts_now(client: redis.Redis, skew: float) -> None:
    right, wrong = store_at(client, 0.0), store_at(client, skew)
    submit(right, 1)
    lease = wrong.claim_next(LANES, MODEL, "w1", LONG)
    assert lease
    wrong.commit_chunk(lease, chunk_of(right.get(lease.job_id), 0), "f1")
    told = [store.made_lately() for store in (right, wrong)]
    assert [lately.by_lane[Lane.GENERATE, MODEL].chunks for lately in told] == [1, 1]
    assert all(60 <= lately.seconds <= 70 for lately in told)
