"""The Celery side of the service: app, all of its configuration, task names, and how messages are sent.

Messages are hints (the record is the truth): one that cannot be sent is left to the janitor, and one that already waits
is not sent again. Knows no job and imports no task; worker/ registers those.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import redis
from celery import Celery, Task
from kombu.exceptions import OperationalError

from core.service.broker_transport import kombu_url, transport_options
from core.service.errors import StoreError
from core.service.redis_client import WORKER, Patience, connect, names_errors
from core.service.settings import Settings

TASK_GENERATE_CHUNK = "longtake.generate_chunk"
TASK_REFINE_WINDOW = "longtake.refine_window"
TASK_REFINE_STEP = "longtake.refine_step"
TASK_FINALIZE_JOB = "longtake.finalize_job"
TASK_DELIVER_WEBHOOKS = "longtake.deliver_webhooks"
TASK_JANITOR = "longtake.janitor"
CPU_QUEUE = "cpu"

UNACKED_RESTORE_SECONDS = 5
"""How often a worker looks for messages of dead workers whose visibility timeout has passed."""
WAITING_MARK_SECONDS = 3600
"""How long a message that nobody starts keeps others of its kind away from a queue that never runs empty."""

log = logging.getLogger(__name__)


def generate_queue_name(model: str) -> str:
    return f"generate.{model}"


def refine_queue_name(model: str) -> str:
    return f"refine.{model}"


def make_celery_app(settings: Settings, patience: Patience = WORKER) -> Celery:
    """The app that API and workers share. Everything Celery can be told is told here."""
    app = Celery("longtake", broker=kombu_url(settings.broker_url), task_cls=LongtakeTask, set_as_current=False)
    app.conf.update(
        longtake_broker_url=settings.broker_url,
        # Results are in the job record.
        task_ignore_result=True,
        # A message is done with when its chunk is committed, and a worker holds one at a time.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # One chunk per process, in a thread, so that Celery's own loop stays alive beside it; no fork after CUDA.
        worker_pool="threads",
        worker_concurrency=1,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=CPU_QUEUE,
        task_create_missing_queues=True,
        # Cancel and drain are cooperative and status is in Redis: nothing listens to Celery's own chatter.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # Our processes set up logging.
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Also after Redis has refused something (a replica, a failed save): Celery would end the process.
        broker_channel_error_retry=True,
        broker_connection_timeout=patience.connect_seconds,
        task_publish_retry=patience.retry_timeouts,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_seconds,
            "unacked_restore_interval": UNACKED_RESTORE_SECONDS,
            "unacked_restore_throttle": 1,
            **transport_options(settings.broker_url, patience),
        },
    )
    return app


def worker_options(queues: Sequence[str], name: str) -> dict[str, Any]:
    """Arguments of `app.Worker(...)`, where Celery takes what its configuration cannot say."""
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


class LongtakeTask(Task):
    """Base of every task: starting one makes room for the next message of its kind."""

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:  # noqa: ARG002 - Celery's signature
        _WaitingMarks(cast(Celery, self.app)).clear(str(self.name), args)


class _WaitingMarks:
    """Which messages wait: a key per task and argument, in the broker's database, so that both are lost together."""

    def __init__(self, app: Celery, broker: redis.Redis | None = None) -> None:
        self._redis = broker or _client(str(app.conf.longtake_broker_url))

    @names_errors
    def set(self, task: str, args: Sequence[str], queue: str) -> bool:
        """False where such a message waits already. An empty queue proves a mark wrong: its message was lost."""
        marked = self._redis.set(_mark(task, args), "1", nx=True, ex=WAITING_MARK_SECONDS)
        return bool(marked) or self._redis.llen(queue) == 0

    @names_errors
    def clear(self, task: str, args: Sequence[str]) -> None:
        self._redis.delete(_mark(task, args))


class CeleryTaskQueue:
    """ports.TaskQueue. Never raises for a broker that is away: the job is stored, the janitor sends again."""

    def __init__(self, app: Celery, broker: redis.Redis | None = None) -> None:
        """`broker` is the client that is asked what waits; without one it is a patient one of its own."""
        self._app = app
        self._waiting = _WaitingMarks(app, broker)

    def generate_chunk(self, job_id: str, model: str) -> None:
        self._send(TASK_GENERATE_CHUNK, generate_queue_name(model), job_id)

    def refine_window(self, job_id: str, model: str) -> None:
        self._send(TASK_REFINE_WINDOW, refine_queue_name(model), job_id)

    def refine_step(self, job_id: str, model: str) -> None:
        self._send(TASK_REFINE_STEP, refine_queue_name(model), job_id)

    def finalize_job(self, job_id: str) -> None:
        self._send(TASK_FINALIZE_JOB, CPU_QUEUE, job_id)

    def deliver_webhooks(self) -> None:
        self._send(TASK_DELIVER_WEBHOOKS, CPU_QUEUE)

    def janitor(self) -> None:
        self._send(TASK_JANITOR, CPU_QUEUE)

    def _send(self, task: str, queue: str, *args: str) -> None:
        try:
            if self._waiting.set(task, args, queue):
                self._app.send_task(task, args=args, queue=queue)
        except (StoreError, OperationalError) as error:
            log.warning("%s%s was not sent, the janitor will: %s", task, args, error)


def _mark(task: str, args: Sequence[str]) -> str:
    return ":".join(("longtake:waiting", task, *args))


@cache
def _client(broker_url: str) -> redis.Redis:
    return connect(broker_url)
