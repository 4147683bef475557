"""Health checks of Redis and the object store by a small write: a server that refuses writes still answers a ping."""

from __future__ import annotations

import redis

from core.service.domain.ports import Storage
from core.service.redis.client import raises_store_errors

KEY = "longtake:health"
KEY_SECONDS = 60
OBJECT_KEY = "health/probe"


@raises_store_errors
def check_store(client: redis.Redis) -> None:
    """Write a key. Raises StoreError."""
    client.set(KEY, "1", ex=KEY_SECONDS)


def check_storage(storage: Storage) -> None:
    """Write an object. Raises StorageError."""
    storage.put(OBJECT_KEY, b"ok", "text/plain")
