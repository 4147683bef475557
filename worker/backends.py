"""The connections of a worker process to Redis, the broker and S3."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import redis

from core.service.clock import SystemClock
from core.service.domain.scheduling import Policy
from core.service.records.rebuild import RecordRebuilder
from core.service.redis.client import REQUEST, WORKER, connect
from core.service.redis.job_store import RedisJobStore
from core.service.redis.pauses import RedisPauses
from core.service.redis.queue import CeleryTaskQueue, make_celery_app
from core.service.redis.speed import RedisSpeeds
from core.service.redis.upload_store import RedisUploadStore
from core.service.redis.urls import BROKER
from core.service.s3.storage import S3Storage
from core.service.settings import Settings
from worker.runtime.services import Services


@dataclass(frozen=True)
class Backends:
    """`quick_records` and `quick_broker` have short timeouts, for calls that must not delay a stop of the process."""

    services: Services
    records: redis.Redis
    quick_records: redis.Redis
    quick_broker: redis.Redis


def connect_backends(settings: Settings, worker: str, drain: threading.Event) -> Backends:
    """Clients only: nothing is connected before the first call. `worker` is the process's name."""
    # A CPU worker prepares many input media at a time, each with a thread that renews its lease.
    timeouts = replace(WORKER, max_connections=WORKER.max_connections + 2 * settings.media_fetches)
    records = connect(settings.redis_url, timeouts)
    clock, storage = SystemClock(), S3Storage(settings)
    services = Services(
        store=RedisJobStore(
            records,
            clock,
            retention_seconds=settings.retention_seconds,
            policy=Policy(settings.ahead_seconds, settings.ageing_seconds),
            rebuild=RecordRebuilder(storage),
        ),
        storage=storage,
        uploads=RedisUploadStore(records),
        queue=CeleryTaskQueue(make_celery_app(settings), connect(settings.broker_url, setting=BROKER)),
        clock=clock,
        settings=settings,
        worker=worker,
        speeds=RedisSpeeds(records),
        pauses=RedisPauses(records),
        drain=drain,
    )
    return Backends(
        services, records, connect(settings.redis_url, REQUEST), connect(settings.broker_url, REQUEST, setting=BROKER)
    )
