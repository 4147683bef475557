"""Endpoints of uploads. A client gets a presigned URL and sends its file directly to the object storage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from api.access.caller import CallerDep
from api.access.own_uploads import no_such_upload
from api.access.owner_limits import limits_on
from api.backends.ports import Ports, PortsDep, SettingsDep
from api.creation.uploads import declared_upload
from api.http.client_limits import address_of_client
from api.http.openapi import UPLOAD_BODY, may_fail
from api.http.responses import JsonBody
from core.service.admission.request_body import parse_body
from core.service.domain.errors import ObjectNotFound, UploadNotFound
from core.service.domain.media_types import MediaKind, types_of
from core.service.domain.schema import MIN_FRAMES, Frozen, Shown
from core.service.domain.uploads import Upload
from core.service.media.uploads import SENDING_GRACE, UploadRequest, url_end
from core.service.settings import Settings

router = APIRouter(tags=["uploads"])
UploadId = Annotated[str, Path(description="Id of the upload.", examples=["upl_k3mq5w7zr2ay4n6c5bqd"])]


class ImageLimits(Frozen):
    """Limits of an image."""

    content_types: tuple[str, ...] = types_of(MediaKind.IMAGE)
    max_bytes: int
    max_pixels: int


class VideoLimits(Frozen):
    """Limits of a video."""

    content_types: tuple[str, ...] = types_of(MediaKind.VIDEO)
    max_bytes: int
    max_pixels: int = Field(description="Of one frame.")
    max_seconds: float
    min_frames: int = Field(default=MIN_FRAMES, description="At the job's frames per second.")


class UploadLimits(Frozen):
    """Limits of this service for uploads and for files at URLs."""

    image: ImageLimits
    video: VideoLimits


class UploadTarget(Frozen):
    """Where to send the file, and how."""

    id: str = Field(
        description="Use it as `image`, `video` or `control.video` of a job.", examples=["upl_k3mq5w7zr2ay4n6c5bqd"]
    )
    method: Literal["PUT"] = "PUT"
    url: str = Field(description="Presigned; accepts one request with exactly these headers.")
    headers: dict[str, str] = Field(examples=[{"content-type": "video/mp4", "content-length": "1048576"}])
    expires_at: datetime = Field(description="The URL accepts the file until then.")
    usable_until: datetime = Field(description="New jobs may use the upload until then; afterwards it is deleted.")
    limits: UploadLimits


class UploadView(Shown):
    """An upload."""

    id: str
    content_type: str
    size_bytes: int = Field(description="As declared.")
    received: bool = Field(description="Whether the file has arrived as declared, so that a job may use it.")
    created_at: datetime
    expires_at: datetime = Field(
        description="The URL accepts the file until then; without a file the upload is deleted 10 minutes later."
    )
    usable_until: datetime


@router.post(
    "/uploads",
    status_code=201,
    summary="Upload an image or video",
    openapi_extra=UPLOAD_BODY,
    responses={201: {"model": UploadTarget}, **may_fail(400, 413, 415, 422, 429, 503)},
)
def create_upload(
    body: JsonBody, request: Request, ports: PortsDep, settings: SettingsDep, caller: CallerDep
) -> Response:
    """Returns a URL to PUT the file to, and an id for `POST /jobs`. The URL's signature includes type and length: the
    storage accepts no others. The file's content is checked when a job starts."""
    address = address_of_client(request.scope)
    upload = declared_upload(parse_body(body, UploadRequest), address, caller, ports, settings)
    headers = {"content-type": upload.content_type, "content-length": str(upload.size_bytes)}
    url = ports.storage.upload_url(upload.key, headers, settings.upload_ttl_seconds)
    ports.uploads.create(upload, limits_on(caller, upload.owner))
    ports.upload_counters.made(upload)
    target = UploadTarget(
        id=upload.id,
        url=url,
        headers=headers,
        expires_at=url_end(upload, settings),
        usable_until=upload.expires_at,
        limits=_limits(settings),
    )
    return Response(
        target.model_dump_json(), status_code=201, media_type="application/json", headers={"Cache-Control": "no-store"}
    )


@router.get("/uploads/{upload_id}", summary="Read an upload", responses=may_fail(404, 503))
def read_upload(upload_id: UploadId, ports: PortsDep, settings: SettingsDep) -> UploadView:
    """Whether its file has arrived, and until when it can be sent and used."""
    upload = _upload(ports, upload_id)
    return UploadView(
        id=upload.id,
        content_type=upload.content_type,
        size_bytes=upload.size_bytes,
        received=_is_whole(ports, upload),
        created_at=upload.created_at,
        expires_at=url_end(upload, settings),
        usable_until=upload.expires_at,
    )


@router.delete(
    "/uploads/{upload_id}",
    status_code=204,
    summary="Delete an upload",
    response_class=Response,
    responses={204: {"description": "Deleted."}, **may_fail(404, 503)},
)
def delete_upload(upload_id: UploadId, ports: PortsDep, settings: SettingsDep) -> Response:
    """New jobs cannot use it any more. Jobs that use it continue; its file is deleted when none waits for it."""
    late = url_end(_upload(ports, upload_id), settings) + SENDING_GRACE
    try:
        ports.uploads.discard(upload_id, ports.clock.now(), late)
    except UploadNotFound as error:
        raise no_such_upload(upload_id) from error
    ports.queue.janitor()
    return Response(status_code=204)


def _upload(ports: Ports, upload_id: str) -> Upload:
    """Raises UploadUnknown if the upload is missing or expired."""
    try:
        upload = ports.uploads.get(upload_id)
    except UploadNotFound as error:
        raise no_such_upload(upload_id) from error
    if ports.clock.now() >= upload.expires_at:
        raise no_such_upload(upload_id)
    return upload


def _is_whole(ports: Ports, upload: Upload) -> bool:
    try:
        return ports.storage.look_up(upload.key).size_bytes == upload.size_bytes
    except ObjectNotFound:
        return False


def _limits(settings: Settings) -> UploadLimits:
    return UploadLimits(
        image=ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
        video=VideoLimits(
            max_bytes=settings.max_video_bytes,
            max_pixels=settings.max_video_pixels,
            max_seconds=settings.max_video_seconds,
        ),
    )
