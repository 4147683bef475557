"""Celery: the app with all of its configuration, task names, and the task queue port.

A message only wakes a worker, which then asks the job store for the next job. So one waiting message per queue is
enough: the worker that takes it sends another while there is more work. The janitor repeats messages that could not be
sent. worker/ registers the tasks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from core.service.domain.errors import StoreError
from core.service.domain.schema import Lane
from core.service.redis.broker_transport import kombu_url, transport_options, use_ssl
from core.service.redis.client import WORKER, Timeouts, raises_store_errors
from core.service.settings import Settings

TASK_GENERATE_CHUNK = "longtake.generate_chunk"
TASK_REFINE_WINDOW = "longtake.refine_window"
TASK_REFINE_STEP = "longtake.refine_step"
"""Sent by an older version only."""
TASK_FINALIZE_JOB = "longtake.finalize_job"
TASK_PREPARE_MEDIA = "longtake.prepare_media"
TASK_MEASURE_VIDEO = "longtake.measure_video"
TASK_DELIVER_WEBHOOKS = "longtake.deliver_webhooks"
TASK_JANITOR = "longtake.janitor"
TASK_OF_LANE = {
    Lane.PREPARE: TASK_PREPARE_MEDIA,
    Lane.GENERATE: TASK_GENERATE_CHUNK,
    Lane.REFINE: TASK_REFINE_WINDOW,
    Lane.FINALIZE: TASK_FINALIZE_JOB,
    Lane.MEASURE: TASK_MEASURE_VIDEO,
}
CPU_QUEUE = "cpu"
"""Queue of workers that finalize jobs."""
MEDIA_QUEUE = "media"
"""Queue of workers that prepare input media."""
MEASURE_QUEUE = "measure"
"""Queue of workers that measure videos: not the one above, whose readers of an older version know no such task."""
WEBHOOKS_QUEUE = "webhooks"
JANITOR_QUEUE = "janitor"
CPU_QUEUES = (CPU_QUEUE, MEDIA_QUEUE, MEASURE_QUEUE, WEBHOOKS_QUEUE, JANITOR_QUEUE)
"""All that CPU workers read."""

UNACKED_RESTORE_SECONDS = 5
"""Interval at which a worker redelivers messages whose visibility timeout has passed."""

log = logging.getLogger(__name__)


def queue_of_lane(lane: Lane, model: str) -> str:
    """The queue whose messages wake workers for this lane of a model's jobs."""
    if lane is Lane.FINALIZE:
        return CPU_QUEUE
    if lane is Lane.PREPARE:
        return MEDIA_QUEUE
    if lane is Lane.MEASURE:
        return MEASURE_QUEUE
    return f"{lane.value}.{model}"


def make_celery_app(settings: Settings, timeouts: Timeouts = WORKER) -> Celery:
    """The Celery app of API and workers, with all configuration."""
    app = Celery("longtake", broker=kombu_url(settings.broker_url), set_as_current=False)
    app.conf.update(
        # Results are in the job record.
        task_ignore_result=True,
        # A message is acknowledged when its task ends, after the last commit, and a worker holds one at a time.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # One task per process, in a thread, so that Celery's loop keeps running; no fork after CUDA.
        worker_pool="threads",
        worker_concurrency=1,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=CPU_QUEUE,
        task_create_missing_queues=True,
        # Cancel and drain are cooperative and status is in Redis, so Celery's events are not needed.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # The processes set up logging themselves.
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Also when Redis refuses a command (a replica, a failed save); otherwise Celery exits.
        broker_channel_error_retry=True,
        broker_connection_timeout=timeouts.connect_seconds,
        task_publish_retry=timeouts.retry_timeouts,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        broker_use_ssl=use_ssl(settings.broker_url),
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_seconds,
            "unacked_restore_interval": UNACKED_RESTORE_SECONDS,
            "unacked_restore_throttle": 1,
            **transport_options(settings.broker_url, timeouts),
        },
    )
    return app


def worker_options(queues: Sequence[str], name: str) -> dict[str, Any]:
    """Arguments of `app.Worker(...)` that have no configuration setting."""
    return {
        "queues": list(queues),
        "hostname": name,
        "pool": "threads",
        "concurrency": 1,
        "without_gossip": True,
        "without_mingle": True,
        "without_heartbeat": True,
        "task_events": False,
    }


class CeleryTaskQueue:
    """ports.TaskQueue."""

    def __init__(self, app: Celery, broker: redis.Redis) -> None:
        """`broker` reads queue lengths."""
        self._app = app
        self._broker = broker

    def warm_up(self) -> None:
        """Import now what the first message would otherwise wait for (about 50 ms of CPU time). Connects to nothing."""
        self._app.amqp.send_task_message  # noqa: B018 - a property that imports Celery's events
        self._app.backend  # noqa: B018 - and this one searches the entry points of all packages

    def wake(self, lane: Lane, model: str, job_id: str) -> None:
        self._send(TASK_OF_LANE[lane], queue_of_lane(lane, model), job_id)

    def deliver_webhooks(self) -> None:
        self._send(TASK_DELIVER_WEBHOOKS, WEBHOOKS_QUEUE)

    def janitor(self) -> None:
        self._send(TASK_JANITOR, JANITOR_QUEUE)

    def _send(self, task: str, queue: str, *args: str) -> None:
        try:
            if self._length(queue) == 0:
                self._app.send_task(task, args=args, queue=queue)
        except (StoreError, OperationalError) as error:
            log.warning("%s%s was not sent; the janitor will send it: %s", task, args, error)

    @raises_store_errors
    def _length(self, queue: str) -> int:
        """Number of waiting messages, without unacknowledged ones: their workers may have looked for work already."""
        return self._broker.llen(queue)
