"""Redis behind Sentinel: the master dies, and records and messages continue with the new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.service.clock import SystemClock
from core.service.domain.errors import StoreError, StoreMisconfigured, StoreUnavailable
from core.service.domain.schema import JobRecord, JobStatus
from core.service.net.circuit_breaker import CircuitBreaker
from core.service.redis.client import REQUEST, connect
from core.service.redis.errors import store_errors
from core.service.redis.job_store import RedisJobStore
from core.service.redis.queue import CPU_QUEUE, TASK_DELIVER_WEBHOOKS, make_celery_app
from core.service.redis.urls import SentinelUrl
from core.service.settings import Settings
from tests.helpers.celery_worker import working
from tests.helpers.deadline import eventually
from tests.helpers.jobs import job_spec
from tests.helpers.sentinels import Watched, watched_redis


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with watched_redis(tmp_path) as watched:
        yield watched


def test_a_sentinel_url_is_read() -> None:
    url = SentinelUrl.read("sentinel://user:p%40ss@a,b:1/3?master=main&sentinel_password=x")
    assert (url.master, url.hosts, url.database) == ("main", (("a", 26379), ("b", 1)), 3)
    assert (url.username, url.password, url.sentinel_password) == ("user", "p@ss", "x")


def test_records_continue_with_the_new_master(watched: Watched) -> None:
    client = connect(watched.url(0), REQUEST, CircuitBreaker())
    store = RedisJobStore(client, SystemClock(), retention_seconds=60)
    record = JobRecord(id="job_a", status=JobStatus.QUEUED, spec=job_spec(), created_at=SystemClock().now())
    store.create(record)
    with watched.replica.client() as replica:
        eventually(lambda: replica.exists("longtake:job:job_a:record"), "the record to reach the replica")
    watched.master.kill()
    with pytest.raises(StoreUnavailable):
        store.get("job_a")
    watched.fail_over()

    def canceled() -> bool:
        try:
            return store.request_cancel("job_a").status is JobStatus.CANCELED
        except StoreError:
            return False

    eventually(canceled, "the new master to take a write")
    client.close()


def test_messages_continue_with_the_new_master(watched: Watched) -> None:
    app = make_celery_app(Settings(broker_url=watched.url(1)))
    done: list[int] = []

    def work() -> None:
        done.append(1)

    with working(app, TASK_DELIVER_WEBHOOKS, work, CPU_QUEUE):
        app.send_task(TASK_DELIVER_WEBHOOKS, queue=CPU_QUEUE)
        eventually(lambda: len(done) == 1, "the first task")
        watched.fail_over()
        app.send_task(TASK_DELIVER_WEBHOOKS, queue=CPU_QUEUE)
        eventually(lambda: len(done) == 2, "the second task", seconds=60)


def test_a_master_that_no_sentinel_knows_is_away(watched: Watched) -> None:
    with pytest.raises(StoreUnavailable), store_errors():
        connect(watched.url(0).replace("master=main", "master=other"), REQUEST).ping()
    with pytest.raises(StoreMisconfigured):
        connect("sentinel://host:1/0")
