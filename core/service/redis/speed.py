"""ports.Speeds in Redis: one hash for all models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import redis

from core.service.domain.ports.speeds import NEWEST_COUNTS, SpeedOf
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors

_REPORT = """
local mean = redis.call('HGET', KEYS[1], ARGV[1])
local now = tonumber(ARGV[2])
if mean then now = mean + ARGV[3] * (now - mean) end
redis.call('HSET', KEYS[1], ARGV[1], tostring(now))
return 0
"""
_KINDS: tuple[SpeedOf, ...] = get_args(SpeedOf)


class RedisSpeeds:
    """ports.Speeds. `redis` is from client.connect."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis
        self._report = redis.register_script(_REPORT)

    @raises_store_errors
    def report(self, model: str, kind: SpeedOf, seconds_per_step: float) -> None:
        self._report(keys=[keys.SPEEDS], args=[f"{model} {kind}", seconds_per_step, NEWEST_COUNTS])

    @raises_store_errors
    def of(self, model: str) -> Mapping[SpeedOf, float]:
        found = self._redis.hmget(keys.SPEEDS, [f"{model} {kind}" for kind in _KINDS])
        return {kind: float(mean) for kind, mean in zip(_KINDS, found, strict=True) if mean is not None}
