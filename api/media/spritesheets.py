"""Spritesheets of finished videos: frames of the whole video in one picture, made when one is asked for, and kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from api.http.responses import etag_of
from core.service.domain.engine import FrameHWC
from core.service.domain.errors import JobNotFound, ObjectDamaged
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.ports import JobStore, Storage
from core.service.domain.schema import JobRecord, Variant

KEPT = 32
"""Pictures in memory, of about 200 KB each."""
SHEET_FRAMES = 16


@dataclass(frozen=True)
class Sheet:
    """The spritesheet of the chunks that a job has now."""

    record: JobRecord
    variant: Variant

    @property
    def etag(self) -> str:
        """Changes with the job, the variant and the chunks that it has."""
        return etag_of(f"spritesheet of {self.record.id} {self.record.totals(self.variant).model_dump_json()}")

    @property
    def frames(self) -> list[int]:
        """Numbers of its frames: evenly spaced, the first one included."""
        total = self.record.totals(self.variant).num_frames
        count = min(SHEET_FRAMES, total)
        return [number * total // count for number in range(count)]


class Spritesheets:
    """The pictures of a process. For one event loop."""

    def __init__(self, store: JobStore, storage: Storage) -> None:
        self._store = store
        self._storage = storage
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._made_limiter: CapacityLimiter | None = None

    async def of(self, sheet: Sheet) -> bytes:
        """The JPEG. Raises StorageError, StoreError, JobNotFound."""
        if sheet.etag not in self._kept:
            async with self._limiter:  # one at a time: each decodes up to SHEET_FRAMES chunks
                picture = self._kept.get(sheet.etag) or await to_thread.run_sync(self._picture, sheet)
                self._keep(sheet.etag, picture)
        self._kept.move_to_end(sheet.etag)
        return self._kept[sheet.etag]

    @property
    def _limiter(self) -> CapacityLimiter:
        """Created on the event loop that uses it."""
        if self._made_limiter is None:
            self._made_limiter = CapacityLimiter(1)
        return self._made_limiter

    def _keep(self, etag: str, picture: bytes) -> None:
        self._kept[etag] = picture
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _picture(self, sheet: Sheet) -> bytes:
        """Imports FFmpeg and numpy on first use, so that an API that is not asked needs no memory for them."""
        from core.service.video.contact_sheet import spritesheet

        return spritesheet([self._frame(sheet, number) for number in sheet.frames])

    def _frame(self, sheet: Sheet, number: int) -> FrameHWC:
        from core.service.video.decode import VideoUnreadable, decode_frames

        index, place = divmod(number, CHUNK_FRAMES)
        found = self._store.chunks(sheet.record.id, sheet.variant, index, index + 1)
        if not found:
            raise JobNotFound(f"there is no job {sheet.record.id}")  # it was deleted since
        try:
            return decode_frames(self._storage.get(found[0].key))[place]
        except VideoUnreadable as error:
            raise ObjectDamaged(f"{found[0].key}: {error.message}") from error


async def _spritesheets(request: Request) -> Spritesheets:
    return cast(Spritesheets, request.app.state.spritesheets)


SpritesheetsDep = Annotated[Spritesheets, Depends(_spritesheets)]
