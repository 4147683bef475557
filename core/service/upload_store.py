"""Which uploads clients have asked for, in Redis: one JSON entry each, and an index by time. Knows no objects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

import redis

from core.service import redis_client as keys
from core.service.errors import UploadNotFound
from core.service.media.uploads import Upload


class RedisUploadStore:
    """ports.UploadStore. `redis` is from redis_client.connect."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis

    @keys.names_errors
    def create(self, upload: Upload) -> None:
        with self._redis.pipeline() as pipe:
            pipe.set(keys.upload_key(upload.id), upload.model_dump_json())
            pipe.zadd(keys.UPLOADS, {upload.id: upload.created_at.timestamp()})
            pipe.execute()

    @keys.names_errors
    def get(self, upload_id: str) -> Upload:
        entry = cast(str | None, self._redis.get(keys.upload_key(upload_id)))
        if entry is None:
            raise UploadNotFound(f"there is no upload {upload_id}")
        return Upload.model_validate_json(entry)

    @keys.names_errors
    def count(self) -> int:
        return int(self._redis.zcard(keys.UPLOADS))  # pyright: ignore[reportArgumentType]

    @keys.names_errors
    def older_than(self, moment: datetime) -> Sequence[Upload]:
        ids = cast("list[str]", self._redis.zrangebyscore(keys.UPLOADS, "-inf", f"({moment.timestamp()}"))
        entries = cast("list[str | None]", self._redis.mget([keys.upload_key(one) for one in ids]) if ids else [])
        return [Upload.model_validate_json(entry) for entry in entries if entry is not None]

    @keys.names_errors
    def remove(self, upload_id: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.delete(keys.upload_key(upload_id))
            pipe.zrem(keys.UPLOADS, upload_id)
            pipe.execute()
