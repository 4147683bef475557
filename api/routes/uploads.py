"""Uploads over HTTP: says where to send a file that a job shall begin with. The file itself goes to the storage."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field

from api.answers import JsonBody
from api.openapi import UPLOAD_BODY, may_fail
from api.ports import PortsOfApp, SettingsOfApp
from core.service.admission import parse_body
from core.service.errors import ServiceFull
from core.service.media.types import MediaKind, types_of
from core.service.media.uploads import Upload, UploadRequest, new_upload
from core.service.schema import MIN_FRAMES, Frozen
from core.service.settings import Settings

router = APIRouter(tags=["uploads"])


class ImageLimits(Frozen):
    """What an image may be."""

    content_types: tuple[str, ...] = types_of(MediaKind.IMAGE)
    max_bytes: int
    max_pixels: int


class VideoLimits(Frozen):
    """What a video may be."""

    content_types: tuple[str, ...] = types_of(MediaKind.VIDEO)
    max_bytes: int
    max_pixels: int = Field(description="Of one frame.")
    max_seconds: float
    min_frames: int = Field(default=MIN_FRAMES, description="At the job's frames per second.")


class UploadLimits(Frozen):
    """The limits of this service, for files sent here and for those at URLs."""

    image: ImageLimits
    video: VideoLimits


class UploadTarget(Frozen):
    """Where to send the file, and how."""

    id: str = Field(description="Name it as `image` or `video` of a job.", examples=["upl_k3mq5w7zr2ay4n6c5bqd"])
    method: Literal["PUT"] = "PUT"
    url: str = Field(description="Presigned; takes one request with exactly these headers.")
    headers: dict[str, str] = Field(examples=[{"content-type": "video/mp4", "content-length": "1048576"}])
    expires_at: datetime = Field(description="The URL takes the file until then.")
    usable_until: datetime = Field(description="New jobs may name the upload until then; afterwards it is removed.")
    limits: UploadLimits


@router.post(
    "/uploads",
    status_code=201,
    summary="Upload an image or video",
    openapi_extra=UPLOAD_BODY,
    responses={201: {"model": UploadTarget}, **may_fail(400, 413, 415, 422, 503)},
)
def create_upload(body: JsonBody, ports: PortsOfApp, settings: SettingsOfApp) -> Response:
    """Answers a URL to PUT the file to, and an id to name in `POST /jobs`. Type and length are part of the URL's
    signature: the storage takes no other. What the file really is, is looked at when the job starts."""
    upload = new_upload(parse_body(body, UploadRequest), settings, ports.clock.now())
    if ports.uploads.count() >= settings.max_uploads:
        raise ServiceFull(f"{settings.max_uploads} uploads are kept already", fix="try again later")
    headers = {"content-type": upload.content_type, "content-length": str(upload.size_bytes)}
    url = ports.storage.upload_url(upload.key, headers, settings.upload_ttl_seconds)
    ports.uploads.create(upload)
    target = UploadTarget(
        id=upload.id,
        url=url,
        headers=headers,
        expires_at=_url_expires_at(upload, settings),
        usable_until=upload.expires_at,
        limits=_limits(settings),
    )
    return Response(
        target.model_dump_json(), status_code=201, media_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _url_expires_at(upload: Upload, settings: Settings) -> datetime:
    return upload.created_at + timedelta(seconds=settings.upload_ttl_seconds)


def _limits(settings: Settings) -> UploadLimits:
    return UploadLimits(
        image=ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
        video=VideoLimits(
            max_bytes=settings.max_video_bytes,
            max_pixels=settings.max_video_pixels,
            max_seconds=settings.max_video_seconds,
        ),
    )
