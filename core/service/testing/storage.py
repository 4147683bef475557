"""ports.Storage and ports.ObjectReader in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

from core.service.domain.errors import ObjectNotFound, RangeNotSatisfiable, StorageError
from core.service.domain.ports import ObjectPart, StoredObject

PIECE_BYTES = 1000
"""Small, so that objects in tests have more than one piece."""


class FakeStorage:
    """ports.Storage in memory. While `broken` is set, everything raises StorageError."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.content_types: dict[str, str] = {}
        self.broken = False

    def ensure_bucket(self) -> None:
        self.check()

    def check(self) -> None:
        if self.broken:
            raise StorageError("the fake storage is broken")

    def put(self, key: str, data: bytes, content_type: str) -> None:
        self.check()
        self.objects[key] = data
        self.content_types[key] = content_type

    def put_file(self, key: str, path: Path, content_type: str) -> None:
        self.put(key, path.read_bytes(), content_type)

    def get(self, key: str) -> bytes:
        self.check()
        if key not in self.objects:
            raise ObjectNotFound(f"there is no object {key}")
        return self.objects[key]

    def copy(self, source: str, target: str) -> None:
        self.put(target, self.get(source), self.content_types[source])

    def pieces(self, key: str) -> Iterator[bytes]:
        data = self.get(key)
        return (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))

    def look_up(self, key: str) -> StoredObject:
        return StoredObject(size_bytes=len(self.get(key)), content_type=self.content_types[key])

    def exists(self, key: str) -> bool:
        self.check()
        return key in self.objects

    def list(self, prefix: str) -> Iterator[str]:
        self.check()
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def delete(self, keys: Sequence[str]) -> None:
        self.check()
        for key in keys:
            self.objects.pop(key, None)

    def delete_prefix(self, prefix: str) -> int:
        doomed = [*self.list(prefix)]
        for key in doomed:
            del self.objects[key]
        return len(doomed)

    def url(self, key: str, *, download_name: str | None = None) -> str:
        suffix = "" if download_name is None else f"?download={download_name}"
        return f"https://storage.invalid/{key}{suffix}"

    def upload_url(self, key: str, headers: Mapping[str, str], ttl_seconds: int) -> str:
        signed = urlencode({**headers, "expires": ttl_seconds})
        return f"https://storage.invalid/{key}?{signed}"


class FakeObjectReader:
    """ports.ObjectReader over a FakeStorage. `open_now`: number of open objects."""

    def __init__(self, storage: FakeStorage, piece_bytes: int = PIECE_BYTES) -> None:
        self._storage = storage
        self._piece_bytes = piece_bytes
        self.open_now = 0

    @asynccontextmanager
    async def open(self, key: str, byte_range: str | None) -> AsyncGenerator[ObjectPart]:
        data = self._storage.get(key)
        first, last = _span_of(byte_range, len(data))
        self.open_now += 1
        try:
            yield ObjectPart(first, last, len(data), byte_range is not None, self._pieces(data[first : last + 1]))
        finally:
            self.open_now -= 1

    async def _pieces(self, data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), self._piece_bytes):
            yield data[start : start + self._piece_bytes]

    async def close(self) -> None:
        """There is nothing to close."""


def _span_of(byte_range: str | None, total_bytes: int) -> tuple[int, int]:
    """First and last byte of a range such as 0-99, 100- or -5. Raises RangeNotSatisfiable."""
    first, _, last = (byte_range or "0-").partition("-")
    if not first:
        return max(0, total_bytes - int(last)), total_bytes - 1
    if int(first) >= total_bytes:
        raise RangeNotSatisfiable(total_bytes)
    return int(first), min(int(last or total_bytes - 1), total_bytes - 1)
