"""What the janitors of several processes share in Redis: a lock, and a mark that goes when Redis loses everything."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager

import redis

from core.service.redis_client import names_errors

LOCK_KEY = "longtake:janitor:lock"
MANIFESTS_READ_KEY = "longtake:janitor:manifests_read"
LOCK_SECONDS = 300
"""Longest pass that is surely alone; of a longer one, or of a killed janitor's, the next one takes over."""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisCoordination:
    """worker.janitor.Coordination in the records' own Redis database. Raises StoreError where it does not answer."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis
        self._release_lock = redis.register_script(_RELEASE)

    @contextmanager
    def exclusive(self) -> Generator[bool]:
        token = secrets.token_hex(8)
        mine = self._take(token)
        try:
            yield mine
        finally:
            if mine:
                self._release(token)

    @names_errors
    def manifests_read(self) -> bool:
        return bool(self._redis.exists(MANIFESTS_READ_KEY))

    @names_errors
    def mark_manifests_read(self) -> None:
        self._redis.set(MANIFESTS_READ_KEY, "1")

    @names_errors
    def _take(self, token: str) -> bool:
        return bool(self._redis.set(LOCK_KEY, token, nx=True, ex=LOCK_SECONDS))

    @names_errors
    def _release(self, token: str) -> None:
        self._release_lock(keys=[LOCK_KEY], args=[token])
