"""OpenAI's videos API: /v1/videos. A video is a job, and has its id."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.access.caller import CallerDep
from api.backends.looks import LooksDep
from api.backends.ports import Ports, PortsDep, SettingsDep
from api.creation.creator import Created, Wanted
from api.creation.uploads import SentFile
from api.http import idempotency
from api.http.client_limits import address_of_client
from api.http.host_lookup import look_up
from api.http.idempotency import IdempotencyKey, fingerprint_of
from api.http.openapi import may_fail
from api.http.responses import JsonBody, has_etag, not_modified
from api.media.job_media import PICTURE_TYPE, PictureResponse
from api.media.spritesheets import Sheet, Spritesheets, SpritesheetsDep
from api.media.thumbnails import ThumbnailsDep
from api.openai.answers import DeletedVideo, Video, VideoList
from api.openai.bodies import Asked
from api.openai.documents import REMIX_BODY, VIDEO_BODY
from api.openai.pages import MOST, cursor_after, place_of
from api.openai.requests import RemixRequest, job_request_of, remix_of
from api.openai.views import video_of
from api.routes.answers import json_answer
from api.routes.create import CreatorDep
from api.routes.jobs import JobId
from api.routes.media import JobPicturesDep, VideoResponse, media_responses
from core.service.admission.request_body import parse_body
from core.service.domain.schema import JobRequest, Variant
from core.service.records.tombstones import delete_job

router = APIRouter(tags=["openai"], prefix="/v1/videos")
VideoVariant = Literal["video", "thumbnail", "spritesheet"]


def _remix_request(body: JsonBody) -> RemixRequest:  # no coroutine: FastAPI runs it in a thread
    return parse_body(body, RemixRequest)


AskedRemix = Annotated[RemixRequest, Depends(_remix_request)]


@router.post(
    "",
    summary="Create a video",
    openapi_extra={**VIDEO_BODY, "parameters": [idempotency.PARAMETER]},
    responses={200: {"model": Video}, **may_fail(400, 409, 413, 415, 422, 429, 503)},
)
async def create_video(
    asked: Asked,
    request: Request,
    ports: PortsDep,
    settings: SettingsDep,
    key: IdempotencyKey,
    creator: CreatorDep,
) -> Response:
    """As POST /jobs, with the fields of OpenAI's API. An image is stored as an upload of the caller."""
    wanted = await run_in_threadpool(job_request_of, asked.request, ports.catalog, settings)
    new = await _wanted(wanted, asked.fingerprint, request, ports, key)
    sender = address_of_client(request.scope)
    image = asked.image and SentFile(asked.image.data, asked.image.content_type, sender)
    return _shown(await creator.create(replace(new, image=image)), ports)


@router.post(
    "/{job_id}/remix",
    summary="Make a video again with another prompt",
    openapi_extra=REMIX_BODY,
    responses={200: {"model": Video}, **may_fail(400, 404, 409, 413, 415, 422, 503)},
)
async def remix_video(
    job_id: JobId,
    body: JsonBody,
    asked: AskedRemix,
    request: Request,
    ports: PortsDep,
    key: IdempotencyKey,
    creator: CreatorDep,
) -> Response:
    """A new video with the seed, length, size, sampling and input media of this one."""
    source = await run_in_threadpool(ports.store.get, job_id)
    wanted = await run_in_threadpool(remix_of, source, asked.prompt, ports.catalog)
    fingerprint = fingerprint_of({"remix": job_id, "body": body})
    return _shown(await creator.create(await _wanted(wanted, fingerprint, request, ports, key)), ports)


async def _wanted(asked: JobRequest, fingerprint: str, request: Request, ports: Ports, key: str | None) -> Wanted:
    return Wanted(asked, fingerprint, await look_up([asked], request, ports), key)


def _shown(created: Created, ports: Ports) -> Response:
    return json_answer(video_of(created.record, created.live, ports.catalog).model_dump_json(), 200, {})


@router.get("", summary="List videos", responses={200: {"model": VideoList}, **may_fail(422, 503)})
def list_videos(
    ports: PortsDep,
    caller: CallerDep,
    after: Annotated[str | None, Query(description="`last_id` of the page before, or the id of a video.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Videos per page.")] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="desc: newest first.")] = "desc",
) -> Response:
    """One page of videos: all jobs of the key, however they were created."""
    cursor = None if after is None else cursor_after(ports.store, caller, after)
    oldest_first = order == "asc"
    page = ports.store.list(owner=caller.listed_owner, limit=limit, cursor=cursor, oldest_first=oldest_first)
    live = ports.store.live_statuses(page.jobs)
    data = [video_of(record, its, ports.catalog) for record, its in zip(page.jobs, live, strict=True)]
    answer = VideoList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=place_of(page.jobs[-1]) if data else None,
        has_more=page.next_cursor is not None,
    )
    return json_answer(answer.model_dump_json(), 200, {})


@router.get("/{job_id}", summary="Read a video", responses={200: {"model": Video}, **may_fail(404, 422, 503)})
async def read_video(job_id: JobId, looks: LooksDep, ports: PortsDep) -> Response:
    """Its status and progress."""
    seen = await looks.look(job_id)
    video = await run_in_threadpool(video_of, seen.record, seen.live, ports.catalog)
    return json_answer(video.model_dump_json(), 200, {})


@router.delete(
    "/{job_id}", summary="Delete a video", responses={200: {"model": DeletedVideo}, **may_fail(404, 422, 503)}
)
def delete_video(job_id: JobId, ports: PortsDep) -> Response:
    """As DELETE /jobs/{id}: a running one stops."""
    delete_job(ports.store, ports.storage, job_id)
    ports.queue.janitor()
    return json_answer(DeletedVideo(id=job_id).model_dump_json(), 200, {})


@router.get(
    "/{job_id}/content",
    summary="Download a video, or a picture of it",
    response_class=VideoResponse,
    responses=media_responses("video/mp4", PICTURE_TYPE),
)
async def download_video(
    found: JobPicturesDep,
    thumbnails: ThumbnailsDep,
    spritesheets: SpritesheetsDep,
    variant: Annotated[
        VideoVariant,
        Query(description="video: the MP4, refined if a size asks for it; thumbnail, spritesheet: a JPEG of it."),
    ] = "video",
) -> Response:
    """The whole video once it is completed; before that 404 `video_not_ready`. What there is of a failed one, too."""
    if variant == "thumbnail":
        return await found.thumbnail(thumbnails)
    record = await found.record()
    best: Variant = "refined" if record.refined_video_key else "preview"
    if variant == "spritesheet" and record.video_key:
        return await _spritesheet(Sheet(record, best), found.request, spritesheets)
    return await replace(found, variant=best).video("attachment")


async def _spritesheet(sheet: Sheet, request: Request, spritesheets: Spritesheets) -> Response:
    if has_etag(request, sheet.etag):
        return not_modified(sheet.etag)
    headers = {"Cache-Control": "no-cache", "ETag": sheet.etag}
    return PictureResponse(await spritesheets.of(sheet), headers=headers)
