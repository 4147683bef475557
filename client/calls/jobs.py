"""Calls that create, read, change and end jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import httpx

from client.calls.call import TIMEOUT_SECONDS, Call, given, nothing, reads
from client.models import BatchResult, BatchResults
from client.options import PriorityName
from client.responses import read_model
from core.service.domain.schema import (
    ChangedJob,
    ChunkList,
    Job,
    JobList,
    JobMetrics,
    JobPlan,
    JobRequest,
    JobStatus,
    Variant,
)

EVENT_SILENCE_SECONDS = 20.0
"""An event stream that is silent for longer is broken: the API sends a comment every 15 seconds."""
ChunkInclude = Literal["presigned_urls"]
"""What a list of chunks has only if it is asked for."""
UNCHANGED: Literal["unchanged"] = "unchanged"
"""Of a length that may be None, without end."""
NewLength = int | Literal["unchanged"] | None
"""A number of frames, None for without end, or no change."""
JobFields = JobRequest | Mapping[str, Any]
"""A request: checked before it is sent, or as it is."""


def create(request: JobFields, idempotency_key: str, wait_seconds: int) -> Call[Job]:
    """POST /jobs. Repeated with the same key it reads the same job. `wait_seconds` >= 0; 0: do not wait for the end."""
    options = {"json": _body(request), **_waiting(wait_seconds, {"Idempotency-Key": idempotency_key})}
    return Call("POST", "/jobs", reads(Job), options, is_repeatable=True)


def put(job_id: str, request: JobFields, wait_seconds: int) -> Call[Job]:
    """PUT /jobs/{job_id}: create a job under an id of your own. `wait_seconds` as in `create`."""
    return Call("PUT", f"/jobs/{job_id}", reads(Job), {"json": _body(request), **_waiting(wait_seconds, {})})


def plan(request: JobFields) -> Call[JobPlan]:
    """POST /jobs?dry_run=true: reads what the job would be."""
    options = {"json": _body(request), "params": {"dry_run": "true"}}
    return Call("POST", "/jobs", reads(JobPlan), options, is_repeatable=True)


def batch(requests: Iterable[JobFields], idempotency_key: str) -> Call[tuple[BatchResult, ...]]:
    """POST /jobs/batch: reads a result for each request, in their order."""
    options = {
        "json": {"jobs": [_body(request) for request in requests]},
        "headers": {"Idempotency-Key": idempotency_key},
    }
    return Call(
        "POST",
        "/jobs/batch",
        lambda response: tuple(read_model(response, BatchResults).results),
        options,
        is_repeatable=True,
    )


def asked_for(request: JobFields | None, fields: Mapping[str, Any]) -> JobFields:
    """The request of a method that takes one or keyword arguments. Raises TypeError for both."""
    if request is not None and fields:
        raise TypeError("pass a request or keyword arguments, not both")
    return fields if request is None else request


def _body(request: JobFields) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_unset=True) if isinstance(request, JobRequest) else dict(request)


def _waiting(wait_seconds: int, headers: dict[str, str]) -> dict[str, Any]:
    """Headers; and the timeout, which must not end the wait that was asked for."""
    prefer = {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}
    return {"headers": headers | prefer, "timeout": TIMEOUT_SECONDS + wait_seconds}


@dataclass(frozen=True)
class Seen:
    """A job as it was read, with the ETag of that answer."""

    job: Job
    etag: str = ""


def get(job_id: str, seen: Seen | None = None) -> Call[Seen]:
    """An unchanged job is answered with 304, without a body, and is `seen`."""

    def read(response: httpx.Response) -> Seen:
        if response.status_code == HTTPStatus.NOT_MODIFIED and seen is not None:
            return seen
        return Seen(read_model(response, Job), response.headers.get("etag", ""))

    headers = {"If-None-Match": seen.etag} if seen is not None and seen.etag else {}
    return Call("GET", f"/jobs/{job_id}", read, {"headers": headers})


def page(status: JobStatus | str | None, limit: int, cursor: str | None, owner: str | None) -> Call[JobList]:
    """GET /jobs: a page of at most `limit` jobs (1 to 100), newest first, from `cursor` on."""
    query = given(status=status, limit=limit, cursor=cursor, owner=owner)
    return Call("GET", "/jobs", reads(JobList), {"params": query})


def jobs_of(page: JobList) -> Iterable[Job]:
    """The jobs of a page as an answer about one job has them."""
    return (Job.model_construct(**dict(job)) for job in page.jobs)


def chunks(job_id: str, after: int, limit: int, include: ChunkInclude | None) -> Call[ChunkList]:
    """GET /jobs/{job_id}/chunks: at most `limit` chunks (1 to 1,000), after the index `after` (-1: from 0 on)."""
    query = given(after=after, limit=limit, include=include)
    return Call("GET", f"/jobs/{job_id}/chunks", reads(ChunkList), {"params": query})


def events(job_id: str, after: str, silence_seconds: float) -> Call[None]:
    """For a stream: its lines are events."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    timeout = httpx.Timeout(TIMEOUT_SECONDS, read=silence_seconds)
    return Call("GET", f"/jobs/{job_id}/events", nothing, {"headers": headers, "timeout": timeout})


def steer(
    job_id: str,
    prompt: str | None,
    from_frame: int | None,
    metadata: Mapping[str, str] | None,
    num_frames: NewLength,
    priority: PriorityName | None,
) -> Call[ChangedJob]:
    """Repeating a change changes nothing."""
    body = given(prompt=prompt, from_frame=from_frame, metadata=metadata, priority=priority)
    if num_frames != UNCHANGED:
        body["num_frames"] = num_frames
    return Call("PATCH", f"/jobs/{job_id}", reads(ChangedJob), {"json": body}, is_repeatable=True)


def extend(job_id: str, num_frames: int, prompt: str | None) -> Call[Job]:
    """POST .../extend: make an ended job longer by `num_frames`."""
    return Call("POST", f"/jobs/{job_id}/extend", reads(Job), {"json": given(num_frames=num_frames, prompt=prompt)})


def branch(job_id: str, from_chunk: int, changes: Mapping[str, Any]) -> Call[Job]:
    """POST .../branch: a new job that begins with the chunks before `from_chunk`. `changes` of None are left out."""
    body = {"from_chunk": from_chunk, **given(**changes)}
    return Call("POST", f"/jobs/{job_id}/branch", reads(Job), {"json": body})


def retry(job_id: str) -> Call[Job]:
    """POST .../retry: let a failed or canceled job go on."""
    return Call("POST", f"/jobs/{job_id}/retry", reads(Job))


def cancel(job_id: str) -> Call[Job]:
    """Canceling a job twice is no error."""
    return Call("POST", f"/jobs/{job_id}/cancel", reads(Job), is_repeatable=True)


def metrics(job_id: str) -> Call[JobMetrics]:
    """GET .../metrics: what was measured of the video."""
    return Call("GET", f"/jobs/{job_id}/metrics", reads(JobMetrics))


def measure(job_id: str) -> Call[Job]:
    """POST .../metrics: have the video measured. Asking twice is no error."""
    return Call("POST", f"/jobs/{job_id}/metrics", reads(Job), is_repeatable=True)


def delete(job_id: str) -> Call[None]:
    """DELETE /jobs/{job_id}. Deleting a job twice is no error of a repeated call."""
    return Call("DELETE", f"/jobs/{job_id}", nothing, if_gone=nothing)


def revoke_links(job_id: str) -> Call[None]:
    """POST .../revoke-links: no link given so far is valid any more."""
    return Call("POST", f"/jobs/{job_id}/revoke-links", nothing, is_repeatable=True)


def video_path(job_id: str, variant: Variant) -> str:
    """Path of the final MP4, for a download."""
    return f"/jobs/{job_id}/video.mp4?variant={variant}"
