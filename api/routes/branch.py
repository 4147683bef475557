"""Endpoint that begins a new job with the chunks of another one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from api.access.caller import CallerDep
from api.access.links import BaseUrl
from api.access.owner_limits import OwnerLimits
from api.backends.ports import PortsDep, SettingsDep
from api.creation.creator import check_room
from api.http.host_lookup import look_up
from api.http.idempotency import fingerprint_of
from api.http.openapi import BRANCH_BODY, may_fail
from api.http.responses import JsonBody
from api.routes.answers import json_answer, shown
from api.routes.jobs import JobId
from core.service.admission.admission import queued_record
from core.service.admission.branch import admit_branch
from core.service.admission.request_body import parse_body
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.ids import new_job_id
from core.service.domain.schema import BranchSource, JobBranch, JobSummary
from core.service.domain.transitions import needs_media_again
from core.service.domain.views import job_url
from core.service.net.address_guard import Resolve
from core.service.records.manifest_writer import create_job
from core.service.records.wake import wake_workers

router = APIRouter(tags=["jobs"])


def _job_branch(body: JsonBody) -> JobBranch:
    return parse_body(body, JobBranch)


WantedBranch = Annotated[JobBranch, Depends(_job_branch)]


async def _resolved_hosts(wanted: WantedBranch, request: Request, ports: PortsDep) -> Resolve:
    return await look_up([wanted], request, ports)


@router.post(
    "/jobs/{job_id}/branch",
    status_code=202,
    summary="Begin a new job with the chunks of another one",
    openapi_extra=BRANCH_BODY,
    responses={202: {"model": JobSummary}, **may_fail(400, 404, 409, 413, 415, 422, 429, 503)},
)
def branch(
    job_id: JobId,
    body: JsonBody,
    wanted: WantedBranch,
    hosts: Annotated[Resolve, Depends(_resolved_hosts)],
    ports: PortsDep,
    settings: SettingsDep,
    caller: CallerDep,
    base_url: BaseUrl,
) -> Response:
    """From a job in any status, also one that runs. The new job has its own copies of the chunks before `from_chunk`:
    either can be deleted. `Location` is its URL. Without a new prompt or seed it has the bytes of its source."""
    source = ports.store.get(job_id)
    limits, shared = OwnerLimits.of(caller, caller.owner, ports), wanted.from_chunk * CHUNK_FRAMES
    lowered = limits.settings(settings, limits.most_frames(shared))
    priority = wanted.priority or limits.priority(source.spec.priority)
    named = wanted.model_copy(update={"priority": priority})
    admitted = admit_branch(named, source, ports.catalog, lowered, hosts)
    limits.check_spec(admitted.spec, shared)
    check_room(ports.store, settings)
    now, fingerprint = ports.clock.now(), fingerprint_of(body)
    queued = queued_record(new_job_id(), admitted, now, fingerprint, caller.owner, caller.share)
    shares = BranchSource(job_id=job_id, from_chunk=wanted.from_chunk)
    again = {"prepare_again": needs_media_again(source), "followed_sha256": source.input_sha256}
    branched = queued.model_copy(update={"branched_from": shares, **again})
    limits.check_new(branched)
    record = create_job(ports.store, ports.storage, branched, limits.limits)
    wake_workers(ports.queue, record)
    headers = {"Location": job_url(record.id, base_url), "Retry-After": "1"}
    return json_answer(shown(ports, record, base_url).model_dump_json(), 202, headers)
