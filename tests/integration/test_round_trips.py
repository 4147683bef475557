"""Round trips to Redis: independent of the jobs on a page, and in a janitor's pass of the jobs that need nothing."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from redis.connection import Connection

from api.backends.ports import Ports, counts_of
from core.service.clock import SystemClock
from core.service.domain.ports import LiveStatus, WorkerStatus
from core.service.domain.schema import JobRecord, JobStatus, Lane, StepProgress
from core.service.redis.job_store import RedisJobStore
from core.service.settings import Settings
from core.service.testing.pauses import FakePauses
from core.service.testing.queue import FakeTaskQueue
from core.service.testing.registries import FakeUploadStore
from core.service.testing.speed import FakeSpeeds
from core.service.testing.storage import FakeStorage
from tests.helpers.jobs import DAY_ONE, queued_job
from worker.maintenance.janitor import Janitor
from worker.maintenance.janitor_lock import RedisJanitorLock
from worker.runtime.services import Services

PAGE = 20


def store_of(client: redis.Redis) -> RedisJobStore:
    return RedisJobStore(client, SystemClock(), retention_seconds=3600)


def fill(store: RedisJobStore, count: int, first: int = 0) -> list[JobRecord]:
    """So many jobs, every other one in work."""
    records = [store.create(queued_job(first + number, age_seconds=-number)) for number in range(count)]
    for record in records[::2]:
        assert store.claim(record.id, Lane.GENERATE, f"worker-{record.id}", 600)
        store.report_progress(record.id, StepProgress(chunk_index=0, step=1, steps=4, at=DAY_ONE))
        manifest_is_stored(store, record)
    return records


def manifest_is_stored(store: RedisJobStore, record: JobRecord) -> None:
    store.manifest_stored(store.get(record.id))


def counted_trips(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that a client sends: a command, or all those of a pipeline."""
    sent, send = list[None](), Connection.send_packed_command

    def counting(self: Connection, command: Any, check_health: bool = True) -> None:
        sent.append(None)
        send(self, command, check_health)

    monkeypatch.setattr(Connection, "send_packed_command", counting)
    return sent


def test_a_page_of_jobs_is_read_in_as_many_round_trips_as_one_job(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(client)
    fill(store, PAGE)

    def trips_of_a_page(jobs: int) -> int:
        before = len(trips)
        standings.append(store.live_statuses(store.list(limit=jobs).jobs))
        return len(trips) - before

    trips, standings = counted_trips(monkeypatch), list[Sequence[LiveStatus]]()
    trips_of_a_page(PAGE)  # sends the scripts
    assert 0 < trips_of_a_page(PAGE) == trips_of_a_page(1)
    live_statuses = standings[0]
    assert sum(Lane.GENERATE in standing.steps for standing in live_statuses) == PAGE // 2
    assert sorted(s.queue_position for s in live_statuses if s.queue_position) == list(range(1, PAGE // 2 + 1))


def records_read(client: redis.Redis) -> int:
    stats: dict[str, Any] = client.info("commandstats")  # pyright: ignore[reportAssignmentType]
    return int(stats["cmdstat_hget"]["calls"])


def test_a_pass_of_the_janitor_reads_no_job_that_is_well(client: redis.Redis) -> None:
    store = store_of(client)
    services = Services(
        store,
        FakeStorage(),
        FakeUploadStore(),
        FakeTaskQueue(),
        SystemClock(),
        Settings(),
        "cpu-1",
        FakeSpeeds(),
        FakePauses(),
    )
    janitor = Janitor(services, RedisJanitorLock(client))

    def cost_of_a_pass() -> int:
        janitor.run()
        before = records_read(client)
        janitor.run()
        return records_read(client) - before

    fill(store, 10)
    few = cost_of_a_pass()
    fill(store, 100, first=1000)
    assert cost_of_a_pass() <= few


def test_the_status_costs_the_same_however_many_jobs_there_are(client: redis.Redis) -> None:
    store = store_of(client)
    workers = [f"worker-{number}" for number in range(4)]

    def commands_of_a_look() -> int:
        before = client.info("stats")["total_commands_processed"]  # pyright: ignore[reportIndexIssue]
        for read in (store.totals, store.waiting, store.pool_demands, store.made_lately):
            read()
        store.in_work(workers)
        return client.info("stats")["total_commands_processed"] - before  # pyright: ignore[reportIndexIssue]

    for number, worker in enumerate(workers):
        record = store.create(queued_job(number))
        assert store.claim(record.id, Lane.GENERATE, worker, 600)
    commands_of_a_look()  # sends the scripts
    few = commands_of_a_look()
    fill(store, 200, first=1000)
    assert store.totals().jobs[JobStatus.QUEUED] == 100
    assert sum(queue.count for queue in store.waiting()) == 100
    assert len(store.in_work(workers)) == len(workers)
    assert commands_of_a_look() == few


def calls_of(client: redis.Redis, *commands: str) -> list[int]:
    stats: dict[str, Any] = client.info("commandstats")  # pyright: ignore[reportAssignmentType]
    return [int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"]) for command in commands]


def test_a_worker_that_wakes_others_asks_once_for_all_lanes_and_chooses_nothing(client: redis.Redis) -> None:
    store = store_of(client)
    fill(store, 4)
    lanes = [Lane.GENERATE, Lane.REFINE]
    store.free_work(lanes, queued_job().spec.model)
    commands = ("evalsha", "zadd", "zrem")
    before = calls_of(client, *commands)
    assert store.free_work(lanes, queued_job().spec.model)
    asked, *written = (now - then for now, then in zip(calls_of(client, *commands), before, strict=True))
    assert (asked, written) == (1, [0, 0])


def test_a_scrape_reads_each_index_once(client: redis.Redis) -> None:
    store = store_of(client)
    fill(store, 4)
    known = SimpleNamespace(names=lambda: ["idle"])
    read = SimpleNamespace(all=list[WorkerStatus], count=int)
    pauses = SimpleNamespace(all=dict[str, str])
    ports = SimpleNamespace(store=store, catalog=known, workers=read, uploads=read, pauses=pauses, clock=SystemClock())
    before = calls_of(client, "hlen", "smembers")
    counts = counts_of(cast("Ports", ports))
    queues = len(counts.jobs.in_lanes)
    assert [demand.pool for demand in counts.demands] == [queued_job().spec.model]
    lengths, names = (now - then for now, then in zip(calls_of(client, "hlen", "smembers"), before, strict=True))
    assert (lengths, names) == (queues + len(counts.demands), 1)
