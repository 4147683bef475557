"""Endpoints that create one job: POST /jobs and PUT /jobs/{id}."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.access.caller import CallerDep
from api.access.links import BaseUrl
from api.backends.ports import Ports, PortsDep, SettingsDep
from api.creation.creator import Created, Creator, Wanted
from api.creation.waits import JobWait
from api.events.sse import StreamsDep
from api.http import idempotency, prefer
from api.http.client_limits import client_of
from api.http.host_lookup import RequestedJob, ResolvedHosts
from api.http.idempotency import REPLAYED, IdempotencyKey, fingerprint_of
from api.http.openapi import REQUEST_BODY, may_fail
from api.http.prefer import Preferences, PreferencesDep
from api.http.responses import JsonBody
from api.routes.answers import json_answer, progress_now, shown
from core.service.domain.errors import InvalidField, shortened
from core.service.domain.ids import is_job_id
from core.service.domain.schema import JobPlan, JobSummary
from core.service.domain.views import PublicUrls, job_summary, job_url

router = APIRouter(tags=["jobs"])


async def _creator(ports: PortsDep, settings: SettingsDep, caller: CallerDep) -> Creator:
    return Creator(ports, settings, caller)


CreatorDep = Annotated[Creator, Depends(_creator)]


class _Answering:
    """How the answer about a created job is made: after which wait, with which headers."""

    def __init__(self, ports: Ports, base_url: PublicUrls, preferences: Preferences, wait: JobWait) -> None:
        self._ports = ports
        self._base_url = base_url
        self._preferences = preferences
        self._wait = wait

    async def answer(self, created: Created, status: int, status_at_end: int) -> Response:
        """`status_at_end` if the client wanted to wait and the job has ended, else `status`."""
        record, seconds = created.record, self._preferences.wait_seconds
        if seconds:
            record = await self._wait.until_end(record, seconds)
        progress = await run_in_threadpool(progress_now, self._ports, record, created.live)
        job = job_summary(record, progress, self._base_url)
        if record is not created.record:
            job = await run_in_threadpool(shown, self._ports, record, self._base_url)
        headers = {"Location": job_url(record.id, self._base_url)}
        if not record.status.is_terminal:
            headers["Retry-After"] = "1"
        if not created.is_new:
            headers[REPLAYED] = "true"
        headers |= self._preferences.applied(waited=self._wait.waited)
        ended = self._wait.waited and record.status.is_terminal
        return json_answer(job.model_dump_json(), status_at_end if ended else status, headers)


async def _answering(
    request: Request, ports: PortsDep, streams: StreamsDep, preferences: PreferencesDep, base_url: BaseUrl
) -> _Answering:
    wait = JobWait(streams, client_of(request.scope), request.is_disconnected)
    return _Answering(ports, base_url, preferences, wait)


Answering = Annotated[_Answering, Depends(_answering)]
_OF_EARLIER = "The job of an earlier, equal request. With `Prefer: wait`: the ended job. With `dry_run`: the plan."


@router.post(
    "/jobs",
    status_code=202,
    summary="Submit a job",
    openapi_extra={**REQUEST_BODY, "parameters": [idempotency.PARAMETER, prefer.PARAMETER]},
    responses={
        200: {"model": JobSummary | JobPlan, "description": _OF_EARLIER},
        202: {"model": JobSummary},
        **may_fail(400, 409, 413, 415, 422, 429, 503),
    },
)
async def submit(
    body: JsonBody,
    wanted: RequestedJob,
    hosts: ResolvedHosts,
    key: IdempotencyKey,
    creator: CreatorDep,
    answering: Answering,
    dry_run: Annotated[bool, Query(description="Only say what the job would be: nothing is created.")] = False,
) -> Response:
    """Validates the request, stores the job and queues it. `Location` is the job's URL; poll it or follow its events.

    `warnings` lists what is unusual about a valid request; the job keeps them. With `Idempotency-Key` a retry gets the
    job of the first request (200 and `Idempotency-Replayed`). With `Prefer: wait=SECONDS` the answer waits for the end
    of the job and is 200 then.
    """
    asked = Wanted(wanted, fingerprint_of(body), hosts, key)
    if dry_run:
        plan = await run_in_threadpool(creator.plan, asked)
        return json_answer(plan.model_dump_json(), 200, {})
    created = await creator.create(asked)
    return await answering.answer(created, 202 if created.is_new else 200, 200)


@router.put(
    "/jobs/{job_id}",
    status_code=201,
    summary="Create a job under an id of your own",
    openapi_extra={**REQUEST_BODY, "parameters": [prefer.PARAMETER]},
    responses={
        200: {"model": JobSummary, "description": "The job exists; an equal request made it."},
        201: {"model": JobSummary},
        **may_fail(400, 404, 409, 413, 415, 422, 429, 503),
    },
)
async def put_job(
    job_id: Annotated[str, Path(description="1 to 64 letters, digits, - and _.", examples=["trailer-7"])],
    body: JsonBody,
    wanted: RequestedJob,
    hosts: ResolvedHosts,
    creator: CreatorDep,
    answering: Answering,
) -> Response:
    """As POST /jobs, and safe to repeat: the same request for the same id gives the same job."""
    if not is_job_id(job_id):
        message = f"{shortened(job_id, 64)} cannot be the id of a job"
        raise InvalidField(message, field="job_id", fix="use 1 to 64 letters, digits, - and _; the first no - or _")
    created = await creator.create(Wanted(wanted, fingerprint_of(body), hosts, job_id=job_id))
    status = 201 if created.is_new else 200
    return await answering.answer(created, status, status)
