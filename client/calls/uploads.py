"""Calls of uploads, models and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from client.calls.call import Call, nothing, reads
from client.models import ModelList, Upload, UploadTarget

UPLOAD_TIMEOUT_SECONDS = 120.0
"""Longest pause of the storage while it receives a file."""


def create(content_type: str, size_bytes: int) -> Call[UploadTarget]:
    """May be repeated: an upload without a file is deleted soon."""
    body = {"content_type": content_type, "size_bytes": size_bytes}
    return Call("POST", "/uploads", reads(UploadTarget), {"json": body}, is_repeatable=True)


def send_file(target: UploadTarget, content: Callable[[], Iterable[bytes]]) -> Call[str]:
    """PUT a file to an upload's URL. Reads the upload's id."""
    options = {"headers": target.headers, "timeout": UPLOAD_TIMEOUT_SECONDS}
    return Call(target.method, target.url, lambda _: target.id, options, content)


def get(upload_id: str) -> Call[Upload]:
    """GET /uploads/{upload_id}."""
    return Call("GET", f"/uploads/{upload_id}", reads(Upload))


def delete(upload_id: str) -> Call[None]:
    """DELETE /uploads/{upload_id}."""
    return Call("DELETE", f"/uploads/{upload_id}", nothing, if_gone=nothing)


def models() -> Call[ModelList]:
    """GET /models."""
    return Call("GET", "/models", reads(ModelList))


def fetch(url: str) -> Call[bytes]:
    """GET any link of the API; reads its bytes."""
    return Call("GET", url, lambda response: response.content, {"follow_redirects": True})
