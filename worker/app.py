"""The Celery tasks: thin shells around the lanes, finalize and the tickers. Where errors end and device faults show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery

from core.service.domain.device_fault import is_device_fault
from core.service.redis import queue
from core.service.settings import Settings
from worker.engines import Engines
from worker.lanes.finalize import finalize_next
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import LaneWorker
from worker.lanes.refine import ChunkRefiner
from worker.runtime.services import Activity, Services


def _nothing() -> None: ...


@dataclass(frozen=True)
class Hooks:
    """What the tasks tell the process: somebody waits for the janitor, the webhook sender or the preparer of media, the
    device is broken."""

    wake_janitor: Callable[[], None] = _nothing
    wake_sender: Callable[[], None] = _nothing
    wake_preparer: Callable[[], None] = _nothing
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
    if engines is None:
        _register_cpu(app, services, hooks)
        return app
    if engines.engine is not None:
        maker = ChunkMaker(services, engines.engine, engines.model, activity)
        _register_lane(app, maker, (queue.TASK_GENERATE_CHUNK,), hooks)
    if engines.load_refiner is not None:
        refiner = ChunkRefiner(services, engines.load_refiner, engines.model, activity)
        _register_lane(app, refiner, (queue.TASK_REFINE_WINDOW, queue.TASK_REFINE_STEP), hooks)
    return app


def _register_lane(app: Celery, worker: LaneWorker[Any], names: Sequence[str], hooks: Hooks) -> None:
    def work(_job_id: str) -> None:
        """The message only wakes: which job comes next is asked of the store."""
        try:
            worker.work()
        except Exception as error:  # the task's boundary: what happened to the job is recorded, Celery logs the rest
            if is_device_fault(error):
                hooks.device_broken()
            raise

    for name in names:
        app.task(name=name)(work)


def _register_cpu(app: Celery, services: Services, hooks: Hooks) -> None:
    def finalize(_job_id: str) -> None:
        finalize_next(services)

    # Webhooks, the janitor and the preparer of media run in threads of their own (hence functions that only wake them):
    # a slow receiver, a slow server or a long clean-up never holds up a finished video.
    def deliver_webhooks() -> None:
        hooks.wake_sender()

    def janitor() -> None:
        hooks.wake_janitor()

    def prepare_media(_job_id: str) -> None:
        hooks.wake_preparer()

    app.task(name=queue.TASK_FINALIZE_JOB)(finalize)
    app.task(name=queue.TASK_PREPARE_MEDIA)(prepare_media)
    app.task(name=queue.TASK_DELIVER_WEBHOOKS)(deliver_webhooks)
    app.task(name=queue.TASK_JANITOR)(janitor)
