"""The ports that the API's routes use, and the dependencies by which a route gets them.

`real_ports` makes the real ones and imports Redis, Celery and boto3; tests pass fakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from api.backends.readiness import Health, WorkersSeen
from api.metrics import ServiceCounts, UploadCounters
from core.service.admission.catalog import Catalog
from core.service.domain.ports import (
    ApiKeys,
    Clock,
    Deliveries,
    EventLog,
    IdempotencyKeys,
    JobStore,
    ObjectReader,
    Pauses,
    PromptEnhancer,
    RequestCounts,
    Speeds,
    Storage,
    TaskQueue,
    UploadStore,
    Usage,
    WorkerRegistry,
)
from core.service.net.resolver import REQUEST_SECONDS, BoundedResolver
from core.service.settings import Settings


@dataclass(frozen=True)
class Ports:
    """Every backend of the API."""

    store: JobStore
    events: EventLog
    workers: WorkerRegistry
    pauses: Pauses
    storage: Storage
    objects: ObjectReader
    uploads: UploadStore
    idempotency: IdempotencyKeys
    speeds: Speeds
    keys: ApiKeys
    usage: Usage
    request_counts: RequestCounts
    deliveries: Deliveries
    queue: TaskQueue
    clock: Clock
    catalog: Catalog
    resolve: BoundedResolver = field(default_factory=BoundedResolver)
    """Resolves the host names in clients' URLs."""
    enhancer: PromptEnhancer | None = None
    """None if the operator named no endpoint."""
    upload_counters: UploadCounters = field(default_factory=UploadCounters)
    health: Health | None = None
    """The checks of /readyz; None for those of the ports themselves."""


def real_ports(settings: Settings) -> Ports:
    """Redis, S3 and Celery by `settings`. Nothing is connected before the first call."""
    from core.service.clock import SystemClock
    from core.service.net.circuit_breaker import CircuitBreaker
    from core.service.records.rebuild import RecordRebuilder
    from core.service.redis import client as redis_client
    from core.service.redis.api_keys import StoredApiKeys
    from core.service.redis.deliveries import RedisDeliveries
    from core.service.redis.event_log import RedisEventLog
    from core.service.redis.health import check_storage, check_store
    from core.service.redis.idempotency import RedisIdempotencyKeys
    from core.service.redis.job_store import RedisJobStore
    from core.service.redis.pauses import RedisPauses
    from core.service.redis.queue import CeleryTaskQueue, make_celery_app
    from core.service.redis.request_counts import RedisRequestCounts
    from core.service.redis.speed import RedisSpeeds
    from core.service.redis.upload_store import RedisUploadStore
    from core.service.redis.urls import BROKER
    from core.service.redis.usage import RedisUsage
    from core.service.redis.worker_registry import RedisWorkerRegistry
    from core.service.s3 import storage as object_store
    from core.service.s3.object_reader import S3ObjectReader

    # Requests wait for each call: short timeouts, and a breaker per server so that a hanging one blocks few threads.
    redis = redis_client.connect(settings.redis_url, redis_client.REQUEST, CircuitBreaker())
    broker = redis_client.connect(settings.broker_url, redis_client.REQUEST, CircuitBreaker(), setting=BROKER)
    storage = object_store.S3Storage(settings, timeouts=object_store.REQUEST, breaker=CircuitBreaker())
    workers, pauses = RedisWorkerRegistry(redis), RedisPauses(redis)
    clock = SystemClock()
    queue = CeleryTaskQueue(make_celery_app(settings, redis_client.REQUEST), broker)
    queue.warm_up()

    def check_records() -> WorkersSeen:
        check_store(redis)
        return WorkersSeen(workers.all(), pauses.all())

    return Ports(
        store=RedisJobStore(
            redis, clock, retention_seconds=settings.retention_seconds, rebuild=RecordRebuilder(storage)
        ),
        events=RedisEventLog(redis_client.connect(settings.redis_url, redis_client.STREAM)),
        workers=workers,
        pauses=pauses,
        storage=storage,
        objects=S3ObjectReader(storage),
        uploads=RedisUploadStore(redis),
        idempotency=RedisIdempotencyKeys(redis),
        speeds=RedisSpeeds(redis),
        keys=StoredApiKeys(redis, storage),
        usage=RedisUsage(redis, clock),
        request_counts=RedisRequestCounts(redis),
        deliveries=RedisDeliveries(redis),
        queue=queue,
        clock=clock,
        catalog=Catalog(settings),
        resolve=BoundedResolver.of(settings, REQUEST_SECONDS),
        enhancer=_enhancer(settings),
        health=Health(check_records, lambda: check_storage(storage)),
    )


def _enhancer(settings: Settings) -> PromptEnhancer | None:
    if settings.prompt_enhancer_url is None:
        return None
    from core.service.net.chat_endpoint import ChatEndpoint

    key = settings.prompt_enhancer_key
    return ChatEndpoint(
        settings.prompt_enhancer_url, settings.prompt_enhancer_model, key.get_secret_value() if key else None
    )


def counts_of(ports: Ports) -> ServiceCounts:
    """For the metrics. Raises StoreError."""
    jobs, workers = ports.store.counts(ports.catalog.names()), ports.workers.all()
    demands, uploads = ports.store.pool_demands(), ports.uploads.count()
    return ServiceCounts(jobs, workers, demands, uploads, ports.clock.now(), ports.pauses.all().keys())


def ports_of(request: Request) -> Ports:
    """The ports, for what runs in every request: a dependency costs 20 us there."""
    return cast(Ports, request.app.state.ports)


async def _ports(request: Request) -> Ports:
    return ports_of(request)


async def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


# async on purpose: FastAPI runs these on the event loop, without the thread pool.
PortsDep = Annotated[Ports, Depends(_ports)]
SettingsDep = Annotated[Settings, Depends(_settings)]
