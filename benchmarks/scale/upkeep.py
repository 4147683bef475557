"""CPU time of the janitor's passes: with nothing wrong, and with some things to do."""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis

from benchmarks.scale.costs import redis_use
from benchmarks.scale.jobs import store_of
from core.service.clock import SystemClock
from core.service.redis.client import connect
from core.service.redis.pauses import RedisPauses
from core.service.redis.queue import CeleryTaskQueue, make_celery_app
from core.service.redis.speed import RedisSpeeds
from core.service.redis.upload_store import RedisUploadStore
from core.service.s3.storage import S3Storage
from core.service.settings import Settings
from worker.maintenance.janitor import Janitor
from worker.maintenance.janitor_lock import RedisJanitorLock
from worker.runtime.services import Services


class Upkeep:
    """The janitor of one deployment, in this process."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._client = client
        self._store = store_of(client)
        queue = CeleryTaskQueue(make_celery_app(settings), connect(settings.broker_url))
        storage = S3Storage(settings)
        storage.ensure_bucket()
        ports = (self._store, storage, RedisUploadStore(client), queue, SystemClock(), settings, "benchmark")
        self._janitor = Janitor(Services(*ports, RedisSpeeds(client), RedisPauses(client)), RedisJanitorLock(client))

    def settle(self) -> None:
        """Whatever is to do now: twice, as some of it leaves other things to do."""
        self._janitor.run()
        self._janitor.run()

    def break_jobs(self, job_ids: Sequence[str]) -> None:
        """The first half is deleted, and its objects and keys are still there; the others are canceled, and their
        manifests not written."""
        for number, job_id in enumerate(job_ids):
            if number < len(job_ids) / 2:
                self._store.request_delete(job_id)
            else:
                self._store.request_cancel(job_id)

    def pass_ms(self) -> tuple[float, float]:
        """CPU milliseconds of one pass: of this process and of Redis."""
        redis_before, own_before = redis_use(self._client), time.process_time()
        self._janitor.run()
        own = time.process_time() - own_before
        of_redis = redis_use(self._client).since(redis_before).cpu_seconds
        return round(1000 * own, 2), round(1000 * of_redis, 2)
