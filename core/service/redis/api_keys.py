"""ports.ApiKeys: a hash in Redis, and objects in the object store, from which lost keys are read again.

A write of an object that was given up can still arrive later. So a change is written beside the key first (`next_key`),
then to Redis, and only then to the key's own object: what is beside the key and newer may have been refused. And a
revocation is an object of its own, which no other change of the key writes: it would bring the key back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import cast

import redis
from pydantic import ValidationError
from redis.client import Pipeline
from redis.exceptions import RedisError, WatchError

from core.service.domain.api_keys import ApiKey
from core.service.domain.errors import KeyNotFound, ObjectNotFound, StorageError, StoreDamaged, shortened
from core.service.domain.key_changes import revoked, undecided
from core.service.domain.ports import Storage
from core.service.redis import keys
from core.service.redis.errors import raises_store_errors

JSON = "application/json"
OBJECTS_PREFIX = "keys/"
_KEY, _NEXT, _REVOKED = ".json", ".next", ".revoked"
READING, READ = "reading", "read"
"""Values of keys.API_KEYS_READ."""
READ_AT_ONCE = 16
"""Objects, by one process that has found Redis without its data."""

UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
"""When a key was revoked whose revocation cannot be read."""

log = logging.getLogger(__name__)


def object_key(key_id: str) -> str:
    """Key of the object that keeps an API key."""
    return f"{OBJECTS_PREFIX}{key_id}{_KEY}"


def next_key(key_id: str) -> str:
    """Key of the object that keeps the newest change of an API key, made or refused."""
    return f"{OBJECTS_PREFIX}{key_id}{_NEXT}"


def revocation_key(key_id: str) -> str:
    """Key of the object that says when an API key was revoked."""
    return f"{OBJECTS_PREFIX}{key_id}{_REVOKED}"


class StoredApiKeys:
    """ports.ApiKeys. A change is in the object store before it is in Redis, so that Redis is never ahead of it."""

    def __init__(self, redis: redis.Redis, storage: Storage) -> None:
        self._redis = redis
        self._storage = storage

    @raises_store_errors
    def get(self, key_id: str) -> ApiKey:
        (row,) = self._rows([key_id])
        return _parse(key_id, row)

    @raises_store_errors
    def find(self, key_ids: Sequence[str]) -> Sequence[ApiKey | None]:
        return [_readable(key_id, row) for key_id, row in zip(key_ids, self._rows(key_ids), strict=True)]

    @raises_store_errors
    def list(self) -> Sequence[ApiKey]:
        self._read_lost_ones()
        rows = cast("dict[str, str]", self._redis.hgetall(keys.API_KEYS))
        found = [key for key_id, row in rows.items() if (key := _readable(key_id, row)) is not None]
        return sorted(found, key=lambda key: (key.created_at, key.id))

    @raises_store_errors
    def create(self, key: ApiKey) -> None:
        row = key.model_dump_json()
        self._storage.put(object_key(key.id), row.encode(), JSON)
        self._redis.hset(keys.API_KEYS, key.id, row)

    @raises_store_errors
    def change(self, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        self._read_lost_ones()
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    after = self._try_change(pipe, key_id, change)
                except WatchError:
                    continue
                self._try_settle(key_id)
                return after

    @raises_store_errors
    def catch_up(self) -> int:
        """Take from the object store the keys and revocations that Redis does not have: it may have been restored from
        an older backup. Returns how many. Other changes are not taken: a late write may have made an object older than
        its row. Raises StoreError, StorageError."""
        self._read_lost_ones()
        names = frozenset(self._storage.list(OBJECTS_PREFIX))
        rows = cast("dict[str, str]", self._redis.hgetall(keys.API_KEYS))
        missing = [key_id for key_id in _ids(names, _KEY) if key_id not in rows]
        for key_id in missing:
            self._redis.hsetnx(keys.API_KEYS, key_id, self._stored_row(names, key_id))
        behind = [key_id for key_id in _ids(names, _REVOKED) if _is_valid(key_id, rows.get(key_id))]
        for key_id in behind:
            self.change(key_id, partial(revoked, now=self._revoked_at(key_id)))
        return len(missing) + len(behind)

    def _try_change(self, pipe: Pipeline, key_id: str, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
        """Raises WatchError if any key was changed meanwhile."""
        pipe.watch(keys.API_KEYS)
        before = _parse(key_id, cast("str | None", pipe.hget(keys.API_KEYS, key_id)))
        after = change(before)
        if after == before:
            return before
        self._settle(key_id)
        row = after.model_dump_json()
        if after.revoked_at is not None:
            self._storage.put(revocation_key(key_id), after.revoked_at.isoformat().encode(), "text/plain")
        self._storage.put(next_key(key_id), row.encode(), JSON)
        pipe.multi()
        pipe.hset(keys.API_KEYS, key_id, row)
        pipe.execute()
        return after

    def _settle(self, key_id: str) -> None:
        """Make the key's own object its row, which others may change meanwhile."""
        while (row := cast("str | None", self._redis.hget(keys.API_KEYS, key_id))) is not None:
            if self._text(object_key(key_id)) == row:
                return
            self._storage.put(object_key(key_id), row.encode(), JSON)

    def _try_settle(self, key_id: str) -> None:
        """The change is made, and stored beside the key: if this fails, the next one does it."""
        try:
            self._settle(key_id)
        except (StorageError, RedisError, OSError) as error:
            lasts = "until then what was replaced is valid again if Redis loses its data"
            log.warning("the API key %s is changed; its next change stores that for good, %s: %s", key_id, lasts, error)

    def _text(self, name: str) -> str:
        """Of an object; none if there is no such object. A damaged one is no key."""
        try:
            return self._storage.get(name).decode(errors="replace")
        except ObjectNotFound:
            return ""

    def _rows(self, key_ids: Sequence[str]) -> Sequence[str | None]:
        """One round trip, unless Redis has lost its data."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.API_KEYS, [*key_ids])
            pipe.get(keys.API_KEYS_READ)
            rows, state = cast("tuple[list[str | None], str | None]", pipe.execute())
        if state == READ or None not in rows:
            return rows
        self._read_lost_ones()
        return cast("list[str | None]", self._redis.hmget(keys.API_KEYS, [*key_ids]))

    def _read_lost_ones(self) -> None:
        """Read all objects if Redis does not have them all. Rows that exist are newer: they were written after the
        loss."""
        with self._redis.pipeline() as pipe:
            while True:
                try:
                    pipe.set(keys.API_KEYS_READ, READING, nx=True)
                    pipe.execute()
                    # Fails the transaction if Redis loses its data while objects are read.
                    pipe.watch(keys.API_KEYS_READ)
                    if pipe.get(keys.API_KEYS_READ) == READ:
                        return
                    lost = self._stored()
                    pipe.multi()
                    for key_id, row in lost.items():
                        pipe.hsetnx(keys.API_KEYS, key_id, row)
                    pipe.set(keys.API_KEYS_READ, READ)
                    pipe.execute()
                    return
                except WatchError:
                    continue

    def _stored(self) -> dict[str, str]:
        """Ids and rows of all keys in the object store. Requests wait for them: several are read at a time."""
        names = frozenset(self._storage.list(OBJECTS_PREFIX))
        ids = _ids(names, _KEY)
        with ThreadPoolExecutor(READ_AT_ONCE, "lost-keys") as pool:
            return dict(zip(ids, pool.map(partial(self._stored_row, names), ids), strict=True))

    def _stored_row(self, names: Set[str], key_id: str) -> str:
        row = self._text(object_key(key_id))
        if next_key(key_id) in names:
            row = self._newest(key_id, row, self._text(next_key(key_id)))
        return self._revoked(key_id, row) if revocation_key(key_id) in names else row

    def _newest(self, key_id: str, row: str, next_row: str) -> str:
        settled, newer = _readable(key_id, row), _readable(key_id, next_row)
        if settled is None or newer is None or newer.revision <= settled.revision:
            return row
        return undecided(settled, newer).model_dump_json()

    def _revoked(self, key_id: str, row: str) -> str:
        """The row of a revoked key, whatever its object says."""
        key = _readable(key_id, row)
        if key is None:
            return row
        return revoked(key, self._revoked_at(key_id)).model_dump_json()

    def _revoked_at(self, key_id: str) -> datetime:
        text = self._storage.get(revocation_key(key_id))
        try:
            return datetime.fromisoformat(text.decode())
        except ValueError:
            log.error("when the API key %s was revoked cannot be read; it is revoked", key_id)
            return UNKNOWN_TIME


def _ids(names: Set[str], ending: str) -> Sequence[str]:
    """Ids of the keys that have an object with this ending."""
    return [name.removeprefix(OBJECTS_PREFIX).removesuffix(ending) for name in names if name.endswith(ending)]


def _parse(key_id: str, row: str | None) -> ApiKey:
    """The key in a row. Raises KeyNotFound, or StoreDamaged if this version cannot read it."""
    if row is None:
        raise KeyNotFound(f"there is no API key {shortened(key_id, 64)}")
    try:
        return ApiKey.model_validate_json(row)
    except ValidationError as error:
        raise StoreDamaged(f"the API key {key_id} cannot be read: {error.error_count()} errors in it") from error


def _readable(key_id: str, row: str | None) -> ApiKey | None:
    """The key in a row; None if there is none, or if this version cannot read it, which is logged."""
    try:
        return None if row is None else _parse(key_id, row)
    except StoreDamaged as error:
        log.error("%s; it is refused", error)
        return None


def _is_valid(key_id: str, row: str | None) -> bool:
    key = _readable(key_id, row)
    return key is not None and key.revoked_at is None
