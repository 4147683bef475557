"""Uploads: a client says what it will send, gets a URL to send it to, and then names the upload in its job.

Which uploads are taken, how large and for how long. Stored by redis/upload_store.py.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from core.service.domain.errors import InvalidField, UploadTooLarge
from core.service.domain.ids import new_upload_id
from core.service.domain.media_types import KIND_OF_TYPE, UNKNOWN_TYPE, MediaKind, is_header_value, kinds_of
from core.service.domain.schema import Frozen
from core.service.domain.uploads import Upload
from core.service.settings import Settings

SENDING_GRACE = timedelta(minutes=10)
"""A file whose sending began before its URL ended may come in so long after."""


class UploadRequest(Frozen):
    """Body of POST /uploads: what will be sent."""

    content_type: str = Field(
        description="Type of the file, as a browser or tool calls it: with or without parameters, in any case. "
        "`application/octet-stream` where it is not known.",
        examples=["video/mp4"],
    )
    size_bytes: int = Field(gt=0, description="Its exact length.", examples=[1048576])


def url_end(upload: Upload, settings: Settings) -> datetime:
    """When the upload's URL ends."""
    return upload.url_expires_at or upload.created_at + timedelta(seconds=settings.upload_ttl_seconds)


def max_bytes(kind: MediaKind, settings: Settings) -> int:
    """The longest file of a kind."""
    return settings.max_image_bytes if kind is MediaKind.IMAGE else settings.max_video_bytes


def new_upload(request: UploadRequest, settings: Settings, now: datetime, client: str | None = None) -> Upload:
    """The upload that `request` asks for. Raises InvalidField or UploadTooLarge."""
    kinds = kinds_of(request.content_type)
    if not kinds or not is_header_value(request.content_type):
        message = f"content_type {request.content_type[:64]!r} is not taken"
        taken = ", ".join((*KIND_OF_TYPE, UNKNOWN_TYPE))
        raise InvalidField(message, field="content_type", fix=f"send one of {taken}")
    most = max(max_bytes(kind, settings) for kind in kinds)
    if request.size_bytes > most:
        message = f"size_bytes is {request.size_bytes}; {' or '.join(sorted(kinds))} files may have {most}"
        raise UploadTooLarge(message, field="size_bytes", fix=f"send at most {most} bytes")
    upload = _upload(new_upload_id(), request.content_type, request.size_bytes, settings, now)
    url_expires_at = now + timedelta(seconds=settings.upload_ttl_seconds)
    return upload.model_copy(update={"url_expires_at": url_expires_at, "client": client})


def found_upload(upload_id: str, content_type: str, size_bytes: int, settings: Settings, now: datetime) -> Upload:
    """The upload of an object whose record was lost: it begins its life again."""
    return _upload(upload_id, content_type, size_bytes, settings, now)


def _upload(upload_id: str, content_type: str, size_bytes: int, settings: Settings, now: datetime) -> Upload:
    return Upload(
        id=upload_id,
        content_type=content_type,
        size_bytes=size_bytes,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.upload_retention_seconds),
    )
