"""ports.ApiKeys: a hash in Redis, and an object each in the object store, from which lost ones are read again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import redis

from core.service.domain.api_keys import ApiKey
from core.service.domain.errors import KeyNotFound, shortened
from core.service.domain.ports import Storage
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors

JSON = "application/json"
OBJECTS_PREFIX = "keys/"


def object_key(key_id: str) -> str:
    """Key of the object that keeps an API key."""
    return f"{OBJECTS_PREFIX}{key_id}.json"


class StoredApiKeys:
    """ports.ApiKeys."""

    def __init__(self, redis: redis.Redis, storage: Storage) -> None:
        self._redis = redis
        self._storage = storage

    @raises_store_errors
    def get(self, key_id: str) -> ApiKey:
        row = cast("str | None", self._redis.hget(keys.API_KEYS, key_id))
        if row is None:
            raise KeyNotFound(f"there is no API key {shortened(key_id, 64)}")
        return ApiKey.model_validate_json(row)

    @raises_store_errors
    def list(self) -> Sequence[ApiKey]:
        rows = cast("list[str]", self._redis.hvals(keys.API_KEYS))
        found = (ApiKey.model_validate_json(row) for row in rows)
        return sorted(found, key=lambda key: (key.created_at, key.id))

    @raises_store_errors
    def create(self, key: ApiKey) -> None:
        self._write(key)

    @raises_store_errors
    def change(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        changed = change(self.get(key_id))
        self._write(changed)
        return changed

    def _write(self, key: ApiKey) -> None:
        row = key.model_dump_json()
        self._storage.put(object_key(key.id), row.encode(), JSON)
        self._redis.hset(keys.API_KEYS, key.id, row)
