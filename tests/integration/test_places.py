"""Places of queued jobs of many API keys: as the definition has them, at a cost that does not grow with the keys."""

from __future__ import annotations

import random
from typing import Any

import redis

from core.service.domain.places import COUNTED_OWNERS
from core.service.domain.ports import JobStore
from core.service.domain.priority import Priority
from core.service.redis.job_store import RedisJobStore
from core.service.testing.clock import FakeClock
from core.service.testing.job_store import FakeJobStore
from tests.helpers.jobs import queued_job
from tests.helpers.schedule_contract import LANES, MODEL, TTL

RETENTION = 3600.0


def submit(store: JobStore, number: int, owner: int, priority: Priority = Priority.NORMAL) -> str:
    job = queued_job(number, priority=priority).model_copy(update={"owner": f"key_{owner:05}"})
    return store.create(job).id


def commands(client: redis.Redis) -> int:
    """That Redis has run, those in scripts too."""
    stats: dict[str, Any] = client.info("commandstats")  # pyright: ignore[reportAssignmentType]
    return sum(int(row["calls"]) for name, row in stats.items() if name != "cmdstat_info")


def test_a_place_costs_the_same_however_many_keys_wait(client: redis.Redis) -> None:
    store = RedisJobStore(client, FakeClock(), retention_seconds=RETENTION)

    def cost(job_id: str) -> int:
        before = commands(client)
        store.look(job_id)
        return commands(client) - before

    few, many = (
        cost([submit(store, number, number) for number in range(count)][-1])
        for count in (2 * COUNTED_OWNERS, 6 * COUNTED_OWNERS)
    )
    assert many <= few


def test_places_of_many_keys_are_those_of_the_definition(client: redis.Redis) -> None:
    rng, clock = random.Random(7), FakeClock()  # noqa: S311 - a repeatable sequence
    clock.advance(86400)
    stores = RedisJobStore(client, clock, retention_seconds=RETENTION), FakeJobStore(clock, retention_seconds=RETENTION)

    def places() -> list[list[int | None]]:
        jobs = [stores[1].get(job_id) for job_id in submitted]
        return [[live.queue_position for live in store.live_statuses(jobs)] for store in stores]

    submitted = list[str]()
    for number in range(3 * COUNTED_OWNERS):
        owner = number if rng.random() < 0.7 else rng.randint(0, 3 * COUNTED_OWNERS)
        priority = rng.choice((Priority.HIGH, Priority.NORMAL, Priority.NORMAL, Priority.NORMAL))
        submitted.append(submit(stores[0], number, owner, priority))
        submit(stores[1], number, owner, priority)
    for round_number in range(12):
        for _ in range(4):
            leases = [store.claim_next(LANES, MODEL, "w1", TTL) for store in stores]
            assert leases[0]
            assert leases[0] == leases[1]
            clock.advance(rng.choice((1.0, 7.0)))
            for store in stores if round_number % 3 else ():
                store.release(leases[0], count_attempt=False)
        real, fake = places()
        assert real == fake
