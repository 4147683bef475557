"""Answers that show one job, shared by the routes that create and change jobs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from fastapi import Response

from api.backends.ports import Ports
from core.service.admission.estimate import seconds_left
from core.service.domain.ports import LiveStatus
from core.service.domain.schema import JobRecord, JobStatus, JobSummary, Progress
from core.service.domain.views import PublicUrls, job_summary, progress_of


class Forecasts:
    """What jobs in a queue are told about when they will be made. For one answer, also about many jobs: each model is
    asked about once."""

    def __init__(self, ports: Ports) -> None:
        self._makes, self._speeds_of = cache(ports.serving.makes), cache(ports.speeds.of)

    def of(self, record: JobRecord, live: LiveStatus) -> tuple[LiveStatus, float | None]:
        """What `progress_of` wants to know of a job: `live`, without a wait where nobody makes such jobs, and the
        seconds of its own work. Nothing is read for a job that is in no queue. Raises StoreError."""
        if record.status is not JobStatus.QUEUED or live.wait_seconds is None:
            return live, None
        if not self._makes(record.spec.model):
            return replace(live, wait_seconds=None), None
        return live, seconds_left(record, self._speeds_of(record.spec.model))

    def progress(self, record: JobRecord, live: LiveStatus) -> Progress:
        """The job's progress. Raises StoreError."""
        return progress_of(record, *self.of(record, live))


def shown(ports: Ports, record: JobRecord, base_url: PublicUrls) -> JobSummary:
    """The job with its progress now."""
    (live_status,) = ports.store.live_statuses([record])
    return job_summary(record, progress_now(ports, record, live_status), base_url)


def progress_now(ports: Ports, record: JobRecord, live: LiveStatus) -> Progress:
    """The progress of one job. Raises StoreError."""
    return Forecasts(ports).progress(record, live)


def json_answer(body: str, status: int, headers: dict[str, str]) -> Response:
    """`Cache-Control: no-cache`: answers about jobs change."""
    return Response(
        body, status_code=status, media_type="application/json", headers={"Cache-Control": "no-cache", **headers}
    )
