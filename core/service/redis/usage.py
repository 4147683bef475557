"""What API keys use of their limits, in Redis: written with each job and upload, in the same transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import redis
from redis.client import Pipeline

from core.service.domain.api_keys import KeyLimits
from core.service.domain.ports import Clock
from core.service.domain.schema import JobRecord
from core.service.domain.uploads import Upload
from core.service.domain.usage import (
    KeyUsage,
    check_bytes,
    check_limits,
    day_of,
    end_of,
    is_unfinished,
    new_frames,
    stored_bytes,
)
from core.service.redis import keys, usage_scripts
from core.service.redis.errors import raises_store_errors
from core.service.redis.transaction import SET_BYTES, call

FRAMES_KEPT = timedelta(days=1)
"""How long the frames of a day are kept after it: the clocks of machines may differ."""


class RedisUsage:
    """ports.Usage."""

    def __init__(self, redis: redis.Redis, clock: Clock) -> None:
        self._redis = redis
        self._clock = clock

    @raises_store_errors
    def of(self, key_id: str) -> KeyUsage:
        return _read(self._redis, key_id, self._clock)


def require_room(
    pipe: Pipeline, before: JobRecord | None, after: JobRecord, limits: KeyLimits | None, clock: Clock
) -> None:
    """Raises LimitReached, UsageUnknown if the owner may not change a job so. Watches what that depends on: the
    transaction, which is not begun yet, fails if it changes meanwhile."""
    if limits is None or after.owner is None:
        return
    unfinished, frames, _bytes = _counters(after.owner, clock)  # bytes change with every chunk
    pipe.watch(unfinished, frames, keys.MANIFESTS_READ)
    check_limits(before, after, _read(pipe, after.owner, clock), limits, clock.now())


def require_room_for(pipe: Pipeline, upload: Upload, limits: KeyLimits) -> None:
    """The same for an upload."""
    if upload.owner is not None:
        of_owner = keys.stored_bytes_of(upload.owner)
        pipe.watch(of_owner, keys.MANIFESTS_READ)
        stored = cast("str | None", pipe.hget(of_owner, keys.TOTAL_BYTES))
        complete = bool(pipe.exists(keys.MANIFESTS_READ))
        check_bytes(upload.size_bytes, KeyUsage(stored_bytes=int(stored or 0), complete=complete), limits)


def write(pipe: Pipeline, before: JobRecord | None, after: JobRecord) -> None:
    """Queue what a change of a job counts."""
    owner = after.owner
    if owner is None:
        return
    if is_unfinished(after) and not (before and is_unfinished(before)):
        pipe.sadd(keys.unfinished_jobs_of(owner), after.id)
    elif not is_unfinished(after):
        pipe.srem(keys.unfinished_jobs_of(owner), after.id)
    if stored_bytes(after) != (stored_bytes(before) if before else 0):
        _set_bytes(pipe, owner, keys.bytes_of_job(after.id), stored_bytes(after))
    if (counted := new_frames(before, after)) is not None:
        day, frames = counted
        pipe.incrby(keys.frames_of(owner, day), frames)
        pipe.expireat(keys.frames_of(owner, day), end_of(day) + FRAMES_KEPT)


def remove(pipe: Pipeline, job: JobRecord) -> None:
    """Queue that a job is gone. Its frames still count."""
    if job.owner is not None:
        pipe.srem(keys.unfinished_jobs_of(job.owner), job.id)
        _set_bytes(pipe, job.owner, keys.bytes_of_job(job.id), 0)


def write_upload(pipe: Pipeline, upload: Upload) -> None:
    """Queue what a new upload counts."""
    if upload.owner is not None:
        _set_bytes(pipe, upload.owner, keys.bytes_of_upload(upload.id), upload.size_bytes)


def remove_upload(pipe: Pipeline, upload: Upload) -> None:
    """Queue that an upload is gone."""
    if upload.owner is not None:
        _set_bytes(pipe, upload.owner, keys.bytes_of_upload(upload.id), 0)


def _set_bytes(pipe: Pipeline, owner: str, field: str, size_bytes: int) -> None:
    call(pipe, SET_BYTES, [keys.stored_bytes_of(owner)], field, size_bytes, keys.TOTAL_BYTES)


def _read(client: redis.Redis, owner: str, clock: Clock) -> KeyUsage:
    found = client.eval(usage_scripts.READ, 4, *_counters(owner, clock), keys.MANIFESTS_READ, keys.TOTAL_BYTES)
    unfinished, frames, size_bytes, complete = cast("tuple[int, int, int, int]", found)
    return KeyUsage(unfinished_jobs=unfinished, frames_today=frames, stored_bytes=size_bytes, complete=bool(complete))


def _counters(owner: str, clock: Clock) -> tuple[str, str, str]:
    today = keys.frames_of(owner, day_of(clock.now()))
    return keys.unfinished_jobs_of(owner), today, keys.stored_bytes_of(owner)
