"""The servers that the processes share, which may be away or deaf, and what can be seen in them.

The store, outbox and janitor's lock are the real ones, over a real Redis; the objects are in a FakeStorage.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

import redis

from core.service.domain.errors import StoreUnavailable
from core.service.domain.manifest import manifest_key
from core.service.domain.ports import Lease
from core.service.domain.schema import ChunkRecord, JobEvent, JobRecord, LaneState, Variant
from core.service.domain.transitions.rules import is_kept
from core.service.records.rebuild import RecordRebuilder
from core.service.redis import chunk_lists, job_rows, keys
from core.service.redis.event_log import RedisEventLog
from core.service.redis.job_store import RedisJobStore
from core.service.redis.outbox import RedisOutbox
from core.service.redis.pauses import RedisPauses
from core.service.redis.speed import RedisSpeeds
from core.service.redis.upload_store import RedisUploadStore
from core.service.settings import Settings
from core.service.testing.clock import FakeClock
from core.service.testing.queue import FakeTaskQueue
from tests.helpers.job_life.objects import ObjectStore, put_picture
from tests.helpers.job_life.processes import Process
from tests.helpers.manifests import record_from_manifest
from worker.maintenance.janitor_lock import RedisJanitorLock
from worker.runtime.services import Services

LONG_SECONDS = 3600.0
"""Leases never run out by themselves here: the test removes them."""
StoreMode = Literal["up", "away", "deaf"]
"""deaf: it does what it is asked, and the answer is lost."""
FENCED = frozenset(
    {
        *("commit_prepare", "commit_chunk", "commit_and_claim", "commit_refined", "commit_repair", "repair", "finish"),
        "commit_measurement",
    }
)


@dataclass
class Servers:
    """All that the processes share, and what is noted of it. `redis` is empty."""

    redis: redis.Redis
    clock: FakeClock = field(default_factory=FakeClock)
    storage: ObjectStore = field(default_factory=ObjectStore)
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)
    settings: Settings = field(default_factory=lambda: Settings(lease_ttl_seconds=LONG_SECONDS, max_attempts=3))
    mode: StoreMode = "up"
    fence_broken: list[str] = field(default_factory=list[str])
    engine_failures: list[str] = field(default_factory=list[str])
    """Ids of the jobs, once for each failure."""
    measuring_failures: int = 0

    def __post_init__(self) -> None:
        retention = self.settings.retention_seconds
        self.store = RedisJobStore(
            self.redis, self.clock, retention_seconds=retention, rebuild=RecordRebuilder(self.storage)
        )
        self.store_port = cast("Any", Server(self.store, self))
        self.outbox = RedisOutbox(self.redis, now=self.clock.now)
        self.log = RedisEventLog(self.redis)
        put_picture(self.storage)

    def services(self, process: Process) -> Services:
        """The ports as `process` has them."""
        return Services(
            process.port(self.store_port),
            process.port(self.storage),
            RedisUploadStore(self.redis),
            process.port(self.queue),
            self.clock,
            self.settings,
            process.name,
            RedisSpeeds(self.redis),
            RedisPauses(self.redis),
            process.drain,
        )

    # What happens to them

    def leases_run_out(self) -> None:
        """Also pauses after failures, and the lock of a janitor that has died."""
        found = [*self.redis.scan_iter("longtake:job:*:lease:*", count=1000), "longtake:janitor:lock"]
        self.redis.delete(*found)

    def wipe(self) -> None:
        """Redis loses everything, the broker's messages as well."""
        self.redis.flushall()
        self.queue.messages.clear()

    # What can be seen

    def record(self, job_id: str) -> JobRecord | None:
        """As it lies in Redis, deleted or not."""
        row = job_rows.read_row(self.redis, job_id)
        return None if row is None else job_rows.parse_row(job_id, row)[0]

    def chunks(self, job_id: str, variant: Variant) -> list[ChunkRecord]:
        """As they lie in Redis."""
        return chunk_lists.parse_chunks(job_id, self.redis.lrange(keys.chunks_key(job_id, variant), 0, -1))  # pyright: ignore[reportArgumentType]

    def manifest(self, job_id: str) -> JobRecord | None:
        data = self.storage.objects.get(manifest_key(job_id))
        return None if data is None else record_from_manifest(data)

    def events(self, job_id: str) -> list[JobEvent]:
        return [*self.log.read(job_id)]

    def stale(self) -> set[str]:
        return set(cast("list[str]", self.redis.zrange(keys.STALE_MANIFESTS, 0, -1)))

    def traces(self, job_id: str) -> list[str]:
        """Every key and object that has the job's name."""
        found = [key for key in self.storage.objects if job_id in key]
        return [*found, *self.redis.scan_iter(f"*{job_id}*", count=1000)]


class Server:
    """A store, outbox or lock in Redis as its clients meet it: there, away, or deaf. Notes changes by stale tokens."""

    def __init__(self, real: object, servers: Servers) -> None:
        self._real = real
        self._servers = servers

    def __getattr__(self, name: str) -> Any:
        return partial(self._asked, name, getattr(self._real, name))

    def _asked(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._servers.mode == "away":
            raise StoreUnavailable("Redis is away")
        newest = self._newest(args[0]) if name in FENCED else None
        result = method(*args, **kwargs)
        is_repeated = name == "commit_and_claim" and newest is not None and is_kept(newest, args[0])
        if newest is not None and newest.token != args[0].token and not is_repeated:
            self._servers.fence_broken.append(f"{name} with token {args[0].token}, the newest was {newest.token}")
        if self._servers.mode == "deaf":
            raise StoreUnavailable("the answer is lost")
        return result

    def _newest(self, lease: Lease) -> LaneState | None:
        record = self._servers.record(lease.job_id)
        return record.lane(lease.lane) if record else None


class Lock:
    """worker.maintenance.janitor.JanitorLock of one janitor."""

    def __init__(self, servers: Servers, process: Process) -> None:
        self._servers = servers
        self._real = RedisJanitorLock(servers.redis)
        self._asked = process.port(Server(self._real, servers))

    @contextmanager
    def exclusive(self) -> Generator[bool]:
        if self._servers.mode != "up":
            raise StoreUnavailable("Redis is away")
        with self._real.exclusive() as mine:
            yield mine

    def manifests_read(self) -> bool:
        return self._asked.manifests_read()

    def begin_reading(self) -> None:
        self._asked.begin_reading()

    def mark_manifests_read(self) -> bool:
        return self._asked.mark_manifests_read()
