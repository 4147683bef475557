"""Releases the leases of a worker process that died, so that its jobs need not wait until they expire.

Runs in the supervisor, in a thread for each death: an outage of the store must not delay the restart.
"""

from __future__ import annotations

import logging
import threading

from core.service.clock import SystemClock
from core.service.domain.errors import JobNotFound, StoreError
from core.service.domain.ports import JobStore, TaskQueue, WorkerRegistry, measuring_name, media_thread_names
from core.service.redis.client import connect
from core.service.redis.job_store import RedisJobStore
from core.service.redis.queue import CeleryTaskQueue, make_celery_app
from core.service.redis.urls import BROKER
from core.service.redis.worker_registry import RedisWorkerRegistry
from core.service.settings import Settings

logger = logging.getLogger(__name__)


class DeadWorkerCleaner:
    """For processes that this supervisor started."""

    def __init__(self, settings: Settings, media_threads: int = 0) -> None:
        """`media_threads`: how many leases of input media one process can hold (see ports.media_thread_names)."""
        self._media_threads = media_threads
        records = connect(settings.redis_url)
        self._store = RedisJobStore(records, SystemClock(), retention_seconds=settings.retention_seconds)
        self._workers = RedisWorkerRegistry(records)
        self._queue = CeleryTaskQueue(make_celery_app(settings), connect(settings.broker_url, setting=BROKER))

    def clean_up(self, worker: str) -> None:
        """Returns at once. If the store does not answer, the leases expire by themselves."""
        threading.Thread(target=self._release_all, args=(worker,), name="dead-worker", daemon=True).start()

    def _release_all(self, worker: str) -> None:
        for name in (worker, measuring_name(worker), *media_thread_names(worker, self._media_threads)):
            release_lease_of(self._store, self._workers, self._queue, name)


def release_lease_of(store: JobStore, workers: WorkerRegistry, queue: TaskQueue, worker: str) -> None:
    """Release the lane that the worker holds, wake another worker, and remove the dead one from the registry."""
    try:
        workers.remove(worker)
        lease = store.release_of_worker(worker)
        if lease is not None:
            logger.info("%s: lease of %s released, which died", lease.job_id, worker)
            queue.wake(lease.lane, store.get(lease.job_id).spec.model, lease.job_id)
    except JobNotFound:
        queue.janitor()
    except StoreError as error:
        logger.warning("the lease of %s is not released: %s", worker, error.message)
