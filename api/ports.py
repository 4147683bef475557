"""What the API's routes work with: the ports of the service in one frozen bundle, and how a route asks for them.

The real ones are made in `real_ports`, where Redis, Celery and boto3 are imported; tests pass the fakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from api.readiness import Health
from core.service.catalog import Catalog
from core.service.ports import (
    Clock,
    EventLog,
    JobStore,
    ObjectReader,
    Storage,
    TaskQueue,
    UploadStore,
    WorkerRegistry,
    WorkerStatus,
)
from core.service.resolver import REQUEST_SECONDS, BoundedResolver
from core.service.settings import Settings


@dataclass(frozen=True)
class Ports:
    """Everything that the API talks to."""

    store: JobStore
    events: EventLog
    workers: WorkerRegistry
    storage: Storage
    objects: ObjectReader
    uploads: UploadStore
    queue: TaskQueue
    clock: Clock
    catalog: Catalog
    resolve: BoundedResolver = field(default_factory=BoundedResolver)
    """Looks the names in clients' URLs up."""
    health: Health | None = None
    """How /readyz asks; None: by what the ports offer."""


def real_ports(settings: Settings) -> Ports:
    """Redis, S3 and Celery as `settings` say. Connects to nothing yet."""
    from core.service import redis_client
    from core.service import storage as object_store
    from core.service.clock import SystemClock
    from core.service.event_log import RedisEventLog
    from core.service.gate import Gate
    from core.service.health import check_storage, check_store
    from core.service.job_store import RedisJobStore
    from core.service.object_reader import S3ObjectReader
    from core.service.queue import CeleryTaskQueue, make_celery_app
    from core.service.rescue import Rescuer
    from core.service.upload_store import RedisUploadStore
    from core.service.workers_registry import RedisWorkerRegistry

    # Somebody waits for each answer: short timeouts, and a gate per server so that one that hangs holds few threads.
    redis = redis_client.connect(settings.redis_url, redis_client.REQUEST, Gate())
    broker = redis_client.connect(settings.broker_url, redis_client.REQUEST, Gate())
    storage = object_store.S3Storage(settings, patience=object_store.REQUEST, gate=Gate())
    workers = RedisWorkerRegistry(redis)
    clock = SystemClock()

    def ask_store() -> Sequence[WorkerStatus]:
        check_store(redis)
        return workers.all()

    return Ports(
        store=RedisJobStore(redis, clock, retention_seconds=settings.retention_seconds, rescue=Rescuer(storage)),
        events=RedisEventLog(redis_client.connect(settings.redis_url, redis_client.STREAM)),
        workers=workers,
        storage=storage,
        objects=S3ObjectReader(storage),
        uploads=RedisUploadStore(redis),
        queue=CeleryTaskQueue(make_celery_app(settings, redis_client.REQUEST), broker),
        clock=clock,
        catalog=Catalog(settings),
        resolve=BoundedResolver.of(settings, REQUEST_SECONDS),
        health=Health(ask_store, lambda: check_storage(storage)),
    )


async def _ports(request: Request) -> Ports:
    return cast(Ports, request.app.state.ports)


async def _settings(request: Request) -> Settings:
    return cast(Settings, request.app.state.settings)


async def _base_url(request: Request) -> str:
    settings = cast(Settings, request.app.state.settings)
    return (settings.public_base_url or str(request.base_url)).rstrip("/")


# async on purpose: FastAPI runs those on the event loop, without a hop to the thread pool.
PortsOfApp = Annotated[Ports, Depends(_ports)]
SettingsOfApp = Annotated[Settings, Depends(_settings)]
BaseUrl = Annotated[str, Depends(_base_url)]
"""Where clients reach this API, without a slash at the end."""
