"""Endpoints by which an ended job goes on: it is extended or retried."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.access.caller import CallerDep
from api.access.links import BaseUrl
from api.access.owner_limits import OwnerLimits, limits_on
from api.backends.ports import Ports, PortsDep, SettingsDep
from api.creation.creator import check_room
from api.http.openapi import EXTENSION_BODY, may_fail
from api.http.responses import JsonBody
from api.routes.answers import json_answer, shown
from api.routes.jobs import JobId
from core.service.admission.extension import admit_extension
from core.service.admission.request_body import parse_body
from core.service.domain.schema import EventType, JobExtension, JobRecord, JobSummary, JobWarning
from core.service.domain.views import PublicUrls
from core.service.records.manifest_writer import write_manifest
from core.service.records.wake import wake_workers

router = APIRouter(tags=["jobs"])


@router.post(
    "/jobs/{job_id}/extend",
    status_code=202,
    summary="Make an ended job longer",
    openapi_extra=EXTENSION_BODY,
    responses={202: {"model": JobSummary}, **may_fail(400, 404, 409, 413, 415, 422, 429, 503)},
)
def extend(
    job_id: JobId, body: JsonBody, ports: PortsDep, settings: SettingsDep, caller: CallerDep, base_url: BaseUrl
) -> Response:
    """A succeeded or canceled job goes on under its id, its links and its playlist. What exists stays served until the
    longer video is there. The bytes are those of a job that was made at once with the whole length."""
    wanted = parse_body(body, JobExtension)
    ended = ports.store.get(job_id)
    admitted = admit_extension(wanted, ended, ports.catalog, settings)
    limits = OwnerLimits.of(caller, ended.owner, ports)
    limits.check_longer(ended.spec, ended.frames_done + wanted.num_frames, ended.frames_done)
    check_room(ports.store, settings)
    record = ports.store.extend(job_id, admitted.extension, limits.limits)
    if EventType.JOB_PROMPT_CHANGED.value in record.spec.webhook_events:
        ports.queue.deliver_webhooks()
    return _gone_on(ports, record, base_url, admitted.warnings)


@router.post(
    "/jobs/{job_id}/retry",
    status_code=202,
    summary="Let a failed or canceled job go on",
    responses={202: {"model": JobSummary}, **may_fail(404, 409, 429, 503)},
)
def retry(job_id: JobId, ports: PortsDep, settings: SettingsDep, caller: CallerDep, base_url: BaseUrl) -> Response:
    """From its last good chunk, to the length that was asked for. The bytes are those of a job that was not
    interrupted."""
    check_room(ports.store, settings)
    limits = limits_on(caller, ports.store.get(job_id).owner)
    return _gone_on(ports, ports.store.retry(job_id, limits), base_url)


def _gone_on(ports: Ports, record: JobRecord, base_url: PublicUrls, warnings: tuple[JobWarning, ...] = ()) -> Response:
    """The answer, once workers are woken."""
    write_manifest(ports.store, ports.storage, record)
    wake_workers(ports.queue, record)
    summary = shown(ports, record, base_url)
    told = summary.model_copy(update={"warnings": (*summary.warnings, *warnings)})
    return json_answer(told.model_dump_json(), 202, {"Retry-After": "1"})
