"""Whether Redis and the object store take writes: the smallest write of each. What cannot be written answers reads for
long, so a ping proves nothing. Knows no job."""

from __future__ import annotations

import redis

from core.service.domain.ports import Storage
from core.service.redis.client import raises_store_errors

KEY = "longtake:health"
KEY_SECONDS = 60
OBJECT_KEY = "health/probe"


@raises_store_errors
def check_store(client: redis.Redis) -> None:
    """Raises StoreError where Redis does not take a key."""
    client.set(KEY, "1", ex=KEY_SECONDS)


def check_storage(storage: Storage) -> None:
    """Raises StorageError where the bucket does not take an object."""
    storage.put(OBJECT_KEY, b"ok", "text/plain")
