"""Sending through a real broker and a real Celery worker: no message is queued twice, and lost ones are replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from cli.processes.embedded import EmbeddedRedis
from cli.processes.machine import free_port
from core.service.domain.schema import Lane
from core.service.redis import queue
from core.service.redis.client import connect
from core.service.redis.queue import (
    CPU_QUEUE,
    JANITOR_QUEUE,
    TASK_DELIVER_WEBHOOKS,
    TASK_GENERATE_CHUNK,
    WEBHOOKS_QUEUE,
    CeleryTaskQueue,
)
from core.service.settings import Settings
from tests.helpers.celery_worker import working
from tests.helpers.deadline import eventually

MODEL_QUEUE = "generate.sprites"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def broker(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with connect(server.url(1)) as client:
        client.flushall()
        yield client


@pytest.fixture
def app(server: EmbeddedRedis, broker: redis.Redis) -> Celery:  # noqa: ARG001 - an empty broker
    return queue.make_celery_app(Settings(broker_url=server.url(1)))


def test_one_message_waits_in_each_queue_however_many_jobs_there_are(app: Celery, broker: redis.Redis) -> None:
    tasks = CeleryTaskQueue(app, broker)
    for job_id in ("job_a", "job_b", "job_a"):
        tasks.wake(Lane.GENERATE, "sprites", job_id)
        tasks.wake(Lane.FINALIZE, "sprites", job_id)
        tasks.deliver_webhooks()
        tasks.janitor()
    lengths = [broker.llen(name) for name in (MODEL_QUEUE, CPU_QUEUE, WEBHOOKS_QUEUE, JANITOR_QUEUE)]
    assert lengths == [1, 1, 1, 1]


def test_a_message_that_was_lost_is_sent_again_at_once(app: Celery, broker: redis.Redis) -> None:
    tasks = CeleryTaskQueue(app, broker)
    for _ in range(20):
        tasks.wake(Lane.GENERATE, "sprites", "job_a")
        assert broker.llen(MODEL_QUEUE) == 1
        broker.delete(MODEL_QUEUE)


def test_a_message_names_a_job_for_workers_of_an_older_version(app: Celery, broker: redis.Redis) -> None:
    done: list[str] = []

    def work(job_id: str) -> None:
        done.append(job_id)

    CeleryTaskQueue(app, broker).wake(Lane.GENERATE, "sprites", "job_a")
    with working(app, TASK_GENERATE_CHUNK, work, MODEL_QUEUE):
        eventually(lambda: done == ["job_a"], "the task to run")


def test_a_message_in_work_does_not_keep_the_next_away(app: Celery, broker: redis.Redis) -> None:
    tasks, done = CeleryTaskQueue(app, broker), list[str]()

    def work(job_id: str) -> None:
        done.append(job_id)
        if len(done) < 3:
            tasks.wake(Lane.GENERATE, "sprites", job_id)
            tasks.wake(Lane.GENERATE, "sprites", job_id)

    tasks.wake(Lane.GENERATE, "sprites", "job_a")
    with working(app, TASK_GENERATE_CHUNK, work, MODEL_QUEUE):
        eventually(lambda: len(done) == 3 and broker.hlen("unacked") == 0, "three runs in a row")
    assert (done, broker.llen(MODEL_QUEUE)) == (["job_a"] * 3, 0)


def test_webhooks_written_while_the_sender_runs_are_sent_by_a_second_run(app: Celery, broker: redis.Redis) -> None:
    tasks, runs = CeleryTaskQueue(app, broker), list[int]()

    def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            tasks.deliver_webhooks()

    tasks.deliver_webhooks()
    with working(app, TASK_DELIVER_WEBHOOKS, work, WEBHOOKS_QUEUE):
        eventually(lambda: len(runs) == 2, "the second run")


def test_a_broker_that_is_away_costs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    url = f"redis://127.0.0.1:{free_port()}/1"
    with caplog.at_level(logging.WARNING), connect(url) as broker:
        CeleryTaskQueue(queue.make_celery_app(Settings(broker_url=url)), broker).janitor()
    assert "was not sent" in caplog.text
