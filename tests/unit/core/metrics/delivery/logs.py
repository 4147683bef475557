"""Event logs of jobs for tests: a line each, with the second at which it was written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core.service.domain.schema import JobEvent, JobStatus, JobSummary
from tests.helpers.shown_jobs import START, build_job

FRAMES = 16


def entry(kind: str, at: float, **data: Any) -> JobEvent:
    return JobEvent(id="1-0", type=kind, job_id="job_x", at=START + timedelta(seconds=at), data=data)


def queued(at: float = 0.0, generation: int = 0) -> JobEvent:
    return entry("job.queued", at, **({"generation": generation} if generation else {}))


def started(at: float) -> JobEvent:
    return entry("job.started", at)


def chunk(index: int, at: float, num_frames: int = FRAMES, *, refined: bool = False) -> JobEvent:
    shown = {"index": index, "first_frame": FRAMES * index, "num_frames": num_frames}
    return entry("chunk.refined" if refined else "chunk.completed", at, chunk=shown)


def ended(at: float, status: str = "succeeded") -> JobEvent:
    return entry(f"job.{status}", at)


def job(status: JobStatus = JobStatus.SUCCEEDED, num_chunks: int = 3, **changes: Any) -> JobSummary:
    """Of 48 frames at 8 frames per second, so that a chunk plays for 2 s."""
    return build_job(status, num_chunks).model_copy(update=changes)
