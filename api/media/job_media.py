"""What a request for a job's stored video, chunk or picture is answered: the object itself, or a redirect to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from api.access.caller import Caller
from api.backends.ports import Ports
from api.http.responses import etag_of, has_etag, not_modified
from api.media.delivery import MediaObject, MediaStreams, deliver, immutable
from api.media.missing import chunk_error, no_chunk_error, video_error
from api.media.thumbnails import Thumbnails
from core.service.domain.errors import JobNotFound, JobStateConflict, ThumbnailNotReady
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.link_tokens import stated_expiry
from core.service.domain.ports import Look
from core.service.domain.schema import ChunkRecord, JobRecord, Variant
from core.service.settings import Settings

PICTURE_TYPE = "image/jpeg"


class PictureResponse(Response):
    media_type = PICTURE_TYPE


@dataclass(frozen=True)
class JobMedia:
    """One request for the stored videos and pictures of a job."""

    job_id: str
    request: Request
    ports: Ports
    settings: Settings
    streams: MediaStreams
    caller: Caller
    own: Look | None
    variant: Variant
    by_redirect: bool

    async def record(self) -> JobRecord:
        """The job's record. Raises JobNotFound, and JobStateConflict if the job has no such variant."""
        seen = self.own and self.own.record
        return with_variant(seen or await to_thread.run_sync(self.ports.store.get, self.job_id), self.variant)

    async def chunk(self, index: int) -> Response:
        """A finished chunk. Raises ChunkNotReady, ChunkNotFound."""
        record = await self.record()
        if index >= record.totals(self.variant).count:
            raise chunk_error(record, index)
        return await self._sent(_chunk_object(await self._chunk(index, self.variant), self._immutable))

    async def video(self, disposition: Literal["inline", "attachment"]) -> Response:
        """The final video. Raises VideoNotReady."""
        return await self._sent(_video_object(await self.record(), self.variant, disposition))

    async def thumbnail(self, thumbnails: Thumbnails) -> Response:
        """The stored picture of the job, or one that is made now. Raises ThumbnailNotReady."""
        record = await self.record()
        variant: Variant = "refined" if record.refined_video_key else "preview"
        if not record.totals(variant).count:
            raise no_chunk_error(record, ThumbnailNotReady)
        first = await self._chunk(0, variant)
        etag = etag_of(f"thumbnail of {first.sha256}")
        if record.thumbnail_key is not None:
            return await self._sent(MediaObject(record.thumbnail_key, etag, content_type=PICTURE_TYPE))
        if has_etag(self.request, etag):
            return not_modified(etag)
        return PictureResponse(await thumbnails.of(first), headers={"Cache-Control": "no-cache", "ETag": etag})

    async def _chunk(self, index: int, variant: Variant) -> ChunkRecord:
        """A chunk that the record counts."""
        found = await to_thread.run_sync(self.ports.store.chunks, self.job_id, variant, index, index + 1)
        if not found:
            raise JobNotFound(f"there is no job {self.job_id}")  # it was deleted since
        return found[0]

    async def _sent(self, media: MediaObject) -> Response:
        """The object itself or a redirect to it. HEAD is always answered here: a presigned URL is for GET only. A CDN
        is sent the object, since a redirect would lead its viewers past it."""
        redirects = self.by_redirect or self.settings.media == "redirect"
        if self.request.method == "HEAD" or not redirects:
            return await deliver(self.request, self.ports.objects, self.streams, media)
        url = await to_thread.run_sync(lambda: self.ports.storage.url(media.key, download_name=media.download_name))
        return RedirectResponse(url, status_code=307, headers={"Cache-Control": "no-cache"})

    @property
    def _immutable(self) -> str:
        """Cache-Control of an object that never changes. Only a link may be cached for others, while it is valid: a
        cache does not ask who sends a key."""
        if self.caller.is_everybody:
            return immutable("public")
        if self.caller.token is None:
            return immutable("private")
        left = stated_expiry(self.caller.token) - self.ports.clock.now()
        return immutable("public", left.total_seconds())


def with_variant(record: JobRecord, variant: Variant) -> JobRecord:
    """`record` itself. Raises JobStateConflict if the job has no such variant."""
    if variant == "refined" and record.spec.refine is None:
        raise JobStateConflict("this job is not refined", fix="submit it with refine")
    return record


def _chunk_object(chunk: ChunkRecord, immutable: str) -> MediaObject:
    """A chunk of full length never changes. A shorter one is the last and may be completed by an extension."""
    caching = {"cache_control": immutable} if chunk.num_frames == CHUNK_FRAMES else {}
    return MediaObject(chunk.key, f'"{chunk.sha256}"', chunk.size_bytes, **caching)


def _video_object(record: JobRecord, variant: Variant, disposition: str) -> MediaObject:
    """The final video; of a job that has gone on, the one that it had before. Its ETag follows from the time when its
    chunks were joined."""
    key = record.video_key if variant == "preview" else record.refined_video_key
    if key is None:
        raise video_error(record)
    joined_at = record.finished_at or record.earlier[-1].ended_at
    etag = etag_of(f"{key} {joined_at}")
    name = record.id if variant == "preview" else f"{record.id}_refined"
    return MediaObject(key, etag, disposition=f'{disposition}; filename="{name}.mp4"', download_name=f"{name}.mp4")
