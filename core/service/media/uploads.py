"""Uploads: a client declares a file, gets a URL to send it to, and then names the upload in its job.

Accepted types, sizes and times. Stored by redis/upload_store.py.
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
"""A transfer that began before the URL expired may end this long after."""


class UploadRequest(Frozen):
    """Body of POST /uploads: the file that will be sent."""

    content_type: str = Field(
        description="Content type of the file, with or without parameters, in any case; `application/octet-stream` if "
        "unknown.",
        examples=["video/mp4"],
    )
    size_bytes: int = Field(gt=0, description="Exact size of the file.", examples=[1048576])


def url_end(upload: Upload, settings: Settings) -> datetime:
    """When the upload's URL expires."""
    return upload.url_expires_at or upload.created_at + timedelta(seconds=settings.upload_ttl_seconds)


def max_bytes(kind: MediaKind, settings: Settings) -> int:
    """Largest accepted file of a kind."""
    return settings.max_image_bytes if kind is MediaKind.IMAGE else settings.max_video_bytes


def new_upload(
    request: UploadRequest, settings: Settings, now: datetime, client: str | None = None, owner: str | None = None
) -> Upload:
    """A new upload for `request`. `owner` is the id of the API key. Raises InvalidField or UploadTooLarge."""
    kinds = kinds_of(request.content_type)
    if not kinds or not is_header_value(request.content_type):
        message = f"content_type {request.content_type[:64]!r} is not accepted"
        accepted = ", ".join((*KIND_OF_TYPE, UNKNOWN_TYPE))
        raise InvalidField(message, field="content_type", fix=f"send one of {accepted}")
    most = max(max_bytes(kind, settings) for kind in kinds)
    if request.size_bytes > most:
        message = f"size_bytes is {request.size_bytes}; {' or '.join(sorted(kinds))} files may have {most}"
        raise UploadTooLarge(message, field="size_bytes", fix=f"send at most {most} bytes")
    upload = _upload(new_upload_id(), request.content_type, request.size_bytes, settings, now)
    url_expires_at = now + timedelta(seconds=settings.upload_ttl_seconds)
    return upload.model_copy(update={"url_expires_at": url_expires_at, "client": client, "owner": owner})


def found_upload(upload_id: str, content_type: str, size_bytes: int, settings: Settings, now: datetime) -> Upload:
    """A new record for an upload object whose record was lost; its retention starts again."""
    return _upload(upload_id, content_type, size_bytes, settings, now)


def _upload(upload_id: str, content_type: str, size_bytes: int, settings: Settings, now: datetime) -> Upload:
    return Upload(
        id=upload_id,
        content_type=content_type,
        size_bytes=size_bytes,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.upload_retention_seconds),
    )
