"""The Celery tasks: thin shells around the lanes, finalize and the tickers. Where errors end and device faults show.

Knows Celery's request (for the message's delivery tag); the work itself is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from celery import Celery

from core.service import queue
from core.service.device_fault import is_device_fault
from core.service.redis_client import connect
from core.service.settings import Settings
from worker.broker import message_keeper
from worker.engines import Engines
from worker.finalize import finalize_job
from worker.generate import ChunkMaker
from worker.lane import LaneWorker
from worker.refine import ChunkRefiner
from worker.services import Activity, Services


def _nothing() -> None: ...


@dataclass(frozen=True)
class Hooks:
    """What the tasks tell the process: somebody waits for the janitor or the webhook sender, the device is broken."""

    wake_janitor: Callable[[], None] = _nothing
    wake_sender: Callable[[], None] = _nothing
    device_broken: Callable[[], None] = _nothing


def make_worker_app(
    settings: Settings,
    engines: Engines | None,
    services: Services,
    activity: Activity | None = None,
    hooks: Hooks | None = None,
) -> Celery:
    """The Celery app of one worker process: with engines it makes and refines chunks, without it does all the rest."""
    app = queue.make_celery_app(settings)
    hooks = hooks or Hooks()
    broker = connect(settings.broker_url)
    if engines is None:
        _register_cpu(app, services, broker, hooks)
        return app
    if engines.engine is not None:
        maker = ChunkMaker(services, engines.engine, activity)
        _register_lane(app, maker, (queue.TASK_GENERATE_CHUNK,), broker, hooks)
    if engines.load_refiner is not None:
        refiner = ChunkRefiner(services, engines.load_refiner, activity)
        _register_lane(app, refiner, (queue.TASK_REFINE_WINDOW, queue.TASK_REFINE_STEP), broker, hooks)
    return app


def _register_lane(
    app: Celery, worker: LaneWorker[Any], names: Sequence[str], broker: redis.Redis, hooks: Hooks
) -> None:
    def work_on(task: Any, job_id: str) -> None:
        try:
            worker.work_on(job_id, message_keeper(broker, _delivery_tag(task)))
        except Exception as error:  # the task's boundary: what happened to the job is recorded, Celery logs the rest
            if is_device_fault(error):
                hooks.device_broken()
            raise

    for name in names:
        app.task(name=name, bind=True)(work_on)


def _register_cpu(app: Celery, services: Services, broker: redis.Redis, hooks: Hooks) -> None:
    def finalize(task: Any, job_id: str) -> None:
        finalize_job(services, job_id, message_keeper(broker, _delivery_tag(task)))

    # Webhooks and the janitor run in threads of their own (hence functions of no arguments that only wake them): a slow
    # receiver or a long clean-up never holds up a finished video.
    def deliver_webhooks() -> None:
        hooks.wake_sender()

    def janitor() -> None:
        hooks.wake_janitor()

    app.task(name=queue.TASK_FINALIZE_JOB, bind=True)(finalize)
    app.task(name=queue.TASK_DELIVER_WEBHOOKS)(deliver_webhooks)
    app.task(name=queue.TASK_JANITOR)(janitor)


def _delivery_tag(task: Any) -> str:
    """kombu's name of the message being worked on. `Any`: Celery's request has no types."""
    return str(task.request.properties["delivery_tag"])
