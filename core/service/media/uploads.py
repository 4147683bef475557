"""Uploads: a client says what it will send, gets a URL to send it to, and then names the upload in its job.

Pure data: what an upload is, where its object lies, how long it lives. Stored by upload_store.py.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from pydantic import Field

from core.service.addresses import client_network
from core.service.errors import InvalidField, UploadTooLarge
from core.service.media.types import KIND_OF_TYPE, UNKNOWN_TYPE, MediaKind, is_header_value, kinds_of
from core.service.schema import Frozen, Stored
from core.service.settings import Settings

UPLOADS_PREFIX = "uploads/"
ID_PREFIX = "upl_"
SENDING_GRACE = timedelta(minutes=10)
"""A file whose sending began before its URL ended may come in so long after."""
_BASE32_LOWER = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 20


class UploadRequest(Frozen):
    """Body of POST /uploads: what will be sent."""

    content_type: str = Field(
        description="Type of the file, as a browser or tool calls it: with or without parameters, in any case. "
        "`application/octet-stream` where it is not known.",
        examples=["video/mp4"],
    )
    size_bytes: int = Field(gt=0, description="Its exact length.", examples=[1048576])


class Upload(Stored):
    """What the store keeps of an upload. `expires_at` ends its use; its object goes soon after."""

    id: str
    content_type: str = Field(description="As declared, letter by letter: it is signed with the upload's URL.")
    size_bytes: int = Field(description="As declared; no more is ever read.")
    created_at: datetime
    expires_at: datetime
    url_expires_at: datetime | None = Field(
        default=None, description="End of the URL that takes the file; unknown where an older version made the upload."
    )
    client: str | None = Field(default=None, description="Whose it is: `client_mark` of the address that asked for it.")

    @property
    def kinds(self) -> frozenset[MediaKind]:
        """What it may turn out to be. Empty for an object of a type that is not taken (stored by somebody else)."""
        return kinds_of(self.content_type)

    @property
    def key(self) -> str:
        return upload_key(self.id)


def new_upload_id() -> str:
    """An id that cannot be guessed: 100 random bits."""
    return ID_PREFIX + "".join(secrets.choice(_BASE32_LOWER) for _ in range(_ID_LENGTH))


def is_upload_id(text: str) -> bool:
    """Whether `text` has the form of an id; there may be no such upload."""
    letters = text.removeprefix(ID_PREFIX)
    return text.startswith(ID_PREFIX) and len(letters) == _ID_LENGTH and set(letters) <= set(_BASE32_LOWER)


def upload_key(upload_id: str) -> str:
    return f"{UPLOADS_PREFIX}{upload_id}"


def upload_id_of_key(key: str) -> str | None:
    """The upload of a key that `upload_key` made; None for any other object."""
    upload_id = key.removeprefix(UPLOADS_PREFIX)
    return upload_id if key.startswith(UPLOADS_PREFIX) and is_upload_id(upload_id) else None


def url_end(upload: Upload, settings: Settings) -> datetime:
    """When the upload's URL ends."""
    return upload.url_expires_at or upload.created_at + timedelta(seconds=settings.upload_ttl_seconds)


def max_bytes(kind: MediaKind, settings: Settings) -> int:
    """The longest file of a kind."""
    return settings.max_image_bytes if kind is MediaKind.IMAGE else settings.max_video_bytes


def client_mark(address: str, key: bytes) -> str:
    """Stands for a client (addresses.client_network) where uploads are counted: the address itself is kept nowhere.
    `key` is UploadStore.client_key: without it all IPv4 addresses could be tried in seconds."""
    return hmac.digest(key, client_network(address).encode(), hashlib.sha256).hex()[:16]


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
