"""Endpoints of jobs: list, read, chunks, cancel, delete. Those that create jobs are in create.py."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response

from api.backends.ports import BaseUrl, PortsDep
from api.http.openapi import may_fail
from api.http.responses import conditional, conditional_on
from api.routes.answers import json_answer, progress_now, shown
from core.service.domain.schema import ChunkList, Job, JobList, JobStatus, Lane
from core.service.domain.views import chunk_views, job_json, job_summary
from core.service.records.manifest_writer import write_manifest
from core.service.records.tombstones import delete_job

router = APIRouter(tags=["jobs"])
JobId = Annotated[str, Path(description="Id of the job.", examples=["job_k3mq5w7zr2ay4n6c5bqd"])]
HELD_BY_WORKERS = frozenset({JobStatus.RUNNING, JobStatus.CANCELING, JobStatus.FINALIZING})


@router.get("/jobs", summary="List jobs, newest first", responses={200: {"model": JobList}, **may_fail(422, 503)})
def list_jobs(
    ports: PortsDep,
    base_url: BaseUrl,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this status.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs per page.")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
) -> Response:
    """One page of jobs, without their chunks. `next_cursor` leads to the next page, as does `Link: rel="next"`."""
    page = ports.store.list(status=status, limit=limit, cursor=cursor or None)
    progress = [progress_now(*found) for found in zip(page.jobs, ports.store.live_statuses(page.jobs), strict=True)]
    jobs = [job_summary(record, its, base_url) for record, its in zip(page.jobs, progress, strict=True)]
    headers = dict[str, str]()
    if page.next_cursor:
        query = {"status": status, "limit": limit, "cursor": page.next_cursor}
        next_page = urlencode({name: value for name, value in query.items() if value is not None})
        headers["Link"] = f'<{base_url}/jobs?{next_page}>; rel="next"'
    return json_answer(JobList(jobs=jobs, next_cursor=page.next_cursor).model_dump_json(), 200, headers)


@router.get(
    "/jobs/{job_id}",
    summary="Read a job",
    responses={200: {"model": Job}, 304: {"description": "Unchanged since If-None-Match."}, **may_fail(404, 503)},
)
def read_job(job_id: JobId, request: Request, ports: PortsDep, base_url: BaseUrl) -> Response:
    """The job with all finished chunks. Polling with `If-None-Match` is cheap."""
    record = ports.store.get(job_id)
    (live_status,) = ports.store.live_statuses([record])
    summary = job_summary(record, progress_now(record, live_status), base_url).model_dump_json()
    # An existing chunk changes only by its repair, which increments the revision.
    source = f"{summary} {record.version} {record.revision} {len(record.chunks)} {len(record.refined)}"
    return conditional_on(request, source, lambda: job_json(summary, chunk_views(record, base_url)))


@router.get(
    "/jobs/{job_id}/chunks",
    summary="List finished chunks",
    responses={
        200: {"model": ChunkList},
        304: {"description": "Unchanged since If-None-Match."},
        **may_fail(404, 422, 503),
    },
)
def list_chunks(
    job_id: JobId,
    request: Request,
    ports: PortsDep,
    base_url: BaseUrl,
    after: Annotated[int, Query(ge=-1, description="Only chunks after this index; -1 for all.")] = -1,
) -> Response:
    """Chunks in order, each a playable MP4. If `status` is terminal no more will come."""
    record = ports.store.get(job_id)
    chunks = chunk_views(record, base_url, after + 1)
    return conditional(request, ChunkList(status=record.status, chunks=chunks).model_dump_json())


@router.post(
    "/jobs/{job_id}/cancel",
    status_code=202,
    summary="Cancel a job and keep its finished chunks",
    responses={202: {"model": Job}, **may_fail(404, 409, 503)},
)
def cancel(job_id: JobId, ports: PortsDep, base_url: BaseUrl) -> Response:
    """Stops at the next denoising step; finished chunks become the final video. Idempotent."""
    record = ports.store.request_cancel(job_id)
    write_manifest(ports.store, ports.storage, record)
    if record.status.is_terminal:
        ports.queue.deliver_webhooks()  # a waiting job is canceled here, not by a worker
    elif record.status is JobStatus.FINALIZING:
        ports.queue.wake(Lane.FINALIZE, record.spec.model, job_id)
    return json_answer(shown(ports, record, base_url).model_dump_json(), 202, {})


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    summary="Delete a job and its objects",
    response_class=Response,
    responses={
        202: {"description": "A worker holds the job; it stops, then the objects are deleted."},
        204: {"description": "Deleted."},
        **may_fail(404, 503),
    },
)
def delete(job_id: JobId, ports: PortsDep) -> Response:
    """The job is not found from now on; its objects are deleted within seconds."""
    record = ports.store.get(job_id)
    is_held = record.status in HELD_BY_WORKERS or record.lane(Lane.PREPARE).held
    delete_job(ports.store, ports.storage, job_id)
    ports.queue.janitor()
    return Response(status_code=202 if is_held else 204)
