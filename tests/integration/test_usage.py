"""What keys use, counted on a real Redis: the shared contract, and races."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from random import Random

import pytest
import redis

from core.service.clock import SystemClock
from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import LimitReached, LongtakeError
from core.service.domain.usage import day_of
from core.service.redis import keys
from core.service.redis.job_store import RedisJobStore
from core.service.redis.request_counts import KEPT_SECONDS, RedisRequestCounts
from core.service.redis.upload_store import RedisUploadStore
from core.service.redis.usage import FRAMES_KEPT, RedisUsage
from core.service.testing.clock import FakeClock
from tests.helpers.usage_contract.contract import UsageContract
from tests.helpers.usage_contract.deeds import DEEDS
from tests.helpers.usage_contract.keys import UsagePorts

NUM_RACERS = 8


@pytest.fixture
def ports(client: redis.Redis) -> UsagePorts:
    clock = FakeClock(SystemClock().now())

    def lose_all() -> None:
        client.flushall()

    def mark_rebuilt() -> None:
        client.set(keys.MANIFESTS_READ, 1)

    mark_rebuilt()
    store, usage = RedisJobStore(client, clock, retention_seconds=600.0), RedisUsage(client, clock)
    counts = RedisRequestCounts(client)
    return UsagePorts(clock, store, RedisUploadStore(client), usage, counts, lose_all, mark_rebuilt)


class TestRedisUsage(UsageContract):
    """The whole contract, on a real Redis."""


def test_of_many_at_once_only_as_many_are_let_in_as_the_limits_allow(ports: UsagePorts) -> None:
    key = ports.key()

    def create(_: int) -> None:
        with suppress(LimitReached):
            key.create(KeyLimits(unfinished_jobs=5, frames_per_day=3 * 32 + 1))

    def upload(_: int) -> None:
        with suppress(LimitReached):
            key.upload(10, KeyLimits(stored_bytes=45))

    with ThreadPoolExecutor(NUM_RACERS) as pool:
        for outcomes in (pool.map(create, range(40)), pool.map(upload, range(40))):
            list(outcomes)
    assert (key.used.unfinished_jobs, key.used.frames_today, key.used.stored_bytes) == (3, 96, 40)


def test_whatever_many_do_at_once_the_count_is_that_of_the_records(ports: UsagePorts) -> None:
    key = ports.key()
    key.create()
    deeds = sorted(
        deed for deed in DEEDS if deed != "purge" and "upload" not in deed
    )  # what those count the test keeps in plain numbers

    def live(seed: int) -> None:
        random = Random(seed)  # noqa: S311 - chooses deeds
        for _ in range(60):
            with suppress(LongtakeError):
                DEEDS[random.choice(deeds)](key, random.choice(key.ids), random.randrange(16, 40))

    with ThreadPoolExecutor(NUM_RACERS) as pool:
        list(pool.map(live, range(NUM_RACERS)))
    assert key.used == key.expected()


def test_of_many_requests_at_once_each_is_counted(ports: UsagePorts) -> None:
    key = ports.key().id
    with ThreadPoolExecutor(NUM_RACERS) as pool:
        taken = [each.result() for each in [pool.submit(ports.counts.take, key, 1, 3) for _ in range(40)]]
    assert sorted(taken) == [*range(0, 120, 3)]


def test_counts_of_times_that_are_over_are_not_kept(ports: UsagePorts, client: redis.Redis) -> None:
    key = ports.key()
    key.create()
    ports.counts.take(key.id, 5, 1)
    today = keys.frames_of(key.id, day_of(ports.clock.now()))
    assert 0 < int(str(client.ttl(today))) <= (FRAMES_KEPT + timedelta(days=1)).total_seconds()
    assert 0 < int(str(client.ttl(keys.requests_key(key.id, 5)))) <= KEPT_SECONDS


def test_a_purged_job_leaves_no_trace_but_its_frames(ports: UsagePorts, client: redis.Redis) -> None:
    key = ports.key()
    job = key.create()
    key.make_chunk(job)
    key.store.request_delete(job)
    key.store.purge(job)
    assert client.hgetall(keys.stored_bytes_of(key.id)) == {keys.TOTAL_BYTES: "0"}
    assert client.exists(keys.unfinished_jobs_of(key.id)) == 0
