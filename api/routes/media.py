"""Endpoints for players: live playlist, chunks and final video, at URLs that never change.

By the setting `media` the API sends the object itself or redirects to the object storage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.access.caller import CallerDep
from api.access.links import BY_LINK, BaseUrl
from api.access.own_jobs import OwnLook
from api.backends.ports import PortsDep, SettingsDep
from api.events.sse import StreamsDep
from api.http.client_limits import client_of
from api.http.openapi import may_fail
from api.http.responses import conditional
from api.media.delivery import MediaStreamsDep
from api.media.job_media import PICTURE_TYPE, JobMedia, PictureResponse, with_variant
from api.media.missing import no_chunk_error
from api.media.playlist_waits import PlaylistWaitsDep
from api.media.playlists import playlist_text
from api.media.thumbnails import ThumbnailsDep
from api.routes.jobs import JobId
from core.service.domain.errors import PlaylistNotReady
from core.service.domain.schema import JobRecord, Variant
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
NATIVE_START_CHUNKS = 3
"""Chromium (156) fails on a live playlist with one or two segments; with three it plays, even if it stalls later."""


class PlaylistResponse(Response):
    media_type = CONTENT_TYPE


class VideoResponse(Response):
    media_type = "video/mp4"


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
        return with_variant(await to_thread.run_sync(ports.store.get, job_id), variant)

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


async def _job_pictures(
    job_id: JobId,
    request: Request,
    ports: PortsDep,
    settings: SettingsDep,
    streams: MediaStreamsDep,
    caller: CallerDep,
    own: OwnLook,
    redirect: RedirectQuery = False,
) -> JobMedia:
    return JobMedia(job_id, request, ports, settings, streams, caller, own, "preview", redirect)


JobPicturesDep = Annotated[JobMedia, Depends(_job_pictures)]
"""Without `variant`: a job has one picture."""


async def _job_media(pictures: JobPicturesDep, variant: VariantQuery = "preview") -> JobMedia:
    return replace(pictures, variant=variant)


JobMediaDep = Annotated[JobMedia, Depends(_job_media)]


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
    found: JobMediaDep,
) -> Response:
    """Its bytes never change, so it may be cached, except a last chunk with fewer than 16 frames."""
    return await found.chunk(index)


@router.head("/jobs/{job_id}/video.mp4", dependencies=BY_LINK, include_in_schema=False)
@router.get(
    "/jobs/{job_id}/video.mp4",
    dependencies=BY_LINK,
    summary="The final MP4",
    response_class=VideoResponse,
    responses=MEDIA_RESPONSES,
)
async def video_file(found: JobMediaDep) -> Response:
    """The whole video as one file after the job's end. Before that 404 `video_not_ready`."""
    return await found.video("inline")


@router.head("/jobs/{job_id}/video", dependencies=BY_LINK, include_in_schema=False)
@router.get(
    "/jobs/{job_id}/video",
    dependencies=BY_LINK,
    summary="The final MP4 as a download",
    response_class=VideoResponse,
    responses=MEDIA_RESPONSES,
)
async def video(found: JobMediaDep) -> Response:
    """The same as video.mp4, but browsers save it under the job's id."""
    return await found.video("attachment")


@router.head("/jobs/{job_id}/thumbnail.jpg", dependencies=BY_LINK, include_in_schema=False)
@router.get(
    "/jobs/{job_id}/thumbnail.jpg",
    dependencies=BY_LINK,
    summary="A picture of the video",
    response_class=PictureResponse,
    responses=media_responses(PICTURE_TYPE),
)
async def thumbnail(found: JobPicturesDep, thumbnails: ThumbnailsDep) -> Response:
    """The middle frame of the first chunk as a JPEG, its longer side at most 512 pixels; of the refined video once it
    is complete. Before the first chunk 404 `thumbnail_not_ready`."""
    return await found.thumbnail(thumbnails)


def _is_final(record: JobRecord, variant: Variant) -> bool:
    """Whether no more chunks of the variant will come."""
    return record.status.is_terminal or (record.is_complete if variant == "preview" else record.is_refined)
