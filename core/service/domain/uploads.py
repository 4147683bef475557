"""Uploads: the stored record, the object key, and the pseudonym of the client. Limits are in media/uploads.py."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from pydantic import Field

from core.service.domain.addresses import client_network
from core.service.domain.ids import is_upload_id
from core.service.domain.media_types import MediaKind, kinds_of
from core.service.domain.schema import Stored

UPLOADS_PREFIX = "uploads/"


class Upload(Stored):
    """Stored record of an upload. It can be used until `expires_at`; its object is removed soon after."""

    id: str
    content_type: str = Field(description="As declared, unchanged: it is signed with the upload's URL.")
    size_bytes: int = Field(description="As declared; never more is read.")
    created_at: datetime
    expires_at: datetime
    url_expires_at: datetime | None = Field(
        default=None, description="End of the upload URL; None for uploads of an older version."
    )
    client: str | None = Field(default=None, description="`client_mark` of the requesting address.")
    owner: str | None = Field(default=None, description="Id of the API key that requested it; None: without keys.")

    @property
    def kinds(self) -> frozenset[MediaKind]:
        """Kinds of media that it may be; empty for an object of a type that is not accepted."""
        return kinds_of(self.content_type)

    @property
    def key(self) -> str:
        return upload_key(self.id)


def upload_key(upload_id: str) -> str:
    return f"{UPLOADS_PREFIX}{upload_id}"


def upload_id_of_key(key: str) -> str | None:
    """Inverse of `upload_key`; None for any other key."""
    upload_id = key.removeprefix(UPLOADS_PREFIX)
    return upload_id if key.startswith(UPLOADS_PREFIX) and is_upload_id(upload_id) else None


def client_mark(address: str, key: bytes) -> str:
    """Pseudonym of a client (addresses.client_network) for counting uploads: 16 hex digits of an HMAC-SHA256;
    addresses are not stored. `key` is UploadStore.client_key: without one, all IPv4 addresses could be tried."""
    return hmac.digest(key, client_network(address).encode(), hashlib.sha256).hex()[:16]
