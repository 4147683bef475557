"""Answers that show one job, shared by the routes that create and change jobs."""

from __future__ import annotations

from fastapi import Response

from api.backends.ports import Ports
from core.service.domain.ports import LiveStatus
from core.service.domain.schema import JobRecord, JobSummary, Progress
from core.service.domain.views import PublicUrls, job_summary, progress_of


def shown(ports: Ports, record: JobRecord, base_url: PublicUrls) -> JobSummary:
    """The job with its progress now."""
    (live_status,) = ports.store.live_statuses([record])
    return job_summary(record, progress_now(record, live_status), base_url)


def progress_now(record: JobRecord, live_status: LiveStatus) -> Progress:
    return progress_of(record, live_status.steps, live_status.queue_position)


def json_answer(body: str, status: int, headers: dict[str, str]) -> Response:
    """`Cache-Control: no-cache`: answers about jobs change."""
    return Response(
        body, status_code=status, media_type="application/json", headers={"Cache-Control": "no-cache", **headers}
    )
