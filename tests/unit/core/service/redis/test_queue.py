"""Celery is configured for long chunks on a Redis broker, and importing the queue is cheap for the API."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from core.service.domain.schema import Lane
from core.service.redis.client import connect
from core.service.redis.queue import CPU_QUEUE, CeleryTaskQueue, make_celery_app, queue_of_lane, worker_options
from core.service.settings import Settings

NOBODY = "redis://127.0.0.1:1/1"


def test_a_message_is_held_until_its_chunk_is_committed() -> None:
    conf = make_celery_app(Settings(visibility_timeout_seconds=77)).conf
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier, conf.task_ignore_result) == (True, 1, True)
    assert conf.broker_transport_options["visibility_timeout"] == 77
    assert conf.broker_transport_options["unacked_restore_interval"] == 5
    assert conf.broker_transport_options["unacked_restore_throttle"] == 1


def test_one_task_at_a_time_in_a_thread_without_chatter() -> None:
    conf = make_celery_app(Settings()).conf
    assert (conf.worker_pool, conf.worker_concurrency) == ("threads", 1)
    assert (conf.worker_send_task_events, conf.worker_enable_remote_control) == (False, False)
    options = worker_options(["cpu"], "cpu-1")
    assert options["without_gossip"]
    assert options["without_mingle"]
    assert (options["queues"], options["hostname"]) == (["cpu"], "cpu-1")


def test_messages_are_json_and_results_are_kept_nowhere() -> None:
    conf = make_celery_app(Settings()).conf
    assert (conf.task_serializer, conf.accept_content, conf.result_backend) == ("json", ["json"], None)


def test_the_broker_is_the_setting_and_unnamed_tasks_go_to_the_cpu() -> None:
    conf = make_celery_app(Settings(broker_url=NOBODY)).conf
    assert (conf.broker_url, conf.task_default_queue) == (NOBODY, CPU_QUEUE)
    assert conf.broker_connection_retry_on_startup


def test_every_model_has_its_queue() -> None:
    queues = ["media", "generate.sprites", "refine.sprites", "cpu", "measure"]
    assert [queue_of_lane(lane, "sprites") for lane in Lane] == queues


def test_making_a_queue_connects_to_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.setblocking(False)
        url = f"redis://127.0.0.1:{broker.getsockname()[1]}/1"
        CeleryTaskQueue(make_celery_app(Settings(broker_url=url)), connect(url))
        with pytest.raises(BlockingIOError):  # nobody is there to be let in
            broker.accept()


def test_the_queue_is_imported_without_what_only_workers_need() -> None:
    script = (
        "import sys, core.service.redis.queue as q\n"
        "from core.service.redis.client import connect\n"
        "q.CeleryTaskQueue(q.make_celery_app(q.Settings()), connect('redis://127.0.0.1'))\n"
        "heavy = {'numpy', 'torch', 'boto3', 'av'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
