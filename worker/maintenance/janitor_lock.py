"""The janitors' lock in Redis, and a mark that is lost when Redis loses everything."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager

import redis

from core.service.redis.errors import raises_store_errors
from core.service.redis.keys import MANIFESTS_BEING_READ, MANIFESTS_READ
from worker.runtime.ticker import Ticker

LOCK_KEY = "longtake:janitor:lock"
LOCK_SECONDS = 10.0
"""The lock's time to live. A running janitor renews it; a dead one blocks the others for so long."""
RENEWALS_PER_LOCK = 3

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
# The key written when the reading began is missing if Redis has lost everything since.
_MARK_READ = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
"""


class RedisJanitorLock:
    """janitor.JanitorLock in the Redis database of the records. Methods raise StoreError."""

    def __init__(self, redis: redis.Redis, lock_seconds: float = LOCK_SECONDS) -> None:
        self._redis = redis
        self._lock_seconds = lock_seconds
        self._release_lock = redis.register_script(_RELEASE)
        self._renew_lock = redis.register_script(_RENEW)
        self._mark_read = redis.register_script(_MARK_READ)
        self._reading = ""

    @contextmanager
    def exclusive(self) -> Generator[bool]:
        token = secrets.token_hex(8)
        if not self._take(token):
            yield False
            return
        renewing = Ticker("janitor-lock", self._lock_seconds / RENEWALS_PER_LOCK, lambda: self._renew(token)).start()
        try:
            yield True
        finally:
            renewing.stop(self._lock_seconds)
            self._release(token)

    @raises_store_errors
    def manifests_read(self) -> bool:
        return bool(self._redis.exists(MANIFESTS_READ))

    @raises_store_errors
    def begin_reading(self) -> None:
        self._reading = secrets.token_hex(8)
        self._redis.set(MANIFESTS_BEING_READ, self._reading)

    @raises_store_errors
    def mark_manifests_read(self) -> bool:
        return bool(self._mark_read(keys=[MANIFESTS_BEING_READ, MANIFESTS_READ], args=[self._reading]))

    @raises_store_errors
    def _take(self, token: str) -> bool:
        return bool(self._redis.set(LOCK_KEY, token, nx=True, px=_milliseconds(self._lock_seconds)))

    @raises_store_errors
    def _renew(self, token: str) -> None:
        self._renew_lock(keys=[LOCK_KEY], args=[token, _milliseconds(self._lock_seconds)])

    @raises_store_errors
    def _release(self, token: str) -> None:
        self._release_lock(keys=[LOCK_KEY], args=[token])


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
