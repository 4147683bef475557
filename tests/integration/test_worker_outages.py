"""Worker processes while their broker, Redis or S3 fails: the same process continues, and none is restarted.

The outages of a broker follow one another on one service, and those of the records on another: a process that continues
is there for the next.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from cli.processes.machine import LOOPBACK
from core.service.domain.ports import WorkerStatus
from core.service.redis.client import REQUEST, connect
from core.service.redis.queue import CPU_QUEUE, TASK_DELIVER_WEBHOOKS, make_celery_app
from core.service.settings import Settings
from tests.helpers.celery_worker import working
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.redis_server import RedisServer, demoted, full
from tests.helpers.redis_server import unable_to_save as unable_to_save_records
from tests.helpers.service import Service, running_service
from worker.runtime.self_probe import ProbeQueue, SelfProbe

AWAY_SECONDS = 15.0
REFUSING_SECONDS = 5.0
PROBED = 2
"""The broker's database of the tests of probes, which no worker reads."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("broker"), "--save", "") as broker:
        yield broker


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, broker: RedisServer) -> Iterator[Service]:
    """A worker and a CPU worker, and a broker apart from the records, so that what workers report can be read."""
    folder = tmp_path_factory.mktemp("apart")
    with _with_workers(folder, broker_url=broker.url(1), janitor_interval_seconds=1.0) as service:
        yield service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A worker and a CPU worker; one Redis has the records and is the broker."""
    with _with_workers(tmp_path_factory.mktemp("service")) as service:
        yield service


@contextmanager
def _with_workers(folder: Path, **settings: Any) -> Generator[Service]:
    write_fake_preset(folder / "presets", "slow", steps=8, step_seconds=0.1)
    with running_service(folder, folder / "presets", default_model="slow", **settings) as service:
        service.start_workers("slow")
        yield service


def starts(service: Service) -> int:
    """How many worker processes were started."""
    return service.logs(1_000_000).count("started, pid")


def pids(service: Service) -> set[int]:
    return {status.pid for status in service.workers()}


def of_model(service: Service) -> WorkerStatus | None:
    return next((status for status in service.workers() if status.model == "slow"), None)


def is_not_ready(service: Service) -> bool:
    status = of_model(service)
    return status is not None and status.state == "not_ready" and bool(status.reason)


@contextmanager
def refusing(broker: RedisServer) -> Generator[None]:
    """A replica without a master."""
    with broker.client() as client:
        client.replicaof(LOOPBACK, "1")
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def lacking_replicas(broker: RedisServer) -> Generator[None]:
    broker.set(min_replicas_to_write=1)
    try:
        yield
    finally:
        broker.set(min_replicas_to_write=0)


@contextmanager
def unable_to_save(broker: RedisServer) -> Generator[None]:
    snapshots = broker.folder / "dump.rdb"
    snapshots.mkdir()
    broker.set(save="3600 1")
    with broker.client() as client:
        client.bgsave()
        try:
            yield
        finally:
            snapshots.rmdir()
            client.bgsave()
            broker.set(save="")


@contextmanager
def gone(broker: RedisServer) -> Generator[None]:
    broker.kill()
    try:
        yield
    finally:
        broker.start()


@pytest.mark.parametrize("outage", [refusing, lacking_replicas, gone, unable_to_save], ids=lambda one: one.__name__)
def test_a_broker_that_fails_makes_workers_wait_in_the_same_process(
    apart: Service, broker: RedisServer, outage: Callable[[RedisServer], AbstractContextManager[None]]
) -> None:
    before = pids(apart)
    with outage(broker):
        eventually(lambda: is_not_ready(apart), "the worker to say that it is not ready")
        waited_until = time.monotonic() + 5
        eventually(lambda: time.monotonic() > waited_until, "a longer outage", pause_seconds=0.5)
    apart.wait_for_success(apart.submit(model="slow", num_frames=16).id)
    assert pids(apart) == before
    assert of_model(apart).state in {"ready", "busy"}  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("outage", [full, demoted, unable_to_save_records], ids=lambda one: one.__name__)
def test_records_that_refuse_writes_during_a_chunk_cost_no_process_and_no_attempt(
    service: Service, outage: Callable[[redis.Redis], AbstractContextManager[None]]
) -> None:
    """Earlier, workers ended at each such error and loaded their weights again, and jobs failed."""
    before, started = pids(service), starts(service)
    job = service.submit(model="slow", num_frames=64)
    service.wait_for_chunks(job.id, 1)
    with outage(service.redis()):
        waited_until = time.monotonic() + REFUSING_SECONDS
        eventually(lambda: time.monotonic() > waited_until, "the outage to last", pause_seconds=0.5)
    service.wait_for_success(job.id)
    assert pids(service) == before
    assert starts(service) == started


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_worker_continues_after_redis_was_away_while_its_task_ended(service: Service, how: str) -> None:
    """Earlier, after 12 to 45 s of outage at the end of a chunk, the worker never consumed again."""
    before = pids(service)
    job = service.submit(model="slow", num_frames=64)
    service.wait_for_chunks(job.id, 1)
    back_at = time.monotonic() + AWAY_SECONDS
    if how == "killed":
        os.kill(service.redis_server.pid, signal.SIGKILL)
        service.redis_server.stop()
        eventually(lambda: time.monotonic() > back_at, "the outage to last", pause_seconds=0.5)
        service.redis_server.start()
    else:
        os.kill(service.redis_server.pid, signal.SIGSTOP)
        try:
            eventually(lambda: time.monotonic() > back_at, "the outage to last", pause_seconds=0.5)
        finally:
            os.kill(service.redis_server.pid, signal.SIGCONT)
    eventually(lambda: service.http.get("/readyz").status_code == 200, "the API to be back")
    service.wait_for_success(job.id)
    service.wait_for_success(service.submit(model="slow", num_frames=16).id)
    assert pids(service) == before


def test_workers_that_start_during_an_outage_wait_for_its_end(tmp_path: Path) -> None:
    write_fake_preset(tmp_path / "presets", "slow", steps=2)
    with running_service(tmp_path, tmp_path / "presets", default_model="slow") as service:
        service.redis_server.stop()
        service.s3_server.stop()
        supervisors = [service.start_worker("both", "slow", wait=False), service.start_worker("cpu", wait=False)]
        eventually(lambda: service.logs(100).count("is not ready") >= 2, "both to say so")
        service.redis_server.start()
        service.s3_server.start()
        eventually(lambda: len(pids(service)) == 2, "both to be there")
        eventually(lambda: service.http.get("/readyz").status_code == 200, "the API to be back")
        service.wait_for_success(service.submit(model="slow", num_frames=16).id)
        assert service.logs(200).count("started, pid") == len(supervisors)


def test_an_idle_worker_hears_its_own_probes_and_leaves_nothing_behind(broker: RedisServer) -> None:
    app = make_celery_app(Settings(broker_url=broker.url(PROBED)))
    with connect(broker.url(PROBED), REQUEST) as client:
        queue, probe = _probing(app, client, limit_seconds=10)
        with working(app, TASK_DELIVER_WEBHOOKS, _nothing, CPU_QUEUE, queue.name):
            sent_until = time.monotonic() + 12
            eventually(
                lambda: (probe.has_failed() and pytest.fail("gave up")) or time.monotonic() > sent_until, "probes"
            )
        left = {str(key) for key in client.keys("*")}  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType, reportUnknownArgumentType]
        assert not any("probe" in key for key in left)
        assert "unacked" not in left
        bindings = {str(one) for one in client.smembers("_kombu.binding.celery")}  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType, reportUnknownArgumentType]
        assert not any("probe" in one for one in bindings)


def test_a_worker_that_does_not_consume_is_noticed_and_its_probes_expire(broker: RedisServer) -> None:
    app = make_celery_app(Settings(broker_url=broker.url(PROBED)))
    with connect(broker.url(PROBED), REQUEST) as client:
        queue, probe = _probing(app, client, limit_seconds=1)
        with working(app, TASK_DELIVER_WEBHOOKS, _nothing, CPU_QUEUE):  # alive, and deaf on the other ear
            eventually(probe.has_failed, "the process to give up")
        assert 0 < int(client.ttl(queue.name)) <= 60  # pyright: ignore[reportArgumentType]
        queue.remove()
        assert client.exists(queue.name) == 0


def _nothing() -> None: ...


def _probing(app: Celery, client: redis.Redis, limit_seconds: float) -> tuple[ProbeQueue, SelfProbe]:
    queue = ProbeQueue(app, client, "worker-1")
    probe = SelfProbe(queue.send, lambda: True, every_seconds=0.2, limit_seconds=limit_seconds)
    queue.receive_with(probe.received)
    return queue, probe
