"""Checks the URL or upload that a request names as its image or video, before the job is created.

The worker checks URLs again when it fetches them: addresses may have changed by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from core.service.domain.errors import (
    InvalidField,
    ObjectNotFound,
    UploadIncomplete,
    UploadNotFound,
    UploadTooLarge,
    shortened,
)
from core.service.domain.ids import UPLOAD_ID_PREFIX
from core.service.domain.media_types import MediaKind
from core.service.domain.ports import Clock, Storage, UploadStore
from core.service.domain.uploads import Upload
from core.service.media.uploads import max_bytes
from core.service.net.address_guard import IMAGE, VIDEO, Resolve, UrlUse, allowed_addresses
from core.service.settings import Settings

URL_USE: dict[MediaKind, UrlUse] = {MediaKind.IMAGE: IMAGE, MediaKind.VIDEO: VIDEO}


@dataclass(frozen=True)
class ReferenceCheck:
    """Call it with the kind of input media, the reference, and the field that it is the value of.

    Raises MediaUrlRefused, UploadNotFound, UploadIncomplete, UploadTooLarge or InvalidField.
    """

    uploads: UploadStore
    storage: Storage
    clock: Clock
    settings: Settings
    resolve: Resolve
    may_use: Callable[[Upload], bool] = lambda _: True
    """Whether the client may use an upload. One that it may not use is not found."""

    def __call__(self, kind: MediaKind, reference: str, field: str) -> None:
        if reference.startswith(UPLOAD_ID_PREFIX):
            self._check_upload(kind, reference, field)
        else:
            allowed_addresses(reference, replace(URL_USE[kind], field=field), self.settings, self.resolve)

    def _check_upload(self, kind: MediaKind, upload_id: str, field: str) -> None:
        upload = self._upload(upload_id, field)
        if kind not in upload.kinds:
            message = f"{upload_id} is an upload of type {upload.content_type}"
            other = next(each for each in MediaKind if each is not kind)
            raise InvalidField(message, field=field, fix=f"use it as {other}, or another file as {field}")
        most = max_bytes(kind, self.settings)
        if upload.size_bytes > most:  # its type allows both kinds, and the other one may be larger
            message = f"{upload_id} has {upload.size_bytes} bytes; {kind} files may have {most}"
            raise UploadTooLarge(message, field=field, fix="give a smaller file")
        try:
            stored = self.storage.look_up(upload.key)
        except ObjectNotFound as error:
            message = f"nothing has been sent to {upload_id} yet"
            raise UploadIncomplete(message, field=field, fix="PUT the file to the upload's url first") from error
        if stored.size_bytes != upload.size_bytes:
            message = f"{upload_id} has {stored.size_bytes} bytes, not the {upload.size_bytes} that were declared"
            raise UploadIncomplete(message, field=field, fix="PUT the whole file again, or create a new upload")

    def _upload(self, upload_id: str, field: str) -> Upload:
        """The upload, if it has not expired. Raises UploadNotFound."""
        refused = UploadNotFound(
            f"there is no upload {shortened(upload_id, 32)}", field=field, fix="POST /uploads first"
        )
        try:
            upload = self.uploads.get(upload_id)
        except UploadNotFound as error:
            raise refused from error
        if self.clock.now() >= upload.expires_at or not self.may_use(upload):
            raise refused
        return upload


def shown(reference: str) -> str:
    """A reference for logs: without query and fragment, which may hold secrets."""
    bare = reference.partition("?")[0].partition("#")[0]
    return bare if bare == reference else f"{bare}?..."
