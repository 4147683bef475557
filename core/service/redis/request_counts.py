"""Requests per minute of API keys in Redis: one counter per key and window."""

from __future__ import annotations

import redis

from core.service.redis import keys
from core.service.redis.errors import raises_store_errors

KEPT_SECONDS = 180
"""A window ends long before: the clocks of API machines may differ."""


class RedisRequestCounts:
    """ports.RequestCounts."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis

    @raises_store_errors
    def take(self, key_id: str, window: int, portion: int) -> int:
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.incrby(keys.requests_key(key_id, window), portion)
            pipe.expire(keys.requests_key(key_id, window), KEPT_SECONDS)
            return int(pipe.execute()[0]) - portion
