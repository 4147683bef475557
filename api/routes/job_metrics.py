"""Endpoints of what is measured of a job's video."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api.access.links import BY_LINK, BaseUrl
from api.backends.ports import Ports, PortsDep
from api.http.openapi import may_fail
from api.http.responses import conditional
from api.routes.answers import json_answer, shown
from api.routes.jobs import JobId
from core.service.domain.errors import (
    JobStateConflict,
    LongtakeError,
    MeasuringFailed,
    MetricsNotAsked,
    MetricsNotReady,
    ObjectNotFound,
)
from core.service.domain.manifest import metrics_key
from core.service.domain.schema import JobMetrics, JobRecord, JobSummary, Measurement
from core.service.domain.transitions import has_final_video
from core.service.records.manifest_writer import write_manifest
from core.service.records.wake import wake_workers

router = APIRouter(tags=["jobs"])


@router.get(
    "/jobs/{job_id}/metrics",
    dependencies=BY_LINK,
    summary="What was measured of the video",
    responses={
        200: {"model": JobMetrics},
        304: {"description": "Unchanged since If-None-Match."},
        **may_fail(404, 409, 422, 503),
    },
)
def read_metrics(job_id: JobId, request: Request, ports: PortsDep) -> Response:
    """Each value with its title, meaning and unit; curves over the frames. 404 `metrics_not_asked` unless `measure` or
    the POST here asked for them; 404 `metrics_not_ready` until the job has ended and a worker has measured it; 409
    `measuring_failed` with the reason, also if the metrics are lost."""
    record = ports.store.get(job_id)
    newest = record.measurement
    if not record.spec.measure or newest is None or newest.error is not None:
        raise _missing(record)
    try:
        stored = ports.storage.get(metrics_key(job_id, newest.generation))
    except ObjectNotFound as error:
        now = ports.store.get(job_id)  # it may have been deleted, or have gone on
        raise _lost() if now.measurement == newest else _missing(now) from error
    return conditional(request, stored.decode())


@router.post(
    "/jobs/{job_id}/metrics",
    status_code=202,
    summary="Have the video measured",
    responses={202: {"model": JobSummary}, **may_fail(404, 409, 503)},
)
def measure(job_id: JobId, ports: PortsDep, base_url: BaseUrl) -> Response:
    """As `measure` of POST /jobs: at the job's end, or now if it has ended. After `measuring_failed` it is tried again,
    at most 20 times; so is what was measured without optical flow. Other metrics stay as they are."""
    before = ports.store.get(job_id)
    record = ports.store.ask_measuring(job_id, _measured_in_vain(ports, before))
    if record.revision != before.revision:
        write_manifest(ports.store, ports.storage, record)
        wake_workers(ports.queue, record)
    return json_answer(shown(ports, record, base_url).model_dump_json(), 202, {"Retry-After": "2"})


def _measured_in_vain(ports: Ports, record: JobRecord) -> Measurement | None:
    """The measurement, if its metrics are lost, or lack what needs optical flow: its worker had no OpenCV."""
    newest = record.measurement
    if newest is None or newest.error is not None:
        return None
    try:
        metrics = JobMetrics.model_validate_json(ports.storage.get(metrics_key(record.id, newest.generation)))
    except (ObjectNotFound, ValidationError):
        return newest
    return newest if any(video.flow is None for video in metrics.videos.values()) else None


def _lost() -> LongtakeError:
    return MeasuringFailed("the metrics are lost", fix="POST to this URL to have the video measured again")


def _missing(record: JobRecord) -> LongtakeError:
    """Why there are no metrics: nobody asked, not yet, or never."""
    if record.status.is_terminal and not has_final_video(record):
        return JobStateConflict(f"the job is {record.status} and has no video to measure", fix="retry it first")
    if not record.spec.measure:
        return MetricsNotAsked("nobody asked for metrics of this job", fix="POST to this URL asks for them")
    if not record.status.is_terminal:
        message = f"the job is {record.status}; it is measured at its end"
        return MetricsNotReady(message, fix="wait for the event job.measured, or try again later")
    if record.measurement is not None and record.measurement.error is not None:
        error = record.measurement.error
        again = "POST to this URL to try again"
        return MeasuringFailed(error.message, fix=f"{error.fix}, or {again}" if error.fix else again)
    return MetricsNotReady(
        "the video is being measured, or waits for a worker", fix="try again after Retry-After seconds"
    )
