"""ports.Pauses in Redis: one hash, which is empty nearly always."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import cast

import redis

from core.service.domain.ports.pauses import EVERYTHING, PauseTarget, targets_of
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors


class RedisPauses:
    """ports.Pauses."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis

    @raises_store_errors
    def of(self, model: str, worker: str) -> PauseTarget | None:
        targets = targets_of(model, worker)
        found = cast("list[str | None]", self._redis.hmget(keys.PAUSED, [str(target) for target in targets]))
        return next((target for target, since in zip(targets, found, strict=True) if since is not None), None)

    @raises_store_errors
    def all(self) -> Mapping[PauseTarget, datetime]:
        fields = cast("dict[str, str]", self._redis.hgetall(keys.PAUSED))
        return {_target(field): datetime.fromisoformat(since) for field, since in sorted(fields.items())}

    @raises_store_errors
    def pause(self, target: PauseTarget, now: datetime) -> None:
        self._redis.hsetnx(keys.PAUSED, str(target), now.isoformat())

    @raises_store_errors
    def resume(self, target: PauseTarget) -> bool:
        return bool(self._redis.hdel(keys.PAUSED, str(target)))


def _target(field: str) -> PauseTarget:
    kind, _, name = field.partition(" ")
    if kind == "model":
        return PauseTarget(model=name)
    return PauseTarget(worker=name) if kind == "worker" else EVERYTHING
