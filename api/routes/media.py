"""Endpoints for players: live playlist, chunks and final video, at URLs that never change.

By the setting `media` the API sends the object itself or redirects to the object storage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from api.access.caller import Caller, CallerDep
from api.access.links import BY_LINK, BaseUrl
from api.access.own_jobs import OwnLook
from api.backends.ports import Ports, PortsDep, SettingsDep
from api.events.sse import StreamsDep
from api.http.client_limits import client_of
from api.http.openapi import may_fail
from api.http.responses import conditional, etag_of, matches
from api.media.delivery import MediaObject, MediaStreams, MediaStreamsDep, deliver, immutable
from api.media.missing import chunk_error, no_chunk_error, video_error
from api.media.playlist_waits import PlaylistWaitsDep
from api.media.playlists import playlist_text
from api.media.thumbnails import ThumbnailsDep
from api.routes.jobs import JobId
from core.service.domain.errors import JobNotFound, JobStateConflict, PlaylistNotReady, ThumbnailNotReady
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.link_tokens import stated_expiry
from core.service.domain.ports import Look
from core.service.domain.schema import ChunkRecord, JobRecord, Variant
from core.service.settings import Settings
from core.service.video.playlist import CONTENT_TYPE

router = APIRouter(tags=["media"])
VariantQuery = Annotated[
    Variant, Query(description="preview: as generated; refined: in the higher resolution of `refine`.")
]
RedirectQuery = Annotated[
    bool, Query(description="true: 307 to a new presigned URL of the object storage, whatever LONGTAKE_MEDIA is.")
]
MEDIA_ELEMENTS = frozenset({"video", "audio"})
"""Sec-Fetch-Dest (W3C Fetch Metadata) of a browser's native player; scripts such as hls.js send `empty`."""
PICTURE_TYPE = "image/jpeg"
NATIVE_START_CHUNKS = 3
"""Chromium (156) fails on a live playlist with one or two segments; with three it plays, even if it stalls later."""


class PlaylistResponse(Response):
    media_type = CONTENT_TYPE


class VideoResponse(Response):
    media_type = "video/mp4"


class PictureResponse(Response):
    media_type = PICTURE_TYPE


def media_responses(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that sends a stored object of one of these types."""
    content = {each: {"schema": {"type": "string", "format": "binary"}} for each in media_types}
    part = "The bytes of the requested Range. Of several ranges the whole object is sent."
    return {
        200: {"description": "The whole object.", "content": content},
        206: {"description": part, "content": content},
        304: {"description": "Unchanged since If-None-Match."},
        307: {"description": "Redirect to the object storage."},
        **may_fail(404, 409, 416, 422, 429, 503),
    }


MEDIA_RESPONSES = media_responses("video/mp4")


@router.get(
    "/jobs/{job_id}/playlist.m3u8",
    dependencies=BY_LINK,
    summary="HLS playlist, live while the video is generated",
    response_class=PlaylistResponse,
    responses={304: {"description": "Unchanged since If-None-Match."}, **may_fail(404, 409, 422, 503)},
)
async def playlist(
    job_id: JobId,
    request: Request,
    ports: PortsDep,
    waits: PlaylistWaitsDep,
    streams: StreamsDep,
    settings: SettingsDep,
    base_url: BaseUrl,
    variant: VariantQuery = "preview",
) -> Response:
    """Grows while the job runs and ends with the job; of a job without an end it has the newest 16 chunks until then.
    Its links never change; they are relative, or lead to the CDN of LONGTAKE_MEDIA.

    The response waits for the first chunk (for a browser's native player, the third), at most
    LONGTAKE_PLAYLIST_WAIT_SECONDS; without a chunk it is 404 `playlist_not_ready` with Retry-After.
    """
    needed = NATIVE_START_CHUNKS if request.headers.get("sec-fetch-dest") in MEDIA_ELEMENTS else 1

    async def look() -> JobRecord:
        return _with_variant(await to_thread.run_sync(ports.store.get, job_id), variant)

    async def give_up() -> bool:
        return streams.stopping or await request.is_disconnected()

    def enough(record: JobRecord) -> bool:
        return record.totals(variant).count >= needed or _is_final(record, variant)

    record = await waits.until(client_of(request.scope), look, enough, give_up)
    if not record.totals(variant).count:
        raise no_chunk_error(record, PlaylistNotReady)
    ended, token = _is_final(record, variant), base_url.token_of(record)
    text = await to_thread.run_sync(lambda: playlist_text(ports, settings, record, variant, token, ended=ended))
    return conditional(request, text, CONTENT_TYPE)


@dataclass(frozen=True)
class Delivery:
    """One request for a stored video."""

    job_id: str
    request: Request
    ports: Ports
    settings: Settings
    streams: MediaStreams
    caller: Caller
    own: Look | None
    variant: Variant
    by_redirect: bool

    @property
    def immutable(self) -> str:
        """Cache-Control of an object that never changes. Only a link may be cached for others, while it is valid: a
        cache does not ask who sends a key."""
        if self.caller.is_everybody:
            return immutable("public")
        if self.caller.token is None:
            return immutable("private")
        left = stated_expiry(self.caller.token) - self.ports.clock.now()
        return immutable("public", left.total_seconds())

    async def record(self) -> JobRecord:
        """The job's record. Raises JobNotFound, and JobStateConflict if the job has no such variant."""
        seen = self.own and self.own.record
        return _with_variant(seen or await to_thread.run_sync(self.ports.store.get, self.job_id), self.variant)

    async def chunk(self, index: int, variant: Variant) -> ChunkRecord:
        """A chunk that the record counts."""
        found = await to_thread.run_sync(self.ports.store.chunks, self.job_id, variant, index, index + 1)
        if not found:
            raise JobNotFound(f"there is no job {self.job_id}")  # it was deleted since
        return found[0]

    async def respond(self, media: MediaObject) -> Response:
        """The object itself or a redirect to it. HEAD is always answered here: a presigned URL is for GET only. A CDN
        is sent the object, since a redirect would lead its viewers past it."""
        redirects = self.by_redirect or self.settings.media == "redirect"
        if self.request.method == "HEAD" or not redirects:
            return await deliver(self.request, self.ports.objects, self.streams, media)
        url = await to_thread.run_sync(lambda: self.ports.storage.url(media.key, download_name=media.download_name))
        return RedirectResponse(url, status_code=307, headers={"Cache-Control": "no-cache"})


async def _delivery(
    job_id: JobId,
    request: Request,
    ports: PortsDep,
    settings: SettingsDep,
    streams: MediaStreamsDep,
    caller: CallerDep,
    own: OwnLook,
    variant: VariantQuery = "preview",
    redirect: RedirectQuery = False,
) -> Delivery:
    return Delivery(job_id, request, ports, settings, streams, caller, own, variant, redirect)


async def _picture_delivery(
    job_id: JobId,
    request: Request,
    ports: PortsDep,
    settings: SettingsDep,
    streams: MediaStreamsDep,
    caller: CallerDep,
    own: OwnLook,
    redirect: RedirectQuery = False,
) -> Delivery:
    return Delivery(job_id, request, ports, settings, streams, caller, own, "preview", redirect)


DeliveryOfRequest = Annotated[Delivery, Depends(_delivery)]
DeliveryOfPicture = Annotated[Delivery, Depends(_picture_delivery)]
"""Without `variant`: a job has one picture."""


@router.head("/jobs/{job_id}/chunks/{index}.mp4", dependencies=BY_LINK, include_in_schema=False)
@router.get(
    "/jobs/{job_id}/chunks/{index}.mp4",
    dependencies=BY_LINK,
    summary="A finished chunk as a playable MP4",
    response_class=VideoResponse,
    responses=MEDIA_RESPONSES,
)
async def chunk(
    index: Annotated[int, Path(ge=0, le=999_999, description="Index of the chunk, from 0.")],
    delivery: DeliveryOfRequest,
) -> Response:
    """Its bytes never change, so it may be cached, except a last chunk with fewer than 16 frames."""
    record = await delivery.record()
    if index >= record.totals(delivery.variant).count:
        raise chunk_error(record, index)
    return await delivery.respond(_chunk_object(await delivery.chunk(index, delivery.variant), delivery.immutable))


@router.head("/jobs/{job_id}/video.mp4", dependencies=BY_LINK, include_in_schema=False)
@router.get(
    "/jobs/{job_id}/video.mp4",
    dependencies=BY_LINK,
    summary="The final MP4",
    response_class=VideoResponse,
    responses=MEDIA_RESPONSES,
)
async def video_file(delivery: DeliveryOfRequest) -> Response:
    """The whole video as one file after the job's end. Before that 404 `video_not_ready`."""
    return await delivery.respond(_video_object(await delivery.record(), delivery.variant, "inline"))


@router.head("/jobs/{job_id}/video", dependencies=BY_LINK, include_in_schema=False)
@router.get(
    "/jobs/{job_id}/video",
    dependencies=BY_LINK,
    summary="The final MP4 as a download",
    response_class=VideoResponse,
    responses=MEDIA_RESPONSES,
)
async def video(delivery: DeliveryOfRequest) -> Response:
    """The same as video.mp4, but browsers save it under the job's id."""
    return await delivery.respond(_video_object(await delivery.record(), delivery.variant, "attachment"))


@router.head("/jobs/{job_id}/thumbnail.jpg", dependencies=BY_LINK, include_in_schema=False)
@router.get(
    "/jobs/{job_id}/thumbnail.jpg",
    dependencies=BY_LINK,
    summary="A picture of the video",
    response_class=PictureResponse,
    responses=media_responses(PICTURE_TYPE),
)
async def thumbnail(delivery: DeliveryOfPicture, thumbnails: ThumbnailsDep) -> Response:
    """The middle frame of the first chunk as a JPEG, its longer side at most 512 pixels; of the refined video once it
    is complete. Before the first chunk 404 `thumbnail_not_ready`."""
    record = await delivery.record()
    variant: Variant = "refined" if record.refined_video_key else "preview"
    if not record.totals(variant).count:
        raise no_chunk_error(record, ThumbnailNotReady)
    first = await delivery.chunk(0, variant)
    etag = etag_of(f"thumbnail of {first.sha256}")
    if record.thumbnail_key is not None:
        return await delivery.respond(MediaObject(record.thumbnail_key, etag, content_type=PICTURE_TYPE))
    headers = {"Cache-Control": "no-cache", "ETag": etag}
    if matches(delivery.request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return PictureResponse(await thumbnails.of(first), headers=headers)


def _with_variant(record: JobRecord, variant: Variant) -> JobRecord:
    """`record` itself. Raises JobStateConflict if the job has no such variant."""
    if variant == "refined" and record.spec.refine is None:
        raise JobStateConflict("this job is not refined", fix="submit it with refine")
    return record


def _is_final(record: JobRecord, variant: Variant) -> bool:
    """Whether no more chunks of the variant will come."""
    return record.status.is_terminal or (record.is_complete if variant == "preview" else record.is_refined)


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
