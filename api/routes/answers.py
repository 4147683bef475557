"""Answers that show one job, shared by the routes that create and change jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import Response

from api.backends.ports import Ports
from core.service.admission.estimate import seconds_left
from core.service.domain.ports import LiveStatus, SpeedOf
from core.service.domain.schema import JobRecord, JobStatus, JobSummary, Progress
from core.service.domain.views import PublicUrls, job_summary, progress_of

SpeedsOf = Callable[[str], Mapping[SpeedOf, float]]
"""Speeds.of, for an answer about many jobs one that remembers."""


def shown(ports: Ports, record: JobRecord, base_url: PublicUrls) -> JobSummary:
    """The job with its progress now."""
    (live_status,) = ports.store.live_statuses([record])
    return job_summary(record, progress_now(ports.speeds.of, record, live_status), base_url)


def progress_now(speeds_of: SpeedsOf, record: JobRecord, live: LiveStatus) -> Progress:
    """The job's progress. Asks `speeds_of` if it waits in a queue."""
    return progress_of(record, live, work_seconds(speeds_of, record, live))


def work_seconds(speeds_of: SpeedsOf, record: JobRecord, live: LiveStatus) -> float | None:
    """What `progress_of` wants to know of a job in a queue. None, without asking `speeds_of`, for any other."""
    if record.status is not JobStatus.QUEUED or live.wait_seconds is None:
        return None
    return seconds_left(record, speeds_of(record.spec.model))


def json_answer(body: str, status: int, headers: dict[str, str]) -> Response:
    """`Cache-Control: no-cache`: answers about jobs change."""
    return Response(
        body, status_code=status, media_type="application/json", headers={"Cache-Control": "no-cache", **headers}
    )
