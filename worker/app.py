"""The Celery tasks. A message only wakes a worker, which asks the store for the next job."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from core.service.domain.device_fault import is_device_fault
from core.service.redis import queue
from core.service.settings import Settings
from worker.background import BackgroundThreads
from worker.engines import Engines
from worker.lanes.finalize import Finalizer
from worker.lanes.generate import ChunkMaker
from worker.lanes.lane import LaneWorker, LaneWorkers
from worker.lanes.refine import ChunkRefiner
from worker.runtime.services import Activity, Services

KEEP_SECONDS = 60.0
"""How long one task goes on with the same job: far below any visibility timeout, and long enough that waiting for the
last commit of a task costs nothing."""


def make_engine_app(
    settings: Settings,
    engines: Engines,
    services: Services,
    activity: Activity,
    on_device_broken: Callable[[], None],
) -> Celery:
    """The Celery app of a process that makes or refines chunks. `on_device_broken` is called after a device fault."""
    app, model = queue.make_celery_app(settings), engines.model
    workers = list[LaneWorker]()
    if engines.engine is not None:
        lanes = engines.lanes
        workers.append(ChunkMaker(services, engines.engine, model, activity, keep_seconds=KEEP_SECONDS, lanes=lanes))
    if engines.load_refiner is not None:
        workers.append(ChunkRefiner(services, engines.load_refiner, model, activity))
    process = LaneWorkers(workers, services, model, activity)

    def work(_job_id: str) -> None:
        try:
            process.work()
        except Exception as error:  # the task's boundary: the job's record has the failure, Celery logs the error
            if is_device_fault(error):
                on_device_broken()
            raise

    for name in (queue.TASK_GENERATE_CHUNK, queue.TASK_REFINE_WINDOW, queue.TASK_REFINE_STEP):
        app.task(name=name)(work)
    return app


def make_cpu_app(settings: Settings, services: Services, threads: BackgroundThreads) -> Celery:
    """The Celery app of a CPU worker process: finalizes jobs, and wakes `threads` for everything else."""
    app = queue.make_celery_app(settings)
    finalizer = Finalizer(services)

    def finalize(_job_id: str) -> None:
        finalizer.work()

    def prepare_media(_job_id: str) -> None:
        threads.media_preparer.wake()

    def measure_video(_job_id: str) -> None:
        threads.measurer.wake()

    def deliver_webhooks() -> None:
        threads.webhook_sender.wake()

    def janitor() -> None:
        threads.janitor.wake()

    app.task(name=queue.TASK_FINALIZE_JOB)(finalize)
    app.task(name=queue.TASK_PREPARE_MEDIA)(prepare_media)
    app.task(name=queue.TASK_MEASURE_VIDEO)(measure_video)
    app.task(name=queue.TASK_DELIVER_WEBHOOKS)(deliver_webhooks)
    app.task(name=queue.TASK_JANITOR)(janitor)
    return app
