"""New uploads: whether there is room for one, and files that come with the request that uses them."""

from __future__ import annotations

from dataclasses import dataclass

from api.access.caller import Caller
from api.access.owner_limits import limits_on
from api.backends.ports import Ports
from core.service.domain.errors import ServiceFull, TooManyUploads
from core.service.domain.uploads import Upload, client_mark
from core.service.media.uploads import UploadRequest, new_upload
from core.service.settings import Settings


@dataclass(frozen=True)
class SentFile:
    """A file that came with a request. `address` is the client's."""

    data: bytes
    content_type: str
    address: str


def declared_upload(wanted: UploadRequest, address: str, caller: Caller, ports: Ports, settings: Settings) -> Upload:
    """An upload of the caller, not stored yet. Raises InvalidField, UploadTooLarge, TooManyUploads, ServiceFull."""
    client = client_mark(address, ports.uploads.client_key())
    upload = new_upload(wanted, settings, ports.clock.now(), client, caller.owner)
    _check_room(ports, settings, client)
    return upload


def stored_upload(sent: SentFile, caller: Caller, ports: Ports, settings: Settings) -> Upload:
    """A new upload with its file. Raises as declared_upload, and LimitReached, StoreError, StorageError."""
    wanted = UploadRequest(content_type=sent.content_type, size_bytes=len(sent.data))
    upload = declared_upload(wanted, sent.address, caller, ports, settings)
    ports.uploads.create(upload, limits_on(caller, upload.owner))
    ports.upload_counters.made(upload)
    ports.storage.put(upload.key, sent.data, sent.content_type)
    ports.uploads.sent(upload.id)
    return upload


def discard_upload(upload_id: str, ports: Ports) -> None:
    """Delete an upload that nobody has a URL of. Raises UploadNotFound, StoreError."""
    now = ports.clock.now()
    ports.uploads.discard(upload_id, now, now)
    ports.queue.janitor()


def _check_room(ports: Ports, settings: Settings, client: str) -> None:
    """Raises TooManyUploads or ServiceFull. The client's own limit comes first, because the client can act on it."""
    most = settings.max_uploads_per_client
    if ports.uploads.count_of(client) >= most:
        fix = "DELETE /uploads/{id} of unneeded ones, or wait: unsent ones are deleted after `expires_at`"
        raise TooManyUploads(f"{most} uploads from your address are kept already", fix=fix)
    if ports.uploads.count() >= settings.max_uploads:
        raise ServiceFull(f"{settings.max_uploads} uploads are kept already", fix="try again later")
