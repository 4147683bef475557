"""ports.IdempotencyKeys in Redis: per key an entry, kept for a day, and a short lock of the request in flight."""

from __future__ import annotations

import hashlib
from typing import cast

import redis

from core.service.domain.ports.idempotency import IN_FLIGHT_SECONDS, KEPT_SECONDS, Reservation
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors

# Keys: entry, lock. Arguments: fingerprint, job id, token, life of the entry (s), life of the lock (s).
# Returns job id, fingerprint, whether the lock is the caller's, whether the entry is new.
_RESERVE = """
local entry = redis.call('HMGET', KEYS[1], 'job', 'fingerprint')
local is_new = 0
if not entry[1] then
  redis.call('HSET', KEYS[1], 'job', ARGV[2], 'fingerprint', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  entry, is_new = {ARGV[2], ARGV[1]}, 1
end
local mine = 0
if entry[2] == ARGV[1] and redis.call('SET', KEYS[2], ARGV[3], 'NX', 'EX', ARGV[5]) then mine = 1 end
if redis.call('GET', KEYS[2]) == ARGV[3] then mine = 1 end
return {entry[1], entry[2], mine, is_new}
"""

# Removes the other keys if the lock KEYS[1] is the caller's.
_END = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', unpack(KEYS)) end
return 0
"""


class RedisIdempotencyKeys:
    """ports.IdempotencyKeys. `redis` is from client.connect, which may send a call twice: both have one effect."""

    def __init__(self, redis: redis.Redis) -> None:
        self._reserve = redis.register_script(_RESERVE)
        self._end = redis.register_script(_END)

    @raises_store_errors
    def reserve(self, scope: str, key: str, fingerprint: str, token: str, job_id: str) -> Reservation:
        args = [fingerprint, job_id, token, KEPT_SECONDS, IN_FLIGHT_SECONDS]
        answer = self._reserve(keys=[_entry(scope, key), _lock(scope, key)], args=args)
        found_id, found, mine, is_new = cast("tuple[str, str, int, int]", answer)
        return Reservation(found_id, found, bool(mine), bool(is_new) and bool(mine))

    @raises_store_errors
    def release(self, scope: str, key: str, token: str) -> None:
        self._end(keys=[_lock(scope, key)], args=[token])

    @raises_store_errors
    def forget(self, scope: str, key: str, token: str) -> None:
        self._end(keys=[_lock(scope, key), _entry(scope, key)], args=[token])


def _entry(scope: str, key: str) -> str:
    """Keys are hashed, so that a client's text is no part of a name in Redis."""
    return keys.idempotency_key(scope, hashlib.sha256(key.encode()).hexdigest())


def _lock(scope: str, key: str) -> str:
    return f"{_entry(scope, key)}:lock"
