"""Endpoint that changes a job while it runs: its prompt, its length, its metadata and its priority."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.access.caller import CallerDep
from api.access.links import BaseUrl
from api.access.owner_limits import OwnerLimits
from api.backends.ports import Ports, PortsDep, SettingsDep
from api.http.openapi import CHANGE_BODY, may_fail
from api.http.responses import JsonBody
from api.routes.answers import progress_now
from api.routes.jobs import JobId
from core.service.admission.request_body import parse_change
from core.service.admission.steering import admit_change
from core.service.domain.ports import Steered
from core.service.domain.schema import ChangedJob, EventType, JobWarning
from core.service.domain.views import PublicUrls, changed_job
from core.service.records.manifest_writer import write_manifest
from core.service.records.wake import wake_workers

router = APIRouter(tags=["jobs"])


@router.patch(
    "/jobs/{job_id}",
    summary="Change the prompt, the length or the priority of a running job",
    openapi_extra=CHANGE_BODY,
    responses={200: {"model": ChangedJob}, **may_fail(400, 404, 409, 413, 415, 422, 429, 503)},
)
def change_job(
    job_id: JobId, body: JsonBody, ports: PortsDep, base_url: BaseUrl, settings: SettingsDep, caller: CallerDep
) -> Response:
    """`acts_from_frame` is the frame from which the prompt acts; its event is `job.prompt_changed`. `num_frames` gives
    the video another end, or with null none. `priority` acts when a worker next looks for work. Repeating a change
    changes nothing."""
    wanted = parse_change(body)
    record = ports.store.get(job_id)
    limits, before = OwnerLimits.of(caller, record.owner, ports), record.spec.length
    admitted = admit_change(wanted, record.spec, ports.catalog, limits.settings(settings, limits.most_frames(before)))
    after = wanted.num_frames or admitted.endless_limit or before
    limits.check_raised(record.spec, wanted.priority)
    priority = wanted.priority or record.spec.priority
    limits.check_longer(record.spec.model_copy(update={"priority": priority}), after, before)
    steered = ports.store.steer(job_id, admitted.change, admitted.endless_limit, limits.limits)
    write_manifest(ports.store, ports.storage, steered.record)
    if EventType.JOB_PROMPT_CHANGED.value in steered.record.spec.webhook_events:
        ports.queue.deliver_webhooks()
    if wanted.changes_length:
        wake_workers(ports.queue, steered.record)
    changed = _view(ports, steered, admitted.warnings, base_url)
    return Response(changed.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-cache"})


def _view(ports: Ports, steered: Steered, warnings: tuple[JobWarning, ...], base_url: PublicUrls) -> ChangedJob:
    (live,) = ports.store.live_statuses([steered.record])
    progress = progress_now(ports, steered.record, live)
    return changed_job(steered.record, progress, base_url, steered.acts_from_frame, warnings)
