"""Gives back what a worker process that has died had in hand, so that nobody waits for its lease to run out.

Runs in the supervisor, in a thread for each death: a store that is away must not keep the successor from starting.
"""

from __future__ import annotations

import logging
import threading

from core.service.clock import SystemClock
from core.service.domain.errors import JobNotFound, StoreError
from core.service.domain.ports import JobStore, TaskQueue, WorkerRegistry
from core.service.redis.client import connect
from core.service.redis.job_store import RedisJobStore
from core.service.redis.queue import CeleryTaskQueue, make_celery_app
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.settings import Settings
from worker.runtime.names import slot_names

logger = logging.getLogger(__name__)


class Undertaker:
    """For processes that this machine has started."""

    def __init__(self, settings: Settings, slots: int = 0) -> None:
        """`slots`: of how many parts each process consists that hold leases of their own."""
        self._slots = slots
        records = connect(settings.redis_url)
        self._store = RedisJobStore(records, SystemClock(), retention_seconds=settings.retention_seconds)
        self._workers = RedisWorkerRegistry(records)
        self._queue = CeleryTaskQueue(make_celery_app(settings))

    def bury(self, worker: str) -> None:
        """Soon. Where the store does not answer the lease runs out by itself."""
        threading.Thread(target=self._give_back_all, args=(worker,), name="undertaker", daemon=True).start()

    def _give_back_all(self, worker: str) -> None:
        for name in (worker, *slot_names(worker, self._slots)):
            give_back(self._store, self._workers, self._queue, name)


def give_back(store: JobStore, workers: WorkerRegistry, queue: TaskQueue, worker: str) -> None:
    """Free the lane that the worker holds, wake another for it, and take the worker off the list."""
    try:
        workers.remove(worker)
        lease = store.release_of_worker(worker)
        if lease is not None:
            logger.info("%s: given back for %s, which has died", lease.job_id, worker)
            queue.wake(lease.lane, store.get(lease.job_id).spec.model, lease.job_id)
    except JobNotFound:
        queue.janitor()
    except StoreError as error:
        logger.warning("what %s had in hand is not given back: %s", worker, error.message)
