"""The object store ports: blocking for workers, asynchronous for the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class StoredObject:
    """Size and content type of an object."""

    size_bytes: int
    content_type: str


class Storage(Protocol):
    """Objects by key in one bucket. Failures are StorageError; a missing object is ObjectNotFound."""

    def ensure_bucket(self) -> None: ...

    def check(self) -> None:
        """Raise StorageError if the bucket cannot be reached."""
        ...

    def put(self, key: str, data: bytes, content_type: str) -> None: ...

    def put_file(self, key: str, path: Path, content_type: str) -> None: ...

    def get(self, key: str) -> bytes: ...

    def copy(self, source: str, target: str) -> None:
        """Store a copy of an object under another key, within the object store. Raises ObjectNotFound."""
        ...

    def pieces(self, key: str) -> Iterator[bytes]:
        """The object's bytes in order, piece by piece, for large objects. Any piece may raise StorageError."""
        ...

    def look_up(self, key: str) -> StoredObject: ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[str]: ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete these objects; missing ones are ignored."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects under a prefix; returns how many."""
        ...

    def url(self, key: str, *, download_name: str | None = None) -> str:
        """A presigned GET on the public endpoint, valid for at least settings.url_ttl_seconds. The text stays the same
        for some time, so that ETags and playlists do not change with every call."""
        ...

    def upload_url(self, key: str, headers: Mapping[str, str], ttl_seconds: int) -> str:
        """A presigned PUT on the public endpoint. The request must have exactly these `headers` (lower-case names), so
        content-type and content-length bind what may be stored."""
        ...


@dataclass(frozen=True)
class ObjectPart:
    """Bytes `first_byte` to `last_byte` (inclusive) of an object of `total_bytes`, as a stream.

    `is_range` is False if the whole object was requested, or if the server ignored the range and sent it all."""

    first_byte: int
    last_byte: int
    total_bytes: int
    is_range: bool
    pieces: AsyncIterator[bytes]


class ObjectReader(Protocol):
    """Reads objects on an event loop, without a thread per reader."""

    def open(self, key: str, byte_range: str | None) -> AbstractAsyncContextManager[ObjectPart]:
        """The object, or one `byte_range` of it (RFC 9110, 14.1.2, without the unit: `0-99`, `100-`, `-5`).

        Answers or fails within two seconds. Raises ObjectNotFound, RangeNotSatisfiable or another StorageError;
        `pieces` raise StorageUnavailable if the bytes stop coming.
        """
        ...

    async def close(self) -> None: ...
