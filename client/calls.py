"""One function per endpoint: the request to send and how to read its response. No I/O.

Client and AsyncClient send these calls; neither builds a request or reads a body itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar

import httpx
from pydantic import BaseModel

from client.errors import ClientError
from client.models import BatchResults, ModelList, Upload, UploadTarget
from client.responses import read_model
from core.service.domain.schema import ChangedJob, ChunkList, Job, JobList, JobPlan, JobRequest, JobStatus, Variant

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 30.0
UPLOAD_TIMEOUT_SECONDS = 120.0
"""Longest pause of the storage while it receives a file."""
EVENT_SILENCE_SECONDS = 5.0
"""An event stream that is silent for longer is closed, and the job is read instead."""

ChunkInclude = Literal["presigned_urls"]
"""What a list of chunks has only if it is asked for."""
T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and the reader of its response. `options` are keyword arguments of httpx's `request`."""

    method: str
    url: str
    read: Callable[[httpx.Response], T]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


def checked_base_url(base_url: str) -> str:
    """`base_url` without a slash at its end. Raises ClientError if it is no http(s) URL."""
    try:
        is_http = httpx.URL(base_url).scheme in {"http", "https"}
    except httpx.InvalidURL:
        is_http = False
    if not is_http:
        raise ClientError(f"{base_url!r} is not the URL of an API", fix=f"for example {DEFAULT_BASE_URL}")
    return base_url.rstrip("/")


JobFields = JobRequest | Mapping[str, Any]
"""A request: checked before it is sent, or as it is."""


def create_job(request: JobFields, idempotency_key: str | None, wait_seconds: int) -> Call[Job]:
    options = {"json": _body(request), **_waiting(wait_seconds, idempotency_key)}
    return Call("POST", "/jobs", _as(Job), options)


def put_job(job_id: str, request: JobFields, wait_seconds: int) -> Call[Job]:
    return Call("PUT", f"/jobs/{job_id}", _as(Job), {"json": _body(request), **_waiting(wait_seconds, None)})


def plan_job(request: JobFields) -> Call[JobPlan]:
    return Call("POST", "/jobs", _as(JobPlan), {"json": _body(request), "params": {"dry_run": "true"}})


def create_jobs(requests: Iterable[JobFields], idempotency_key: str | None) -> Call[BatchResults]:
    body = {"jobs": [_body(request) for request in requests]}
    return Call("POST", "/jobs/batch", _as(BatchResults), {"json": body, **_waiting(0, idempotency_key)})


def _body(request: JobFields) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_unset=True) if isinstance(request, JobRequest) else dict(request)


def _waiting(wait_seconds: int, idempotency_key: str | None) -> dict[str, Any]:
    """Headers; and the timeout, which must not end the wait that was asked for."""
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
    if wait_seconds:
        headers["Prefer"] = f"wait={wait_seconds}"
    return {"headers": headers, "timeout": TIMEOUT_SECONDS + wait_seconds}


def list_jobs(status: JobStatus | None, limit: int, cursor: str | None) -> Call[JobList]:
    query = {"status": status, "limit": limit, "cursor": cursor}
    return Call("GET", "/jobs", _as(JobList), {"params": {name: value for name, value in query.items() if value}})


def list_chunks(job_id: str, after: int, limit: int, include: ChunkInclude | None) -> Call[ChunkList]:
    query = {"after": after, "limit": limit, **({"include": include} if include else {})}
    return Call("GET", f"/jobs/{job_id}/chunks", _as(ChunkList), {"params": query})


UNCHANGED: Literal["unchanged"] = "unchanged"
"""Of a length that may be None, without end."""
NewLength = int | Literal["unchanged"] | None
"""A number of frames, None for without end, or no change."""


def change_job(
    job_id: str,
    prompt: str | None,
    from_frame: int | None,
    metadata: Mapping[str, str] | None,
    num_frames: NewLength,
) -> Call[ChangedJob]:
    fields = {"prompt": prompt, "from_frame": from_frame, "metadata": metadata}
    body: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if num_frames != UNCHANGED:
        body["num_frames"] = num_frames
    return Call("PATCH", f"/jobs/{job_id}", _as(ChangedJob), {"json": body})


def extend_job(job_id: str, num_frames: int, prompt: str | None) -> Call[Job]:
    body = {"num_frames": num_frames, **({} if prompt is None else {"prompt": prompt})}
    return Call("POST", f"/jobs/{job_id}/extend", _as(Job), {"json": body})


def branch_job(job_id: str, from_chunk: int, changes: Mapping[str, Any]) -> Call[Job]:
    named = {name: value for name, value in changes.items() if value is not None}
    return Call("POST", f"/jobs/{job_id}/branch", _as(Job), {"json": {"from_chunk": from_chunk, **named}})


def retry_job(job_id: str) -> Call[Job]:
    return Call("POST", f"/jobs/{job_id}/retry", _as(Job))


def cancel_job(job_id: str) -> Call[Job]:
    return Call("POST", f"/jobs/{job_id}/cancel", _as(Job))


def delete_job(job_id: str) -> Call[None]:
    return Call("DELETE", f"/jobs/{job_id}", _nothing)


def create_upload(content_type: str, size_bytes: int) -> Call[UploadTarget]:
    body = {"content_type": content_type, "size_bytes": size_bytes}
    return Call("POST", "/uploads", _as(UploadTarget), {"json": body})


def send_file(target: UploadTarget, content: object) -> Call[str]:
    """PUT `content` (bytes in pieces; for AsyncClient an async iterator) to an upload's URL. Reads the upload's id."""
    options = {"content": content, "headers": target.headers, "timeout": UPLOAD_TIMEOUT_SECONDS}
    return Call(target.method, target.url, lambda _: target.id, options)


def get_upload(upload_id: str) -> Call[Upload]:
    return Call("GET", f"/uploads/{upload_id}", _as(Upload))


def delete_upload(upload_id: str) -> Call[None]:
    return Call("DELETE", f"/uploads/{upload_id}", _nothing)


def list_models() -> Call[ModelList]:
    return Call("GET", "/models", _as(ModelList))


def fetch(url: str) -> Call[bytes]:
    return Call("GET", url, lambda response: response.content, {"follow_redirects": True})


def download(url: str) -> Call[None]:
    """For a stream: the body is written to a file, not read here."""
    return Call("GET", url, _nothing, {"follow_redirects": True})


def video_path(job_id: str, variant: Variant) -> str:
    return f"/jobs/{job_id}/video.mp4?variant={variant}"


def events(job_id: str, after: str) -> Call[None]:
    """For a stream: its lines are events."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    timeout = httpx.Timeout(TIMEOUT_SECONDS, read=EVENT_SILENCE_SECONDS)
    return Call("GET", f"/jobs/{job_id}/events", _nothing, {"headers": headers, "timeout": timeout})


class JobReads:
    """GET /jobs/{id} with If-None-Match: an unchanged job is answered with 304 and taken from memory.

    Remembers jobs that have not ended, so it stays small.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Job]] = {}

    def get_job(self, job_id: str) -> Call[Job]:
        etag, known = self._known.get(job_id, ("", None))

        def read(response: httpx.Response) -> Job:
            if response.status_code == HTTPStatus.NOT_MODIFIED and known is not None:
                return known
            return self._remember(read_model(response, Job), response.headers.get("etag", ""))

        return Call("GET", f"/jobs/{job_id}", read, {"headers": {"If-None-Match": etag} if etag else {}})

    def _remember(self, job: Job, etag: str) -> Job:
        self._known.pop(job.id, None)
        if etag and not job.status.is_terminal:
            self._known[job.id] = (etag, job)
        return job


ModelT = TypeVar("ModelT", bound=BaseModel)


def _as(model: type[ModelT]) -> Callable[[httpx.Response], ModelT]:
    return lambda response: read_model(response, model)


def _nothing(_: httpx.Response) -> None:
    return None
