"""Thumbnails of jobs that have none stored: made from their first chunk when one is asked for, and kept.

An ended job has a stored one; a failed job never gets it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from core.service.domain.errors import ObjectDamaged
from core.service.domain.ports import Storage
from core.service.domain.schema import ChunkRecord

KEPT = 256
"""Pictures in memory, of about 30 KB each."""


class Thumbnails:
    """The pictures of a process. For one event loop."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._made_limiter: CapacityLimiter | None = None

    async def of(self, chunk: ChunkRecord) -> bytes:
        """The JPEG that finalizing makes of this chunk. Raises StorageError."""
        name = chunk.sha256
        if name not in self._kept:
            async with self._limiter:  # one at a time, so that the second request for a picture finds it made
                picture = self._kept.get(name) or await to_thread.run_sync(_picture_of, self._storage, chunk.key)
                self._keep(name, picture)
        self._kept.move_to_end(name)
        return self._kept[name]

    @property
    def _limiter(self) -> CapacityLimiter:
        """Created on the event loop that uses it."""
        if self._made_limiter is None:
            self._made_limiter = CapacityLimiter(1)
        return self._made_limiter

    def _keep(self, name: str, picture: bytes) -> None:
        self._kept[name] = picture
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)


def _picture_of(storage: Storage, key: str) -> bytes:
    """Imports FFmpeg and numpy on first use, so that an API that is not asked needs no memory for them."""
    from core.service.video.contact_sheet import thumbnail
    from core.service.video.decode import VideoUnreadable, decode_frames

    try:
        return thumbnail(decode_frames(storage.get(key)))
    except VideoUnreadable as error:
        raise ObjectDamaged(f"{key}: {error.message}") from error


async def _thumbnails(request: Request) -> Thumbnails:
    return cast(Thumbnails, request.app.state.thumbnails)


ThumbnailsDep = Annotated[Thumbnails, Depends(_thumbnails)]
