"""An upload: its id, the key of its object, and the mark of its client. Pure; its limits are in media/uploads.py."""

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


def upload_key(upload_id: str) -> str:
    return f"{UPLOADS_PREFIX}{upload_id}"


def upload_id_of_key(key: str) -> str | None:
    """The upload of a key that `upload_key` made; None for any other object."""
    upload_id = key.removeprefix(UPLOADS_PREFIX)
    return upload_id if key.startswith(UPLOADS_PREFIX) and is_upload_id(upload_id) else None


def client_mark(address: str, key: bytes) -> str:
    """Stands for a client (addresses.client_network) where uploads are counted: the address itself is kept nowhere.
    `key` is UploadStore.client_key: without it all IPv4 addresses could be tried in seconds."""
    return hmac.digest(key, client_network(address).encode(), hashlib.sha256).hex()[:16]
