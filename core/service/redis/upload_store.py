"""Upload records in Redis: one JSON entry each, and indexes by time."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import cast

import redis
from pydantic import ValidationError
from redis.client import Pipeline
from redis.exceptions import WatchError

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import StoreDamaged, UploadNotFound
from core.service.domain.ports import Discarded
from core.service.domain.uploads import Upload
from core.service.redis import keys, usage
from core.service.redis.errors import raises_store_errors
from core.service.redis.transaction import Transactions

_LATE = " late"

log = logging.getLogger(__name__)


class RedisUploadStore:
    """ports.UploadStore. `redis` is from client.connect."""

    def __init__(self, redis: redis.Redis) -> None:
        self._redis = redis
        self._transactions = Transactions(redis)

    @raises_store_errors
    def create(self, upload: Upload, limits: KeyLimits | None = None) -> None:
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    if limits is not None:
                        usage.require_room_for(pipe, upload, limits)
                        pipe.multi()
                    _write(pipe, upload)
                    self._transactions.execute(pipe)
                    return
                except WatchError:
                    continue

    @raises_store_errors
    def get(self, upload_id: str) -> Upload:
        entry = cast(str | None, self._redis.get(keys.upload_key(upload_id)))
        if entry is None:
            raise UploadNotFound(f"there is no upload {upload_id}")
        return _parse(upload_id, entry)

    @raises_store_errors
    def count(self) -> int:
        return int(self._redis.zcard(keys.UPLOADS))  # pyright: ignore[reportArgumentType]

    @raises_store_errors
    def client_key(self) -> bytes:
        with self._redis.pipeline() as pipe:
            pipe.set(keys.UPLOADS_CLIENT_KEY, secrets.token_hex(32), nx=True)
            pipe.get(keys.UPLOADS_CLIENT_KEY)
            return bytes.fromhex(pipe.execute()[1])

    @raises_store_errors
    def count_of(self, client: str) -> int:
        seconds, _ = self._redis.time()
        of_client = keys.uploads_of_client(client)
        return int(self._redis.zcount(of_client, seconds, "+inf"))  # pyright: ignore[reportArgumentType]

    @raises_store_errors
    def older_than(self, moment: datetime) -> Sequence[Upload]:
        return self._before(keys.UPLOADS, moment)

    @raises_store_errors
    def unsent(self, moment: datetime) -> Sequence[Upload]:
        return self._before(keys.UNSENT_UPLOADS, moment)

    def _before(self, index: str, moment: datetime) -> Sequence[Upload]:
        ids = cast("list[str]", self._redis.zrangebyscore(index, "-inf", f"({moment.timestamp()}"))
        entries = cast("list[str | None]", self._redis.mget([keys.upload_key(one) for one in ids]) if ids else [])
        gone = [upload_id for upload_id, entry in zip(ids, entries, strict=True) if entry is None]
        if gone:  # removed by an older version, which does not update every index
            self._redis.zrem(index, *gone)
        return list(_readable(zip(ids, entries, strict=True)))

    @raises_store_errors
    def sent(self, upload_id: str) -> None:
        self._redis.zrem(keys.UNSENT_UPLOADS, upload_id)

    @raises_store_errors
    def remove(self, upload_id: str) -> None:
        with suppress(UploadNotFound, StoreDamaged):
            self._remove(self.get(upload_id))

    @raises_store_errors
    def discard(self, upload_id: str, now: datetime, late: datetime) -> None:
        self._remove(self.get(upload_id), {upload_id: now.timestamp(), f"{upload_id}{_LATE}": late.timestamp()})

    def _remove(self, upload: Upload, discarded: Mapping[str, float] | None = None) -> None:
        def remove(pipe: Pipeline) -> None:
            pipe.delete(keys.upload_key(upload.id))
            pipe.zrem(keys.UPLOADS, upload.id)
            pipe.zrem(keys.UNSENT_UPLOADS, upload.id)
            if upload.client is not None:
                pipe.zrem(keys.uploads_of_client(upload.client), upload.id)
            usage.remove_upload(pipe, upload)
            if discarded:
                pipe.zadd(keys.DISCARDED_UPLOADS, dict(discarded))

        self._transactions.write(remove)

    @raises_store_errors
    def is_discarded(self, upload_id: str) -> bool:
        scores = self._redis.zmscore(keys.DISCARDED_UPLOADS, [upload_id, f"{upload_id}{_LATE}"])
        return any(score is not None for score in scores)

    @raises_store_errors
    def discarded(self, moment: datetime) -> Sequence[Discarded]:
        found = cast("list[str]", self._redis.zrangebyscore(keys.DISCARDED_UPLOADS, "-inf", moment.timestamp()))
        return [Discarded(member.removesuffix(_LATE), member.endswith(_LATE)) for member in found]

    @raises_store_errors
    def forget_discarded(self, discarded: Discarded) -> None:
        member = f"{discarded.upload_id}{_LATE}" if discarded.late else discarded.upload_id
        self._redis.zrem(keys.DISCARDED_UPLOADS, member)


def _write(pipe: Pipeline, upload: Upload) -> None:
    pipe.set(keys.upload_key(upload.id), upload.model_dump_json())
    pipe.zadd(keys.UPLOADS, {upload.id: upload.created_at.timestamp()})
    if upload.url_expires_at is not None:
        pipe.zadd(keys.UNSENT_UPLOADS, {upload.id: upload.url_expires_at.timestamp()})
    if upload.client is not None:
        pipe.zadd(keys.uploads_of_client(upload.client), {upload.id: upload.expires_at.timestamp()})
        pipe.zremrangebyscore(keys.uploads_of_client(upload.client), "-inf", upload.created_at.timestamp())
    usage.write_upload(pipe, upload)


def _parse(upload_id: str, entry: str) -> Upload:
    """The upload in an entry. Raises StoreDamaged if this version cannot read it."""
    try:
        return Upload.model_validate_json(entry)
    except ValidationError as error:
        raise StoreDamaged(f"the entry of {upload_id} cannot be read: {error.error_count()} errors in it") from error


def _readable(entries: Iterable[tuple[str, str | None]]) -> Iterator[Upload]:
    """The uploads of (id, entry) pairs; unreadable ones are logged and skipped."""
    for upload_id, entry in entries:
        try:
            if entry is not None:
                yield _parse(upload_id, entry)
        except StoreDamaged as error:
            log.error("%s; left out", error)
