"""What players fetch of a job: live playlist, chunks and final video, at links that never change.

What is behind a link is the setting `media`: the API sends the object itself, or answers with a redirect to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from api.backends.ports import Ports, PortsOfApp, SettingsOfApp
from api.events.sse import StreamsOfApp
from api.http.client_limits import client_of
from api.http.openapi import may_fail
from api.http.responses import conditional
from api.media.delivery import FOR_GOOD, MediaObject, MediaStreams, MediaStreamsOfApp, deliver
from api.media.playlist_waits import PlaylistWaitsOfApp
from api.routes.jobs import JobId
from core.service.domain.errors import ChunkNotFound, ChunkNotReady, JobStateConflict, PlaylistNotReady, VideoNotReady
from core.service.domain.frame_plan import CHUNK_FRAMES, num_chunks
from core.service.domain.schema import ChunkRecord, JobRecord, Variant
from core.service.domain.views import chunk_path
from core.service.settings import Settings
from core.service.video.playlist import CONTENT_TYPE, PlaylistEntry, render_playlist

router = APIRouter(tags=["media"])
WhichVariant = Annotated[
    Variant, Query(description="preview: as generated; refined: in the higher resolution that `refine` asked for.")
]
ByRedirect = Annotated[
    bool, Query(description="true: 307 to a fresh presigned URL of the object storage, whatever LONGTAKE_MEDIA says.")
]
MEDIA_ELEMENTS = frozenset({"video", "audio"})
"""Sec-Fetch-Dest (W3C Fetch Metadata) of a browser's own player; scripts in pages, hls.js among them, say `empty`."""
NATIVE_START_CHUNKS = 3
"""Chromium (156) takes a live playlist of one or two segments for broken; three it plays, also if it runs dry later."""


class PlaylistResponse(Response):
    media_type = CONTENT_TYPE


class VideoResponse(Response):
    media_type = "video/mp4"


MEDIA_ANSWERS = {
    206: {"description": "The bytes that Range asks for; one range is served, of several the whole."},
    304: {"description": "Unchanged since If-None-Match."},
    307: {"description": "Redirect to the object storage."},
    **may_fail(404, 409, 416, 422, 429, 503),
}


@router.get(
    "/jobs/{job_id}/playlist.m3u8",
    summary="HLS playlist: watch the video while it is made",
    response_class=PlaylistResponse,
    responses={304: {"description": "Unchanged since If-None-Match."}, **may_fail(404, 409, 422, 503)},
)
async def playlist(
    job_id: JobId,
    request: Request,
    ports: PortsOfApp,
    waits: PlaylistWaitsOfApp,
    streams: StreamsOfApp,
    variant: WhichVariant = "preview",
) -> Response:
    """Grows while the job runs and ends with the job. Its links are relative and never change.

    Before the first chunk (for a browser's own player: the third) the answer is held back until there is one, for
    LONGTAKE_PLAYLIST_WAIT_SECONDS at most; then, without any, it is 404 `playlist_not_ready` with Retry-After.
    """
    needed = NATIVE_START_CHUNKS if request.headers.get("sec-fetch-dest") in MEDIA_ELEMENTS else 1

    async def look() -> JobRecord:
        return _with_variant(await to_thread.run_sync(ports.store.get, job_id), variant)

    async def give_up() -> bool:
        return streams.stopping or await request.is_disconnected()

    def enough(record: JobRecord) -> bool:
        return len(_made(record, variant)) >= needed or _has_all(record, variant)

    record = await waits.until(client_of(request.scope), look, enough, give_up)
    chunks = _made(record, variant)
    if not chunks:
        raise _nothing_to_play(record)
    entries = [_entry(chunk, variant) for chunk in chunks]
    text = render_playlist(entries, record.spec.fps, ended=_has_all(record, variant))
    return conditional(request, text, CONTENT_TYPE)


@dataclass(frozen=True)
class Delivery:
    """One request for a stored video: which variant of which job, and how it is sent."""

    job_id: str
    request: Request
    ports: Ports
    settings: Settings
    streams: MediaStreams
    variant: Variant
    by_redirect: bool

    async def record(self) -> JobRecord:
        """The job, where such a variant of its video was asked for."""
        return _with_variant(await to_thread.run_sync(self.ports.store.get, self.job_id), self.variant)

    async def answer(self, media: MediaObject) -> Response:
        """The object itself, or the way to it. HEAD is answered here in any case: a presigned URL is for GET only."""
        if self.request.method == "HEAD" or (self.settings.media == "proxy" and not self.by_redirect):
            return await deliver(self.request, self.ports.objects, self.streams, media)
        url = await to_thread.run_sync(lambda: self.ports.storage.url(media.key, download_name=media.download_name))
        return RedirectResponse(url, status_code=307, headers={"Cache-Control": "no-cache"})


async def _delivery(
    job_id: JobId,
    request: Request,
    ports: PortsOfApp,
    settings: SettingsOfApp,
    streams: MediaStreamsOfApp,
    variant: WhichVariant = "preview",
    redirect: ByRedirect = False,
) -> Delivery:
    return Delivery(job_id, request, ports, settings, streams, variant, redirect)


DeliveryOfRequest = Annotated[Delivery, Depends(_delivery)]


@router.head("/jobs/{job_id}/chunks/{index}.mp4", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/chunks/{index}.mp4",
    summary="A finished chunk: a small MP4 that plays by itself",
    response_class=VideoResponse,
    responses=MEDIA_ANSWERS,
)
async def chunk(
    index: Annotated[int, Path(ge=0, le=999_999, description="Index of the chunk, from 0.")],
    delivery: DeliveryOfRequest,
) -> Response:
    """Its bytes never change, so it may be cached; only a last chunk shorter than 16 frames is asked for anew."""
    record = await delivery.record()
    made = _made(record, delivery.variant)
    if index >= len(made):
        raise _no_chunk(record, index)
    return await delivery.answer(_chunk_object(made[index]))


@router.head("/jobs/{job_id}/video.mp4", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/video.mp4",
    summary="The final MP4",
    response_class=VideoResponse,
    responses=MEDIA_ANSWERS,
)
async def video_file(delivery: DeliveryOfRequest) -> Response:
    """The whole video as one file, once the job has ended. Before that 404 `video_not_ready`."""
    return await delivery.answer(_video_object(await delivery.record(), delivery.variant, "inline"))


@router.head("/jobs/{job_id}/video", include_in_schema=False)
@router.get(
    "/jobs/{job_id}/video",
    summary="The final MP4, to be saved as a file",
    response_class=VideoResponse,
    responses=MEDIA_ANSWERS,
)
async def video(delivery: DeliveryOfRequest) -> Response:
    """The same as video.mp4, but browsers save it under the job's id instead of showing it."""
    return await delivery.answer(_video_object(await delivery.record(), delivery.variant, "attachment"))


def _with_variant(record: JobRecord, variant: Variant) -> JobRecord:
    """The record, where such a variant of its video was asked for."""
    if variant == "refined" and record.spec.refine is None:
        raise JobStateConflict("this job is not refined", fix="submit it with refine")
    return record


def _made(record: JobRecord, variant: Variant) -> tuple[ChunkRecord, ...]:
    return record.chunks if variant == "preview" else record.refined


def _has_all(record: JobRecord, variant: Variant) -> bool:
    """No more chunks of it will come."""
    return record.status.is_terminal or (record.is_complete if variant == "preview" else record.is_refined)


def _entry(chunk: ChunkRecord, variant: Variant) -> PlaylistEntry:
    return PlaylistEntry(
        url=chunk_path(chunk.index, variant),
        num_frames=chunk.num_frames,
        head_bytes=chunk.head_bytes,
        size_bytes=chunk.size_bytes,
    )


def _chunk_object(chunk: ChunkRecord) -> MediaObject:
    """A chunk of full length is never another one: a shorter one is the last and may be completed some day."""
    lasting = {"cache_control": FOR_GOOD} if chunk.num_frames == CHUNK_FRAMES else {}
    return MediaObject(chunk.key, f'"{chunk.sha256}"', chunk.size_bytes, **lasting)


def _video_object(record: JobRecord, variant: Variant, shown_as: str) -> MediaObject:
    """The final video. It follows from its chunks and from when they were joined, and so does its ETag."""
    key = record.video_key if variant == "preview" else record.refined_video_key
    if key is None:
        raise _no_video(record)
    made_of = [str(record.finished_at), key, *(chunk.sha256 for chunk in _made(record, variant))]
    etag = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:32]
    name = record.id if variant == "preview" else f"{record.id}_refined"
    return MediaObject(key, f'"{etag}"', disposition=f'{shown_as}; filename="{name}.mp4"', download_name=f"{name}.mp4")


def _nothing_to_play(record: JobRecord) -> PlaylistNotReady | JobStateConflict:
    if record.status.is_terminal:
        return JobStateConflict(f"the job is {record.status} and has no chunk", fix="submit it again")
    return PlaylistNotReady("the first chunk is not ready yet", fix="ask again after Retry-After seconds")


def _no_chunk(record: JobRecord, index: int) -> ChunkNotReady | ChunkNotFound:
    planned = num_chunks(record.spec.num_frames)
    if record.status.is_terminal or index >= planned:
        return ChunkNotFound(f"the job has no chunk {index}", fix="`chunks` of the job lists all there are")
    return ChunkNotReady(f"chunk {index} of {planned} is not made yet", fix="ask again after Retry-After seconds")


def _no_video(record: JobRecord) -> VideoNotReady | JobStateConflict:
    if record.status.is_terminal:
        return JobStateConflict(f"the job is {record.status} and has no video", fix="submit it again")
    done, total = record.frames_done, record.spec.num_frames
    return VideoNotReady(f"{done} of {total} frames are made", fix="play the playlist meanwhile, or ask again later")
