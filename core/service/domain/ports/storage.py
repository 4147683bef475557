"""The object store ports: blocking for workers, asynchronous for the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """What a storage says of an object without giving it."""

    size_bytes: int
    content_type: str


class Storage(Protocol):
    """Objects by key in one bucket. All failures are StorageError; a missing object is ObjectNotFound."""

    def ensure_bucket(self) -> None: ...

    def check(self) -> None:
        """Raise StorageError where the bucket cannot be reached."""
        ...

    def put(self, key: str, data: bytes, content_type: str) -> None: ...

    def put_file(self, key: str, path: Path, content_type: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def pieces(self, key: str) -> Iterator[bytes]:
        """The object's bytes in order, for those too many for memory. An outage may show at any piece."""
        ...

    def look_up(self, key: str) -> StoredObject: ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]: ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete these objects; those that are missing count as deleted."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects under a prefix; returns how many."""
        ...

    def url(self, key: str, *, download_name: str | None = None) -> str:
        """A presigned GET on the public endpoint, valid for at least settings.url_ttl_seconds. Stable: the same text
        for some time, so that ETags and playlists do not change with every call."""
        ...

    def upload_url(self, key: str, headers: Mapping[str, str], ttl_seconds: int) -> str:
        """A presigned PUT on the public endpoint. It takes a request with exactly these `headers` (lower-case names);
        content-type and content-length among them say what and how much may be stored."""
        ...


@dataclass(frozen=True)
class ObjectPart:
    """Bytes `first_byte` to `last_byte` (both included) of an object of `total_bytes`, as they come.

    `is_range` is false where the whole was asked for, or where the server knows no ranges and sent it all the same."""

    first_byte: int
    last_byte: int
    total_bytes: int
    is_range: bool
    pieces: AsyncIterator[bytes]


class ObjectReader(Protocol):
    """Objects for those who wait for them on an event loop: no thread is held while their bytes come."""

    def open(self, key: str, byte_range: str | None) -> AbstractAsyncContextManager[ObjectPart]:
        """The object, or of it the one `byte_range` of RFC 9110, 14.1.2, without the unit: `0-99`, `100-`, `-5`.

        Within two seconds it is known whether there is an answer. Raises ObjectNotFound, RangeNotSatisfiable or another
        StorageError; `pieces` raise StorageUnavailable where the bytes stop coming.
        """
        ...

    async def close(self) -> None: ...
