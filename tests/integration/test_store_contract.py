"""The real job store, event log, outbox and worker registry, on a real Redis: the shared contract, and races."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import pytest
import redis

from cli.processes.embedded import EmbeddedRedis
from cli.processes.machine import free_port
from core.service.clock import SystemClock
from core.service.domain.errors import JobStateConflict, StaleLease, StoreError
from core.service.domain.ports import Lease, Results
from core.service.domain.rates import KEPT_SECONDS
from core.service.domain.schema import JobRecord, JobStatus, Lane
from core.service.records.job_order import index_member
from core.service.redis import keys
from core.service.redis.client import connect
from core.service.redis.deliveries import RedisDeliveries
from core.service.redis.event_log import RedisEventLog
from core.service.redis.job_store import RedisJobStore
from core.service.redis.outbox import RedisOutbox
from core.service.redis.upload_store import RedisUploadStore
from core.service.redis.worker_registry import RedisWorkerRegistry
from tests.helpers.deadline import eventually
from tests.helpers.delivery_contract import DeliveryContract
from tests.helpers.jobs import chunk_of, queued_job
from tests.helpers.measuring_contract import MeasuringContract
from tests.helpers.store_contract.contract import StoreContract
from tests.helpers.store_contract.ports import ERROR, HOOKED, LONG, SHORT, StorePorts, progress, upload_at, worker
from worker.maintenance.janitor_lock import RedisJanitorLock

T = TypeVar("T")
NUM_RACERS = 8


def ports_on(client: redis.Redis) -> StorePorts:
    store = RedisJobStore(client, SystemClock(), retention_seconds=60.0)
    later = timedelta()

    def wait(job_id: str, lane: Lane) -> None:
        eventually(lambda: not store.lease_alive(job_id, lane), "the lease to run out", pause_seconds=0.02)

    def pass_time(seconds: float) -> None:
        nonlocal later
        later += timedelta(seconds=seconds)

    return StorePorts(
        store,
        RedisEventLog(client),
        RedisOutbox(client, now=lambda: SystemClock().now() + later),
        RedisWorkerRegistry(client),
        RedisUploadStore(client),
        SystemClock(),
        wait,
        pass_time,
        RedisDeliveries(client, now=lambda: SystemClock().now() + later),
    )


@pytest.fixture
def ports(client: redis.Redis) -> StorePorts:
    return ports_on(client)


def race(*calls: Callable[[], T]) -> list[T | BaseException]:
    """Call all at the same moment, each in its own thread; results or errors in order."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(run, call) for call in calls]
    return [future.exception() or future.result() for future in futures]


class TestRedisDeliveries(DeliveryContract):
    """What clients see of webhooks, on Redis."""


class TestRedisMeasuring(MeasuringContract):
    """The same for measuring."""


class TestRedisStores(StoreContract):
    """The whole contract, on a real Redis."""

    def test_a_silent_worker_disappears(self, ports: StorePorts) -> None:
        ports.workers.report(worker("a"), SHORT)
        eventually(lambda: ports.workers.all() == [], "the entry to expire", pause_seconds=0.02)


def test_what_an_older_version_leaves_of_an_upload_goes(ports: StorePorts, client: redis.Redis) -> None:
    """It removes the entry, and knows neither clients nor the index of what was not sent."""
    now = ports.clock.now()
    upload = upload_at(now - timedelta(days=2), client="a", url_expires_at=now - timedelta(hours=1))
    ports.uploads.create(upload)
    client.delete(keys.upload_key(upload.id))
    client.zrem(keys.UPLOADS, upload.id)
    assert ports.uploads.count_of("a") == 0
    assert ports.uploads.unsent(now) == []
    assert client.zcard(keys.UNSENT_UPLOADS) == 0
    ports.uploads.create(upload_at(now, client="a"))
    assert client.zcard(keys.uploads_of_client("a")) == 1


def test_of_many_claimers_one_gets_the_lease(ports: StorePorts) -> None:
    job = ports.store.create(queued_job())
    found = race(*[lambda n=n: ports.store.claim(job.id, Lane.GENERATE, f"w{n}", LONG) for n in range(NUM_RACERS)])
    assert [lease.token for lease in found if isinstance(lease, Lease)] == [1]
    assert found.count(None) == NUM_RACERS - 1
    assert ports.event_types(job).count("job.started") == 1


def test_of_an_old_and_a_new_worker_only_the_new_one_commits(ports: StorePorts) -> None:
    job = ports.store.create(queued_job())
    old = ports.claim(job, ttl=SHORT)
    ports.wait_until_free(job.id, Lane.GENERATE)
    new = ports.claim(job)
    chunk = chunk_of(job, 0)
    results = race(*[lambda lease=lease: ports.store.commit_chunk(lease, chunk, "f1") for lease in (old, new)])
    assert [type(result) for result in results] == [StaleLease, JobRecord]
    assert ports.event_types(job).count("chunk.completed") == 1


def test_a_redis_that_is_lost_again_while_it_is_rebuilt_is_not_taken_for_whole(client: redis.Redis) -> None:
    lock, store = RedisJanitorLock(client), RedisJobStore(client, SystemClock(), retention_seconds=60.0)
    lock.begin_reading()
    client.flushall()
    assert not lock.mark_manifests_read()
    assert not store.has_all_records()
    lock.begin_reading()
    assert lock.mark_manifests_read()
    assert store.has_all_records()


def test_a_commit_and_a_cancel_at_once_are_both_kept(ports: StorePorts) -> None:
    for number in range(10):
        job = ports.store.create(queued_job(number))
        lease = ports.claim(job)
        race(
            lambda lease=lease, job=job: ports.store.commit_chunk(lease, chunk_of(job, 0), "f1"),
            lambda job=job: ports.store.request_cancel(job.id),
        )
        after = ports.store.get(job.id)
        assert (after.status, after.version, after.cancel_requested) == (JobStatus.FINALIZING, 1, True)


def test_a_last_commit_and_a_cancel_at_once_end_in_one_of_two_orders(ports: StorePorts) -> None:
    for number in range(10):
        job = ports.store.create(queued_job(number, num_frames=16))
        lease = ports.claim(job)
        _, canceled = race(
            lambda lease=lease, job=job: ports.store.commit_chunk(lease, chunk_of(job, 0), "f1"),
            lambda job=job: ports.store.request_cancel(job.id),
        )
        after = ports.store.get(job.id)
        assert (after.status, after.version) == (JobStatus.FINALIZING, 1)
        assert after.cancel_requested == (not isinstance(canceled, JobStateConflict))


def test_a_delete_and_a_commit_at_once_leave_a_deleted_job(ports: StorePorts) -> None:
    job = ports.store.create(queued_job())
    lease = ports.claim(job)
    race(
        lambda: ports.store.commit_chunk(lease, chunk_of(job, 0), "f1"),
        lambda: ports.store.request_delete(job.id),
    )
    assert [record.delete_requested for record in ports.store.active()] == [True]
    assert ports.store.list().jobs == []


def test_many_finishers_write_one_event_and_one_delivery(ports: StorePorts) -> None:
    job = ports.store.create(queued_job(**HOOKED))
    ports.make_all_chunks(job)
    lease = ports.claim(job, Lane.FINALIZE)
    race(*[lambda: ports.store.finish(lease, Results("v"))] * NUM_RACERS)
    assert ports.event_types(job).count("job.succeeded") == 1
    assert [row.event_type for row in ports.outbox.of_job(job.id)].count("job.succeeded") == 1


def test_two_senders_never_take_the_same_delivery(ports: StorePorts) -> None:
    for number in range(20):
        job = ports.store.create(queued_job(number, **HOOKED))
        ports.make_chunk(job, 0)
    taken = race(*[lambda: ports.outbox.take_due(10, LONG)] * 4)
    ids = [row.id for rows in taken if not isinstance(rows, BaseException) for row in rows]
    assert len(ids) == len(set(ids)) == 20


def test_a_change_is_seen_with_its_event_and_delivery_or_not_at_all(ports: StorePorts, client: redis.Redis) -> None:
    """MONITOR shows what Redis runs: record, log, outbox and index writes stand between one MULTI and one EXEC."""
    job = ports.store.create(queued_job(**HOOKED))
    lease = ports.claim(job)
    with client.monitor() as monitor:
        ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        commands = list[str]()
        for command in monitor.listen():
            commands.append(cast(dict[str, str], command)["command"])
            if commands[-1] == "EXEC":
                break
    inside = [command.split(" ")[0] for command in commands[commands.index("MULTI") + 1 : -1]]
    assert {"HSET", "XADD", "ZADD", "DEL"} <= set(inside)
    outside = [command.split(" ")[0] for command in commands[: commands.index("MULTI")]]
    assert set(outside) <= {"WATCH", "HGET", "CLIENT", "HELLO", "SELECT", "PING"}


def test_no_key_stays_after_a_purge(ports: StorePorts, client: redis.Redis) -> None:
    job = ports.store.create(queued_job(**HOOKED))
    ports.make_chunk(job, 0)
    ports.claim(job)
    ports.store.report_progress(job.id, progress(1))
    ports.store.fail(job.id, ERROR)
    ports.store.purge(job.id)
    pool = keys.pool_key(job.spec.model)
    assert ports.store.claim_next([Lane.GENERATE], job.spec.model, "w1", LONG) is None, "an idle pool owes nobody"
    of_no_job = {keys.QUEUES, f"{pool}:state", keys.COMMITS, keys.worker_lease_key("w1")}
    left = set(cast("list[str]", client.keys("*")))
    rates = {key for key in left if key.startswith(keys.MADE_KEYS)}
    assert all(0 < client.ttl(key) <= KEPT_SECONDS for key in rates)
    assert left - rates == of_no_job


def test_every_key_is_under_our_name(ports: StorePorts, client: redis.Redis) -> None:
    job = ports.store.create(queued_job(**HOOKED))
    ports.make_chunk(job, 0)
    ports.workers.report(worker("a"), LONG)
    names = client.keys("*")
    assert isinstance(names, list)
    assert len(names) > 5
    assert all(str(name).startswith("longtake:") for name in names)


def test_progress_keeps_one_entry(ports: StorePorts, client: redis.Redis) -> None:
    job = ports.store.create(queued_job())
    for step in range(5):
        ports.store.report_progress(job.id, progress(step))
    assert client.xlen(f"longtake:job:{job.id}:progress:generate") == 1


def test_the_record_is_plain_json(ports: StorePorts, client: redis.Redis) -> None:
    job = ports.store.create(queued_job())
    stored = client.hget(f"longtake:job:{job.id}:record", "record")
    assert isinstance(stored, str)
    assert json.loads(stored)["spec"]["prompt"] == "a red circle"


def test_records_and_log_survive_a_restart_under_a_living_client(tmp_path: Path) -> None:
    port = free_port()
    first = EmbeddedRedis(tmp_path, port).start()
    with connect(first.url()) as client:
        ports = ports_on(client)
        job = ports.store.create(queued_job())
        kept = ports.make_chunk(job, 0)
        first.stop()
        with EmbeddedRedis(tmp_path, port):
            assert ports.store.get(job.id) == kept
            assert ports.event_types(job) == ["job.queued", "job.started", "chunk.completed"]
            assert ports.make_chunk(job, 1).status is JobStatus.FINALIZING


def test_a_follower_survives_a_restart(tmp_path: Path) -> None:
    port = free_port()
    first = EmbeddedRedis(tmp_path, port).start()
    with connect(first.url()) as client, ThreadPoolExecutor(1) as pool:
        ports = ports_on(client)
        job = ports.store.create(queued_job())
        positions = ports.log.newest([job.id])
        following = pool.submit(ports.log.follow, positions, LONG)
        first.stop()
        with EmbeddedRedis(tmp_path, port):
            ports.store.request_cancel(job.id)
            (news,) = following.result(timeout=LONG)
    assert [event.type for event in news.events] == ["job.canceled"]


def test_a_redis_that_is_away_is_a_named_error() -> None:
    with connect(f"redis://127.0.0.1:{free_port()}/0") as client, pytest.raises(StoreError):
        ports_on(client).store.ping()


def test_jobs_that_an_older_version_has_begun_or_ended_are_not_counted_as_ready(
    client: redis.Redis, ports: StorePorts
) -> None:
    job = ports.store.create(queued_job())
    index = keys.prepared_index(job.spec.model)
    client.zadd(index, {index_member(job): 0, "0000000000000001:job_gone": 0})
    assert ports.store.count_prepared(job.spec.model, 16) == 0
    assert client.zcard(index) == 0
