"""Which uploads a caller may see: those of its key. All others are not found."""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request

from api.access.caller import caller_of
from api.backends.ports import ports_of
from core.service.domain.errors import UploadNotFound, UploadUnknown


async def own_upload(request: Request) -> None:
    """A dependency of all routes: acts on those with `upload_id` in their path. Raises UploadUnknown."""
    upload_id, caller = request.path_params.get("upload_id"), caller_of(request)
    if upload_id is None or caller.is_everybody:
        return
    try:
        upload = await to_thread.run_sync(ports_of(request).uploads.get, upload_id)
    except UploadNotFound as error:
        raise no_such_upload(upload_id) from error
    if not caller.owns(upload):
        raise no_such_upload(upload_id)


def no_such_upload(upload_id: str) -> UploadUnknown:
    """404, the same for an id that does not exist and for the upload of another key."""
    return UploadUnknown(f"there is no upload {upload_id[:32]!r}")
