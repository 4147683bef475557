"""What players fetch of a job: live playlist and final video. Bytes come from the object storage, never from here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from api.answers import conditional
from api.openapi import may_fail
from api.ports import PortsOfApp
from api.routes.jobs import JobId
from core.service.errors import JobStateConflict, PlaylistNotReady, VideoNotReady
from core.service.schema import ChunkRecord, JobRecord, Variant
from core.service.video.playlist import CONTENT_TYPE, PlaylistEntry, render_playlist

router = APIRouter(tags=["media"])
WhichVariant = Annotated[
    Variant, Query(description="preview: as generated; refined: in the higher resolution that `refine` asked for.")
]


class PlaylistResponse(Response):
    media_type = CONTENT_TYPE


@router.get(
    "/jobs/{job_id}/playlist.m3u8",
    summary="HLS playlist: watch the video while it is made",
    response_class=PlaylistResponse,
    responses={304: {"description": "Unchanged since If-None-Match."}, **may_fail(404, 409, 503)},
)
def playlist(job_id: JobId, request: Request, ports: PortsOfApp, variant: WhichVariant = "preview") -> Response:
    """Grows while the job runs and ends with the job. Its URLs are absolute and presigned.

    Before the first chunk it is 404 `playlist_not_ready` with Retry-After: HLS players take a playlist without
    segments for a broken one and never ask again.
    """
    record = _with_variant(ports.store.get(job_id), variant)
    chunks, complete = (
        (record.chunks, record.is_complete) if variant == "preview" else (record.refined, record.is_refined)
    )
    if not chunks:
        raise _nothing_to_play(record)
    entries = [_entry(chunk, ports.storage.url(chunk.key)) for chunk in chunks]
    text = render_playlist(entries, record.spec.fps, ended=record.status.is_terminal or complete)
    return conditional(request, text, CONTENT_TYPE)


@router.get(
    "/jobs/{job_id}/video",
    status_code=307,
    summary="The final MP4",
    response_class=RedirectResponse,
    responses={307: {"description": "Redirect to the MP4 in the object storage."}, **may_fail(404, 409, 503)},
)
def video(job_id: JobId, ports: PortsOfApp, variant: WhichVariant = "preview") -> Response:
    """Redirects to the whole video as one file, once the job has ended. Before that 404 `video_not_ready`."""
    record = _with_variant(ports.store.get(job_id), variant)
    key = record.video_key if variant == "preview" else record.refined_video_key
    if key is None:
        raise _no_video(record)
    name = record.id if variant == "preview" else f"{record.id}_refined"
    url = ports.storage.url(key, download_name=f"{name}.mp4")
    return RedirectResponse(url, status_code=307, headers={"Cache-Control": "no-cache"})


def _with_variant(record: JobRecord, variant: Variant) -> JobRecord:
    """The record, where such a variant of its video was asked for."""
    if variant == "refined" and record.spec.refine is None:
        raise JobStateConflict("this job is not refined", fix="submit it with refine")
    return record


def _entry(chunk: ChunkRecord, url: str) -> PlaylistEntry:
    return PlaylistEntry(url=url, num_frames=chunk.num_frames, head_bytes=chunk.head_bytes, size_bytes=chunk.size_bytes)


def _nothing_to_play(record: JobRecord) -> PlaylistNotReady | JobStateConflict:
    if record.status.is_terminal:
        return JobStateConflict(f"the job is {record.status} and has no chunk", fix="submit it again")
    return PlaylistNotReady("the first chunk is not ready yet", fix="ask again after Retry-After seconds")


def _no_video(record: JobRecord) -> VideoNotReady | JobStateConflict:
    if record.status.is_terminal:
        return JobStateConflict(f"the job is {record.status} and has no video", fix="submit it again")
    done, total = record.frames_done, record.spec.num_frames
    return VideoNotReady(f"{done} of {total} frames are made", fix="play the playlist meanwhile, or ask again later")
