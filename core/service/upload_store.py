"""Which uploads clients have asked for, in Redis: one JSON entry each, and an index by time. Knows no objects."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import cast

import redis
from pydantic import ValidationError

from core.service import redis_client as keys
from core.service.errors import StoreDamaged, UploadNotFound
from core.service.media.uploads import Upload

log = logging.getLogger(__name__)


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
        return _parse(upload_id, entry)

    @keys.names_errors
    def count(self) -> int:
        return int(self._redis.zcard(keys.UPLOADS))  # pyright: ignore[reportArgumentType]

    @keys.names_errors
    def older_than(self, moment: datetime) -> Sequence[Upload]:
        ids = cast("list[str]", self._redis.zrangebyscore(keys.UPLOADS, "-inf", f"({moment.timestamp()}"))
        entries = cast("list[str | None]", self._redis.mget([keys.upload_key(one) for one in ids]) if ids else [])
        return list(_readable(zip(ids, entries, strict=False)))

    @keys.names_errors
    def remove(self, upload_id: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.delete(keys.upload_key(upload_id))
            pipe.zrem(keys.UPLOADS, upload_id)
            pipe.execute()


def _parse(upload_id: str, entry: str) -> Upload:
    """Raises StoreDamaged for an entry that this version cannot read."""
    try:
        return Upload.model_validate_json(entry)
    except ValidationError as error:
        raise StoreDamaged(f"the entry of {upload_id} cannot be read: {error.error_count()} errors in it") from error


def _readable(entries: Iterable[tuple[str, str | None]]) -> Iterator[Upload]:
    """One that cannot be read is left, with a line in the log, to a version that can."""
    for upload_id, entry in entries:
        try:
            if entry is not None:
                yield _parse(upload_id, entry)
        except StoreDamaged as error:
            log.error("%s; left out", error)
