"""The broker fails while a worker consumes: the worker continues by itself, and no message can stop it."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from cli.processes.machine import LOOPBACK
from core.service.redis.queue import CPU_QUEUE, TASK_DELIVER_WEBHOOKS, make_celery_app
from core.service.settings import Settings
from tests.helpers.celery_worker import working
from tests.helpers.deadline import eventually
from tests.helpers.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", "--save", "") as server:
        yield server


@pytest.fixture
def app(server: RedisServer) -> Celery:
    return make_celery_app(Settings(broker_url=server.url(1)))


def send(app: Celery) -> None:
    app.send_task(TASK_DELIVER_WEBHOOKS, queue=CPU_QUEUE)


def test_a_worker_continues_after_redis_was_away_while_its_task_ended(
    server: RedisServer, app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    def work() -> None:
        done.append(len(done))
        if len(done) == 1:
            server.kill()

    with working(app, TASK_DELIVER_WEBHOOKS, work, CPU_QUEUE), caplog.at_level(logging.WARNING):
        send(app)
        eventually(lambda: "Couldn't ack" in caplog.text, "the acknowledgement to fail", seconds=60)
        server.start()
        send(app)
        eventually(lambda: len(done) == 2, "the next task", seconds=60)


def celery_message(**changed: Any) -> bytes:
    """A message as kombu writes it, with some of its parts changed."""
    body = base64.b64encode(json.dumps([[], {}, {}]).encode()).decode()
    properties = {
        "delivery_tag": "tag",
        "body_encoding": "base64",
        "delivery_info": {"exchange": "", "routing_key": ""},
    }
    message = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": TASK_DELIVER_WEBHOOKS, "id": "1"},
        "properties": properties,
    }
    return json.dumps({**message, **changed}).encode()


@pytest.mark.parametrize(
    "message",
    [
        b"not json",
        b"\xff\xfe",
        b"5",
        b"{}",
        b"null",
        celery_message(body="%%%"),
        celery_message(body=base64.b64encode(b"not json").decode()),
        celery_message(headers=[]),
        celery_message(headers=None),
        celery_message(headers={"task": "no such task", "id": "1"}),
        celery_message(headers={"task": ["a list"], "id": "1"}),
        celery_message(properties={}),
        celery_message(**{"content-type": "application/x-python-serialize"}),
    ],
)
def test_a_message_that_cannot_be_read_ends_no_worker(server: RedisServer, app: Celery, message: bytes) -> None:
    done: list[int] = []

    def work() -> None:
        done.append(1)

    with redis.Redis.from_url(server.url(1)) as broker, working(app, TASK_DELIVER_WEBHOOKS, work, CPU_QUEUE):
        broker.lpush(CPU_QUEUE, message)
        eventually(lambda: broker.llen(CPU_QUEUE) == 0, "the message to be taken")
        send(app)
        eventually(lambda: done, "the task after it")
        eventually(lambda: broker.hlen("unacked") == 0, "nothing to be left behind")


def replica(server: RedisServer) -> AbstractContextManager[None]:
    with server.client() as client:
        client.replicaof(LOOPBACK, "1")
    return nullcontext()


def lacking_replicas(server: RedisServer) -> AbstractContextManager[None]:
    server.set(min_replicas_to_write=1)
    return nullcontext()


def well_again(server: RedisServer) -> None:
    with server.client() as client:
        client.replicaof("NO", "ONE")
    server.set(min_replicas_to_write=0)


@pytest.mark.parametrize("state", [replica, lacking_replicas, RedisServer.busy], ids=lambda state: state.__name__)
def test_a_broker_that_refuses_writes_for_a_while_does_not_end_the_worker(
    server: RedisServer, app: Celery, state: Callable[[RedisServer], AbstractContextManager[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    done: list[int] = []

    def work() -> None:
        done.append(1)

    with working(app, TASK_DELIVER_WEBHOOKS, work, CPU_QUEUE), caplog.at_level(logging.WARNING):
        send(app)
        eventually(lambda: len(done) == 1, "the first task")
        with state(server):
            eventually(lambda: "Connection to broker lost" in caplog.text, "the worker to notice")
        well_again(server)
        send(app)
        eventually(lambda: len(done) == 2, "the second task")
