"""Endpoints of jobs: list, read, chunks, cancel, delete. Those that create jobs are in create.py."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.access.caller import Caller, CallerDep
from api.access.links import BY_LINK, BaseUrl
from api.access.own_jobs import OwnLook
from api.access.unchanged import job_etag
from api.backends.looks import LooksDep
from api.backends.ports import Ports, PortsDep
from api.http.openapi import may_fail
from api.http.responses import conditional, has_etag, not_modified
from api.media.presigned import with_presigned_urls
from api.routes.answers import Forecasts, json_answer, shown
from core.service.domain.errors import ScopeMissing
from core.service.domain.link_tokens import with_token
from core.service.domain.ports import LiveStatus
from core.service.domain.schema import Chunk, ChunkList, Job, JobList, JobRecord, JobStatus, JobSummary, Lane
from core.service.domain.views import PublicUrls, chunk_views, job_json, job_summary, job_url, progress_of
from core.service.records.manifest_writer import write_manifest
from core.service.records.tombstones import delete_job

router = APIRouter(tags=["jobs"])
JobId = Annotated[str, Path(description="Id of the job.", examples=["job_k3mq5w7zr2ay4n6c5bqd"])]
OwnerQuery = Annotated[
    str | None,
    Query(
        pattern=r"^(admin|key_[a-z2-7]{16})$",
        description="Only jobs of the API key with this id; a key without the scope `admin` sees its own anyway.",
    ),
]
IncludeQuery = Annotated[Literal["chunks"] | None, Query(description="chunks: add the newest 1,000 finished chunks.")]
MAX_CHUNKS = 1000
"""Chunks of one answer."""
MAX_INDEX = 2**31 - 1
HELD_BY_WORKERS = frozenset({JobStatus.RUNNING, JobStatus.CANCELING, JobStatus.FINALIZING})


@router.get("/jobs", summary="List jobs, newest first", responses={200: {"model": JobList}, **may_fail(403, 422, 503)})
def list_jobs(
    ports: PortsDep,
    base_url: BaseUrl,
    caller: CallerDep,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this status.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs per page.")] = 20,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    owner: OwnerQuery = None,
) -> Response:
    """One page of the key's jobs, without their chunks. `next_cursor` leads to the next page, as does
    `Link: rel="next"`."""
    page = ports.store.list(owner=_listed_owner(caller, owner), status=status, limit=limit, cursor=cursor or None)
    live, forecasts = ports.store.live_statuses(page.jobs), Forecasts(ports)
    progress = [forecasts.progress(record, its) for record, its in zip(page.jobs, live, strict=True)]
    jobs = [job_summary(record, its, base_url) for record, its in zip(page.jobs, progress, strict=True)]
    headers = dict[str, str]()
    if page.next_cursor:
        query = {"status": status, "owner": owner, "limit": limit, "cursor": page.next_cursor}
        next_page = urlencode({name: value for name, value in query.items() if value is not None})
        headers["Link"] = f'<{base_url.api}/jobs?{next_page}>; rel="next"'
    return json_answer(JobList(jobs=jobs, next_cursor=page.next_cursor).model_dump_json(), 200, headers)


@router.get(
    "/jobs/{job_id}",
    summary="Read a job",
    responses={200: {"model": Job}, 304: {"description": "Unchanged since If-None-Match."}, **may_fail(404, 422, 503)},
)
async def read_job(
    job_id: JobId,
    request: Request,
    ports: PortsDep,
    looks: LooksDep,
    own: OwnLook,
    caller: CallerDep,
    base_url: BaseUrl,
    include: IncludeQuery = None,
) -> Response:
    """The job. Polling with `If-None-Match` is cheap, however long the video is. GET /jobs/{id}/chunks has its chunks,
    and `include=chunks` adds the newest 1,000 here."""
    seen = own or await looks.look(job_id)
    live, work, mark = seen.live, None, ""
    if seen.record.status is JobStatus.QUEUED:
        live, work = await run_in_threadpool(Forecasts(ports).of, seen.record, seen.live)
        mark = _mark_of_forecast(seen.live, live, work)
    headers = {"Cache-Control": "no-cache", "ETag": job_etag(caller, base_url, include, seen.mark + mark)}
    if has_etag(request, headers["ETag"]):
        return not_modified(headers["ETag"])
    body = job_summary(seen.record, progress_of(seen.record, live, work), base_url).model_dump_json()
    if include is not None:
        body = job_json(body, await run_in_threadpool(_newest_chunks, ports, seen.record, base_url))
    return json_answer(body, 200, headers)


@router.get(
    "/jobs/{job_id}/chunks",
    dependencies=BY_LINK,
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
    after: Annotated[int, Query(ge=-1, le=MAX_INDEX, description="Only chunks after this index; -1 for all.")] = -1,
    limit: Annotated[int, Query(ge=1, le=MAX_CHUNKS, description="Chunks per page.")] = 100,
    include: Annotated[
        Literal["presigned_urls"] | None,
        Query(description="presigned_urls: also URLs of the object storage, valid for LONGTAKE_URL_TTL_SECONDS."),
    ] = None,
) -> Response:
    """One page of chunks in order, each a playable MP4. `next_after` leads to the next page, as does
    `Link: rel="next"`; it is null if there are no more chunks now. If `status` is terminal no more will come."""
    record = ports.store.get(job_id)
    found = ports.store.chunks(job_id, "preview", after + 1, after + 1 + limit)
    chunks = chunk_views(record, found, base_url)
    if include:
        refined = ports.store.chunks(job_id, "refined", after + 1, after + 1 + limit)
        chunks = with_presigned_urls(chunks, found, refined, ports.storage.url)
    next_after = after + limit if after + 1 + limit < record.chunks.count else None
    page = ChunkList(status=record.status, chunks=chunks, next_after=next_after)
    query = {"after": next_after, "limit": limit, **({"include": include} if include else {})}
    next_page = with_token(f"{job_url(job_id, base_url)}/chunks?{urlencode(query)}", base_url.token_of(record))
    headers = {} if next_after is None else {"Link": f'<{next_page}>; rel="next"'}
    return conditional(request, page.model_dump_json(), headers=headers)


@router.post(
    "/jobs/{job_id}/cancel",
    status_code=202,
    summary="Cancel a job and keep its finished chunks",
    responses={202: {"model": JobSummary}, **may_fail(404, 409, 503)},
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
    is_held = record.status in HELD_BY_WORKERS or any(record.lane(lane).held for lane in (Lane.PREPARE, Lane.MEASURE))
    delete_job(ports.store, ports.storage, job_id)
    ports.queue.janitor()
    return Response(status_code=202 if is_held else 204)


def _mark_of_forecast(stored: LiveStatus, shown: LiveStatus, work: float | None) -> str:
    """What the mark of the store lacks: it changes neither with the speed of chunks nor with whether anybody makes
    them."""
    if stored.wait_seconds is None:
        return ""
    return " nobody" if shown.wait_seconds is None else f" {work or 0:.2g}"


def _listed_owner(caller: Caller, wanted: str | None) -> str | None:
    """Whose jobs are listed; None: everybody's. Raises ScopeMissing."""
    if caller.sees_all:
        return wanted
    if wanted not in {None, caller.owner}:
        message = "jobs of other keys need a key with the scope admin"
        raise ScopeMissing(message, field="owner", fix="leave it out: the list has the jobs of your key")
    return caller.listed_owner


def _newest_chunks(ports: Ports, record: JobRecord, base_url: PublicUrls) -> list[Chunk]:
    end = record.chunks.count
    return chunk_views(record, ports.store.chunks(record.id, "preview", max(0, end - MAX_CHUNKS), end), base_url)
