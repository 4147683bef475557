"""The registry of worker processes in Redis: one expiring entry each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import redis
from pydantic import ValidationError

from core.service.domain.ports import WorkerStatus
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors

log = logging.getLogger(__name__)


class RedisWorkerRegistry:
    """ports.WorkerRegistry."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis

    @raises_store_errors
    def report(self, status: WorkerStatus, ttl_seconds: float) -> None:
        with self._redis.pipeline() as pipe:
            pipe.set(keys.worker_key(status.name), status.model_dump_json(), px=round(ttl_seconds * 1000))
            pipe.sadd(keys.WORKERS, status.name)
            pipe.execute()

    @raises_store_errors
    def remove(self, name: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.delete(keys.worker_key(name))
            pipe.srem(keys.WORKERS, name)
            pipe.execute()

    @raises_store_errors
    def all(self) -> Sequence[WorkerStatus]:
        """Statuses sorted by name. Also removes names whose entry has expired; a late report adds them again."""
        names = sorted(cast(set[str], self._redis.smembers(keys.WORKERS)))
        if not names:
            return []
        entries = cast(list[str | None], self._redis.mget([keys.worker_key(name) for name in names]))
        gone = [name for name, entry in zip(names, entries, strict=True) if entry is None]
        if gone:
            self._redis.srem(keys.WORKERS, *gone)
        return [status for entry in entries if entry is not None and (status := _read(entry)) is not None]


def _read(entry: str) -> WorkerStatus | None:
    """None if this version cannot read it (a kind or state of a newer version)."""
    try:
        return WorkerStatus.model_validate_json(entry)
    except ValidationError as error:
        log.warning("a worker's status cannot be read and is skipped: %d errors in it", error.error_count())
        return None
